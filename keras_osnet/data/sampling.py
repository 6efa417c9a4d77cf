"""P x K sampling: batches of P identities with K images each, for the triplet and circle losses."""

import numpy as np

from keras_osnet.data.checks import whole


def identity_batches(labels, *, batch_size, images_per_identity, steps, seed, epoch):
    """Draws the samples of an epoch: each batch holds P identities with K images each.

    The identities are drawn in rounds. A round holds each identity once, in a random order, without the last ones that
    do not fill a batch. The images of an identity are used in a random order. If fewer than K are left, a new order is
    drawn. An identity with fewer than K images repeats them (see `short_identities`).

    Args:
        labels: (N,) integers, the identity of each image.
        batch_size: P x K.
        images_per_identity: K, at least 2.
        steps: batches in the epoch.
        seed, epoch: seeds of the order.

    Returns:
        (steps * batch_size,) int32 indices of images.

    Raises:
        ValueError: if K does not divide the batch size, there are fewer than P identities, or `seed` is no whole number
            of at least 0.

    Reference: Hermans et al., In Defense of the Triplet Loss (2017), Section 2 (P classes, K images).
    """
    if steps < 1:
        raise ValueError(f"`batch_size` must not exceed the number of training images. Received: {batch_size}")
    labels, k = np.asarray(labels), images_per_identity
    people, indices = np.unique(labels, return_inverse=True)
    identities = _identities_per_batch(batch_size, k, len(people))
    generator = np.random.default_rng((whole("seed", seed, 0), epoch))
    own = np.split(np.argsort(indices, kind="stable"), np.cumsum(np.bincount(indices))[:-1])
    waiting = [np.empty(0, np.int64)] * len(people)
    full = len(people) // identities * identities
    rounds = -(-steps * identities // full)
    turns = np.concatenate([generator.permutation(len(people))[:full] for _ in range(rounds)])[: steps * identities]
    order = []
    for person in turns:
        if len(waiting[person]) < k:
            times = -(-k // len(own[person]))
            waiting[person] = np.concatenate([generator.permutation(own[person]) for _ in range(times)])
        order.append(waiting[person][:k])
        waiting[person] = waiting[person][k:]
    return np.concatenate(order).astype(np.int32)


def short_identities(labels, images_per_identity):
    """Returns the number of identities with fewer than K images, which P x K batches repeat."""
    return int((np.unique(labels, return_counts=True)[1] < images_per_identity).sum())


def _identities_per_batch(batch_size, k, people):
    if k < 2 or batch_size % k:
        raise ValueError(
            f"`images_per_identity` must be at least 2 and divide the batch size {batch_size}. "
            f"Received: images_per_identity={k}"
        )
    identities = batch_size // k
    if not 2 <= identities <= people:
        raise ValueError(
            f"`batch_size` must hold 2 to {people} identities (all of them) of {k} images each. "
            f"Received: batch_size={batch_size}, which holds {identities}"
        )
    return identities
