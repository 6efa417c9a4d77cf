"""Clusters against slow loops written from the definitions, and what is refused."""

import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="clusters need scikit-learn")

from keras_osnet.adaptation.clusters import agreement, choose_eps, cluster, jaccard_distances, silhouettes
from keras_osnet.metrics.blocks import BLOCK
from tests.metrics.oracles import jaccard, reciprocal_means


def features_of(images, identities, dimension=6, noise=0.35, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, dimension))
    rows = centres[rng.integers(identities, size=images)] + noise * rng.normal(size=(images, dimension))
    return rows * rng.uniform(0.2, 30, size=(images, 1))  # lengths must not matter


def jaccard_by_loops(features, k1, k2):
    """Every pair of images, one after the other, in Python's own numbers."""
    units = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in features.tolist()]
    squared = [[sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) for v in units] for u in units]
    means = reciprocal_means(squared, k1, k2)
    return np.array([[jaccard(first, second) for second in means] for first in means])


def dense(distances):
    """Distances that are left out are 1; a stored 0 is 0."""
    result = np.ones(distances.shape)
    rows = np.repeat(np.arange(len(result)), np.diff(distances.indptr))
    result[rows, distances.indices] = distances.data
    return result


def dbscan_by_loops(distances, eps, min_samples):
    near = [[g for g in range(len(distances)) if distances[p][g] <= eps] for p in range(len(distances))]
    labels, clusters = [-1] * len(near), 0
    for start in range(len(near)):
        if labels[start] != -1 or len(near[start]) < min_samples:
            continue
        waiting = [start]
        while waiting:
            image = waiting.pop()
            if labels[image] == -1:
                labels[image] = clusters
                if len(near[image]) >= min_samples:
                    waiting += near[image]
        clusters += 1
    return labels


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 2), (6, 1), (7, 4), (30, 6)])
def test_distances_match_slow_loops(k1, k2):
    features = features_of(43, 5, seed=k1)
    found = jaccard_distances(features, k1=k1, k2=k2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(dense(found), jaccard_by_loops(features, k1, k2), atol=2e-6)


def camera_jaccard_by_loops(features, cameras, k1_own, k1_other, k2_own, k2_other):
    """CA-Jaccard of every pair of images. The image itself stands for neighbours that are missing."""
    units = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in features.tolist()]
    squared = [[sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) for v in units] for u in units]
    every = range(len(units))
    order = [sorted(every, key=lambda g, p=p: (g != p, squared[p][g], g)) for p in every]
    own = [[g for g in order[p] if cameras[g] == cameras[p]] for p in every]
    other = [[g for g in order[p] if cameras[g] != cameras[p]] for p in every]
    vectors, means = [], []
    for p in every:
        near = {g for g in own[p][: k1_own + 1] if p in own[g][: k1_own + 1]}
        near |= {g for g in other[p][:k1_other] if p in other[g][:k1_other]}
        weights = {g: math.exp(-squared[p][g]) for g in near}
        vectors.append([weights.get(g, 0.0) / sum(weights.values()) for g in every])
    for p in every:
        members = (own[p] + k2_own * [p])[:k2_own] + (other[p] + k2_other * [p])[:k2_other]
        means.append([sum(vectors[g][j] for g in members) / len(members) for j in every])
    return np.array([[jaccard(first, second) for second in means] for first in means])


# The published numbers of neighbours are those of k1=30, k2=6.
@pytest.mark.parametrize(
    ("k1", "k2", "numbers"),
    [(30, 6, (5, 20, 2, 4)), (6, 3, (1, 4, 1, 2)), (12, 1, (2, 8, 1, 1)), (12, 12, (2, 8, 4, 8))],
)
@pytest.mark.parametrize("cameras", [["a", "b", None], ["a"], ["a"] * 20 + ["b"]])
def test_distances_of_cameras_match_slow_loops(k1, k2, numbers, cameras):
    features = features_of(63, 5, seed=k1)
    cameras = [cameras[image % len(cameras)] for image in range(63)]
    found = jaccard_distances(features, k1=k1, k2=k2, cameras=cameras)
    expected = camera_jaccard_by_loops(features, cameras, *numbers)
    np.testing.assert_allclose(dense(found), expected, atol=2e-6)
    assert (found.diagonal() == 0).all()


def test_an_unknown_camera_is_not_one_called_none():
    features, names = features_of(40, 4), ["None", None] * 20
    known = jaccard_distances(features, cameras=["a", "b"] * 20)
    np.testing.assert_array_equal(dense(jaccard_distances(features, cameras=names)), dense(known))


def test_cameras_are_one_for_each_image():
    with pytest.raises(ValueError, match=r"`cameras` must be one per feature\. Received: 3 for 40 features"):
        jaccard_distances(features_of(40, 4), cameras=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"`cameras` must be a list"):
        jaccard_distances(features_of(4, 4), cameras="door")


def test_rows_beyond_one_block_get_the_same_distances():
    features = features_of(BLOCK + 9, 30)
    np.testing.assert_allclose(
        dense(jaccard_distances(features, k1=4, k2=2)), jaccard_by_loops(features, 4, 2), atol=5e-6
    )


def test_distances_are_symmetric_with_stored_zeros_on_the_diagonal():
    found = jaccard_distances(features_of(60, 6), k1=8, k2=3)
    np.testing.assert_array_equal(dense(found), dense(found).T)
    assert (found.diagonal() == 0).all()
    assert all(image in found.indices[slice(*found.indptr[image : image + 2])] for image in range(60))


