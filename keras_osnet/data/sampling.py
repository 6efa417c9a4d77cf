"""P x K sampling: batches of P identities with K pictures each, as the triplet and circle losses need them."""

import numpy as np


def identity_batches(labels, *, batch_size, pictures, steps, seed, epoch):
    """Samples of an epoch whose every batch holds `batch_size / pictures` identities with `pictures` pictures each.

    All identities have their turn before one has another (those left over from a round of whole batches, drawn anew
    in each round, wait for the next). An identity goes through its pictures in a drawn order, and through another one
    when fewer than `pictures` are left; one that has fewer at all shows them more than once (`short_identities`).

    Args:
        labels: (N,) integers, the identity of each picture.
        batch_size: P x K.
        pictures: K, at least 2.
        steps: batches in the epoch.
        seed, epoch: what the order follows from, and from nothing else.

    Returns:
        (steps * batch_size,) int32 indices of pictures.

    Raises:
        ValueError: if K does not divide the batch size, or there are fewer than P identities.

    Reference: Hermans et al., In Defense of the Triplet Loss (2017), Section 2 (P classes, K images).
    """
    labels = np.asarray(labels)
    people, indices = np.unique(labels, return_inverse=True)
    identities = _identities_per_batch(batch_size, pictures, len(people))
    generator = np.random.default_rng((seed, epoch))
    own = np.split(np.argsort(indices, kind="stable"), np.cumsum(np.bincount(indices))[:-1])
    waiting = [np.empty(0, np.int64)] * len(people)
    whole = len(people) // identities * identities
    rounds = -(-steps * identities // whole)
    turns = np.concatenate([generator.permutation(len(people))[:whole] for _ in range(rounds)])[: steps * identities]
    order = []
    for person in turns:
        if len(waiting[person]) < pictures:
            times = -(-pictures // len(own[person]))
            waiting[person] = np.concatenate([generator.permutation(own[person]) for _ in range(times)])
        order.append(waiting[person][:pictures])
        waiting[person] = waiting[person][pictures:]
    return np.concatenate(order).astype(np.int32)


def short_identities(labels, pictures):
    """How many identities have fewer than `pictures` pictures, so that P x K batches must repeat theirs."""
    return int((np.unique(labels, return_counts=True)[1] < pictures).sum())


def _identities_per_batch(batch_size, pictures, people):
    if pictures < 2 or batch_size % pictures:
        raise ValueError(
            f"`pictures` must be at least 2 and divide the batch size {batch_size}. Received: pictures={pictures}"
        )
    identities = batch_size // pictures
    if not 2 <= identities <= people:
        raise ValueError(
            f"`batch_size` must give 2 to {people} identities (there are so many) of {pictures} pictures each. "
            f"Received: batch_size={batch_size}, which gives {identities}"
        )
    return identities
