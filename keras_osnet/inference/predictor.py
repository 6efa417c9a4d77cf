"""Computes the outputs of a network for batches. All predictors of a network share one compiled function."""

from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import numpy as np

from keras_osnet.files import path_of
from keras_osnet.inference.runtimes import RUNTIMES
from keras_osnet.preprocessing import normalise_into, preprocess_input, preprocessing_of

ADDRESSES = ("https:/", "http:/", "hf:/")  # a `Path` drops a slash
# Network -> {(strategy, types of its variables): compiled function}. The functions hold its layers, not the network.
_COMPILED = WeakKeyDictionary()


def predictor_of(model, *, strategy=None, classifier=False):
    """Returns the predictor of a network, or of a file that another runtime runs.

    Args:
        model: `keras.Model`; a .tflite or .onnx file; or any weights that `load_network` accepts.
        strategy: as for `Predictor`.
        classifier: whether to keep the classifier of weights.

    Returns:
        `Predictor`, or a class of `RUNTIMES` with the same attributes.
    """
    if isinstance(model, (str, PathLike)):
        model = path_of("model", model) if str(model).startswith("~") else model
        runtime = runtime_of(model)
        if runtime is not None:
            if strategy is not None:
                raise ValueError(f"`strategy` must be None for a {Path(model).suffix} file. Received: {strategy}")
            return runtime(local_file(model))

        def make():
            return Predictor(_loaded(model, classifier), strategy=strategy)

        if strategy is not None or classifier:
            return make()
        from keras_osnet.inference.programs import kept_predictor

        return kept_predictor(model, make)
    return Predictor(model, strategy=strategy)


def runtime_of(model):
    """Returns the class of `RUNTIMES` that runs a file or the file at an address; None for other weights."""
    path = urlsplit(str(model)).path if str(model).startswith(ADDRESSES) else model
    return RUNTIMES.get(Path(path).suffix.lower())


def local_file(model):
    """Returns the path of a file of `RUNTIMES`. That of an address is downloaded, if it is not in the cache folder."""
    if not str(model).startswith(ADDRESSES):
        return model
    from keras_osnet.weights.sources import address_of, download

    return download(address_of(model), check=runtime_of(model))


def _loaded(weights, classifier):
    try:
        import keras  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{weights} needs Keras and one of its backends: pip install keras, and jax, tensorflow or torch. Without "
            f"them, {' and '.join(RUNTIMES)} files can be run. Received: {error}",
            name=error.name,
        ) from error
    from keras_osnet.weights import load_network

    return load_network(weights, classifier=classifier)[0]


class Predictor:
    """Computes the outputs of a Keras network for batches of images.

    The names of the outputs are those of the model's dict of outputs. A single output is called "attributes" if the
    network has an `AttributeHead`, "logits" if it is an `OSNet` with classes, else "features". If no output is called
    "features", the output of the layer `embedding` is added under this name, if there is such a layer. The weights may
    change between calls: the current values are used. After `model.quantize`, make another predictor.

    Args:
        model: built `keras.Model` with one input (B, height, width, 3) and one output or a dict of them.
        strategy: `tf.distribute.Strategy` in whose scope the model was made. Each batch is divided among its replicas.
            All workers must then call the same methods. Default: one device.

    Attributes:
        model: the network.
        preprocessing: its `Preprocessing`.
        function: the compiled function of normalised images, shared by all predictors of the network.
        size: (height, width) of the images.
        outputs: dict of name to length of each output (B, length).

    Raises:
        ValueError: if the model is not as described.
    """

    def __init__(self, model, *, strategy=None):
        tensors = named_outputs(model)
        self.size = tuple(model.inputs[0].shape[1:3])
        self.outputs = {name: tensor.shape[1] for name, tensor in tensors.items() if len(tensor.shape) == 2}
        self.strategy = strategy if strategy is not None and strategy.num_replicas_in_sync > 1 else None
        self.model, self.preprocessing = model, preprocessing_of(model)
        functions = _COMPILED.setdefault(model, {})
        key = self.strategy, tuple(variable.dtype for variable in model.variables)  # `model.quantize` makes others
        if key not in functions:
            import keras

            network = keras.Model(model.inputs[0], tensors, name=model.name)
            functions[key] = _compiled(network, self.strategy)
        self._network, self.function, self._average = functions[key]

    @property
    def match_probabilities(self):
        """As `match_probabilities_of` the model."""
        from keras_osnet.weights.loading import match_probabilities_of

        return match_probabilities_of(self.model)

    @property
    def row(self):
        """Shape and type of the network's input for one image."""
        return (*self.size, 3), "float32"

    def normalise(self, images, out=None):
        """Normalises (n, height, width, 3) uint8 RGB: the float32 input of the network, in the array `out` if given."""
        if out is None:
            return preprocess_input(images, self.preprocessing)
        return normalise_into(out, images, self.preprocessing)

    def predict(self, batch):
        """Computes the outputs of a batch.

        Args:
            batch: (n, height, width, 3) normalised float32, n >= 1.

        Returns:
            dict of NumPy arrays (n, length) by the names in `outputs`.
        """
        return self.function(np.asarray(batch, "float32"))

    def network_of(self, output):
        """Returns a `keras.Model` that computes one output of normalised images, with the network's preprocessing."""
        import keras

        network = keras.Model(self._network.inputs[0], self._network.output[output], name=self._network.name)
        network.preprocessing = self.preprocessing
        return network

    def synchronize(self):
        """Averages the running statistics of all replicas, as in a saved network. All workers must call it once before
        the batches of an evaluation, because workers differ in their number of batches."""
        self._average()

    def own_part(self, count):
        """Returns the slice of `count` images that this worker computes. Together the workers compute all images."""
        if self.strategy is None:
            return slice(0, count)
        from keras_osnet.training.replicas import own_slice

        return own_slice(self.strategy, count)

    def gather(self, rows):
        """Returns the rows (n, ...) of all workers in order. All workers must call it, each with its own rows."""
        if self.strategy is None:
            return rows
        from keras_osnet.training.replicas import gathered

        return gathered(self.strategy, rows)


