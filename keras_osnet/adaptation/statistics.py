"""Running statistics of batch norms, estimated again on images of new cameras."""

import numpy as np
from keras import ops

from keras_osnet.data.listing import names_of
from keras_osnet.inference.inputs import load_batches, read_resized
from keras_osnet.layers import batch_norms
from keras_osnet.layers.checks import count
from keras_osnet.layers.norms import momenta
from keras_osnet.metrics.arguments import check_seed
from keras_osnet.preprocessing import normalise_into, preprocessing_of


def re_estimate_statistics(network, paths, *, batches=50, batch_size=64, seed=0):
    """Sets the running statistics of all batch norms to the mean of those of batches of images. Nothing is trained.

    m = 1/T sum_t m_t, v = 1/T sum_t v_t, with the mean m_t and the unbiased variance v_t of batch t, computed as in
    training. The network is changed in place.

    Args:
        network: keras.Model, (B, height, width, 3) normalised images -> any outputs.
        paths: image files, at least `batch_size`. Batches are drawn from all of them, so that each mixes the cameras.
        batches: T, at most; fewer where the images do not suffice. Default 50.
        batch_size: images of a batch. Default 64.
        seed: of the order, an integer of at least 0.

    Returns:
        number of images that were used.

    Raises:
        ValueError: if there are fewer images than `batch_size`, one cannot be read, or the network has no batch norm,
            or an argument is not as described. The network then stays as it was.

    Reference: Li et al., Revisiting Batch Normalization for Practical Domain Adaptation (2016), Algorithm 1.
    """
    paths, batches, batch_size = names_of(paths), count("batches", batches), count("batch_size", batch_size, 2)
    check_seed(seed)
    if len(paths) < batch_size:
        raise ValueError(f"`paths` must be at least {batch_size}, a batch. Received: {len(paths)}")
    norms = batch_norms(network)
    if not norms:
        raise ValueError(f"`network` must have batch norms. Received: {network.name}, which has none")
    if None in network.input_shape[1:3]:
        raise ValueError(f"`network` must have a fixed input size. Received: input_shape={network.input_shape}")
    batches = min(batches, len(paths) // batch_size)
    chosen = np.random.default_rng(seed).permutation(len(paths))[: batches * batch_size]
    size, preprocessing = network.input_shape[1:3], preprocessing_of(network)

    def load(path, out):
        normalise_into(out, read_resized(path, size), preprocessing)

    before = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in network.non_trainable_variables]
    frozen, files = [norm for norm in norms if not norm.trainable], [paths[i] for i in chosen]
    try:
        for norm in frozen:  # a frozen norm would keep its statistics
            norm.trainable = True
        with momenta(norms) as set_momentum:
            for number, batch in enumerate(load_batches(files, load, batch_size, (1, *size, 3))):
                set_momentum(number / (number + 1))  # of the first batch 0: nothing of the old statistics is left
                network(batch.copy(), training=True)  # JAX may still read it when the next batch is loaded
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise
    finally:
        for norm in frozen:
            norm.trainable = False
    return len(chosen)