def test_fewer_images_than_neighbours_are_taken():
    features = features_of(7, 2)
    np.testing.assert_allclose(dense(jaccard_distances(features, k1=30)), jaccard_by_loops(features, 6, 6), atol=2e-6)


def test_images_that_are_all_equal_are_one_cluster():
    found = cluster(jaccard_distances(np.ones((50, 4)), k1=5, k2=2), eps=0.9)
    assert (found.clusters, found.clustered, found.largest) == (1, 1.0, 1.0)


@pytest.mark.parametrize("eps", [0.3, 0.55, 0.7])
@pytest.mark.parametrize("min_samples", [2, 4])
def test_clusters_match_slow_loops(eps, min_samples):
    distances = jaccard_distances(features_of(80, 8, noise=0.6), k1=9, k2=3)
    found = cluster(distances, eps=eps, min_samples=min_samples)
    labels = dbscan_by_loops(dense(distances), eps, min_samples)
    assert agreement(found.labels, labels) == pytest.approx(1)
    assert [label == -1 for label in found.labels] == [label == -1 for label in labels]
    sizes = [labels.count(label) for label in range(max(labels) + 1)]
    assert (found.clusters, found.clustered) == (len(sizes), sum(sizes) / 80)
    assert found.largest == max(sizes, default=0) / 80


def silhouettes_by_loops(distances, labels):
    result = []
    for image, label in enumerate(labels):
        means = {
            other: np.mean([distances[image][g] for g in range(len(labels)) if labels[g] == other and g != image])
            for other in set(labels) - {-1}
            if [g for g in range(len(labels)) if labels[g] == other and g != image]
        }
        if label == -1 or label not in means:
            result.append(0.0)
            continue
        a, b = means[label], min((means[other] for other in means if other != label), default=1.0)
        result.append((b - a) / max(a, b))
    return result


def test_silhouettes_match_slow_loops():
    distances = jaccard_distances(features_of(70, 7, noise=0.6), k1=9, k2=3)
    labels = np.random.default_rng(3).integers(-1, 6, size=70)
    labels[labels == 5] = -1
    labels[0] = 5  # alone in its cluster
    np.testing.assert_allclose(
        silhouettes(distances, labels), silhouettes_by_loops(dense(distances), labels), atol=1e-6
    )


def test_there_is_one_label_for_each_image():
    distances = jaccard_distances(features_of(30, 2), k1=5, k2=2)
    with pytest.raises(ValueError, match=r"`labels` must be one number for each of 30 images\. Received.*\(29,\)"):
        silhouettes(distances, np.zeros(29, int))


def test_a_single_cluster_is_compared_with_images_that_share_no_neighbour():
    distances = jaccard_distances(features_of(30, 2), k1=5, k2=2)
    labels = np.where(np.arange(30) < 9, 0, -1)
    np.testing.assert_allclose(
        silhouettes(distances, labels), silhouettes_by_loops(dense(distances), labels), atol=1e-6
    )


def test_the_chosen_eps_has_the_highest_mean_silhouette():
    distances = jaccard_distances(features_of(90, 9, noise=0.5), k1=9, k2=3)
    candidates = (0.2, 0.4, 0.6, 0.8)
    means = [
        np.mean(silhouettes_by_loops(dense(distances), dbscan_by_loops(dense(distances), e, 4))) for e in candidates
    ]
    assert choose_eps(distances, candidates=candidates).eps == candidates[int(np.argmax(means))]


def rand_by_pairs(before, after):
    """The index over all pairs of images, by its definition."""
    kept = [(b, a) for b, a in zip(before, after, strict=True) if b != -1 and a != -1]
    pairs = [(p, q) for i, p in enumerate(kept) for q in kept[i + 1 :]]
    both = sum(p[0] == q[0] and p[1] == q[1] for p, q in pairs)
    first, second = (sum(p[k] == q[k] for p, q in pairs) for k in (0, 1))
    expected = first * second / len(pairs)
    return (both - expected) / ((first + second) / 2 - expected)


def test_agreement_is_the_adjusted_rand_index_of_images_in_clusters_of_both():
    rng = np.random.default_rng(1)
    before = rng.integers(-1, 4, size=40)
    after = np.where(rng.random(40) < 0.7, before, rng.integers(-1, 5, size=40))
    assert agreement(before, after) == pytest.approx(rand_by_pairs(before, after))
    assert agreement([-1, 0], [0, -1]) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jaccard_distances(np.ones((3, 2)), k1=0), "`k1` must be a positive integer. Received: k1=0"),
        (lambda: jaccard_distances(np.ones((3, 2)), k1=2, k2=3), "`k2` must be at most k1. Received: k1=2, k2=3"),
        (lambda: jaccard_distances(np.ones((1, 2))), "`features` must be of at least 2 images. Received: 1"),
        (lambda: jaccard_distances([[1.0, 0], [0, math.nan]]), "`features` must be finite and not 0."),
        (lambda: cluster(jaccard_distances(np.eye(4)), eps=1), "`eps` must be above 0 and below 1. Received: eps=1"),
        (lambda: cluster(jaccard_distances(np.eye(4)), min_samples=1), "`min_samples` must be an integer of at"),
        (lambda: choose_eps(jaccard_distances(np.eye(4)), candidates=()), "`candidates` must be one or more values"),
        (lambda: agreement([0, 1], [0]), "`after` must have as many labels as `before`. Received: 2 and 1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)