def named_outputs(model):
    """Returns the outputs of a network as tensors by name, as described for `Predictor`."""
    import keras

    inputs = getattr(model, "inputs", None) or ()
    if not isinstance(model, keras.Model) or [len(tensor.shape) for tensor in inputs] != [4]:
        raise ValueError(
            f"`model` must be a built network with one input, (B, height, width, 3). Received: {type(model).__name__}"
        )
    if None in model.inputs[0].shape[1:3]:
        raise ValueError(f"`model` must have a fixed input size. Received: input_shape={tuple(model.inputs[0].shape)}")
    heads = attribute_heads(model)
    # A Sequential model has `outputs` only.
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        tensors = dict(model.output)
        if not all(isinstance(tensor, keras.KerasTensor) for tensor in tensors.values()):
            raise ValueError(f"`model` must have one output, or a dict of them. Received: {tensors}")
    elif len(model.outputs) == 1:
        name = "attributes" if heads else "logits" if getattr(model, "classes", None) else "features"
        tensors = {name: model.outputs[0]}
    else:
        raise ValueError(f"`model` must have one output, or a dict of them. Received: {len(model.outputs)}")
    if len(heads) == 1:
        tensors["attributes"] = heads[0].output
    if "features" not in tensors and "embedding" in {layer.name for layer in model.layers}:
        tensors["features"] = model.get_layer("embedding").output
    return tensors


def attribute_heads(model):
    """Returns the `AttributeHead` layers of a model."""
    from keras_osnet.models.attribute_head import AttributeHead

    return [layer for layer in getattr(model, "layers", ()) if isinstance(layer, AttributeHead)]


def _compiled(network, strategy):
    """Returns the network, the function that computes its outputs, and the one that averages replicas' statistics."""
    import keras

    if strategy is not None:
        from keras_osnet.training.replicas import averaging_function, compile_on_replicas

        return network, compile_on_replicas(network, strategy), averaging_function(network, strategy)
    return network, BACKENDS.get(keras.backend.backend(), _by_keras)(network), lambda: None


def _by_tensorflow(network):
    """Returns a function that is traced twice, for one image and for several: layers may compute them differently."""
    import tensorflow as tf

    def compute(images):
        return network(images, training=False)

    shape = network.inputs[0].shape[1:]
    one, many = (
        tf.function(compute, autograph=False, input_signature=[tf.TensorSpec((count, *shape))]) for count in (1, None)
    )
    return lambda batch: {k: t.numpy() for k, t in (one if len(batch) == 1 else many)(tf.constant(batch)).items()}


def _by_jax(network):
    from keras_osnet.inference.jax_function import JaxFunction

    return JaxFunction(network)


def _by_keras(network):
    return network.predict_on_batch


BACKENDS = {"tensorflow": _by_tensorflow, "jax": _by_jax}
