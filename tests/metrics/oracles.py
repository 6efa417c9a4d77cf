"""The equations of k-reciprocal neighbours, with Python's sets and double precision, one pair at a time."""

import math


def reciprocal_means(distance, k1, k2):
    """V' of every image: lists of lists.

    Args:
        distance: list of lists, of every image to every image; it gives the order of neighbours and exp(-distance).
    """
    every = range(len(distance))
    order = [sorted(every, key=lambda g, p=p: (g != p, distance[p][g], g)) for p in every]

    def reciprocal(p, k):
        return {g for g in order[p][: k + 1] if p in order[g][: k + 1]}

    half = k1 // 2 + (k1 % 4 == 3)  # 1.5 becomes 2, and 2.5 too
    vectors = []
    for p in every:
        base = reciprocal(p, k1)
        grown = set(base)
        for q in base:
            candidates = reciprocal(q, half)
            if len(candidates & base) > 2 / 3 * len(candidates):
                grown |= candidates
        weights = {g: math.exp(-distance[p][g]) for g in grown}
        vectors.append([weights.get(g, 0.0) / sum(weights.values()) for g in every])
    return [[sum(vectors[g][j] for g in order[p][:k2]) / k2 for j in every] for p in every]


def jaccard(first, second):
    """Jaccard distance of two rows of `reciprocal_means`."""
    pairs = list(zip(first, second, strict=True))
    return 1 - sum(min(pair) for pair in pairs) / sum(max(pair) for pair in pairs)
