"""Rankings, hard triplets and counts of pairs, against plain Python loops."""

import math

import numpy as np
import pytest

from keras_osnet.metrics import evaluate_retrieval
from keras_osnet.metrics.blocks import BLOCK
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.pairs import PAIR_KINDS
from keras_osnet.visual import hard_triplets, pair_distances, rank_gallery

FUNCTIONS = {"rank_gallery": rank_gallery, "hard_triplets": hard_triplets, "pair_distances": pair_distances}
# On a line. Query 0 (person 1, camera 1): gallery 1 is the same shot's neighbour, 0 and 3 impostors, 2 and 5 matches.
# Query 1 (person 9) has its own camera's image only; query 2 (person 7) is not in the gallery at all.
QUERIES = np.array([[0.0], [10.0], [0.0]]), np.array([1, 9, 7]), np.array([1, 2, 1])
GALLERY = (
    np.array([[3.0], [1.0], [2.0], [-3.0], [9.0], [4.0]]),
    np.array([2, 1, 1, 3, 9, 1]),
    np.array([1, 1, 2, 2, 2, 3]),
)
TINY = *QUERIES, *GALLERY


def random_case(seed=0, queries=23, gallery=41):
    rng = np.random.default_rng(seed)
    sides = [
        (rng.normal(0.5, 1, (n, 7)).astype(np.float32), rng.integers(0, 9, n), rng.integers(1, 4, n))
        for n in (queries, gallery)
    ]
    return *sides[0], *sides[1]


def tied_case(seed):
    """Whole numbers, so that distances are exact, and many of them equal."""
    rng = np.random.default_rng(seed)
    sides = [(rng.integers(0, 3, (n, 2)), rng.integers(0, 5, n), rng.integers(1, 3, n)) for n in (15, 32)]
    return *sides[0], *sides[1]


def distance(metric, x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "euclidean":
        return math.dist(x, y)
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def kind(case, q, g):
    _, ids, cameras, _, other_ids, other_cameras = case
    if ids[q] != other_ids[g]:
        return "impostor"
    return "same camera" if cameras[q] == other_cameras[g] else "match"


def pairs(case, metric):
    """For each query its (distance, gallery row, kind), nearest first, equal distances by row."""
    queries, gallery = case[0], case[3]
    return [
        sorted((distance(metric, x, y), g, kind(case, q, g)) for g, y in enumerate(gallery))
        for q, x in enumerate(queries)
    ]


def precision_and_first(row):
    hits, place, precisions, first = 0, 0, [], 0
    for _, _, name in row:
        if name == "same camera":
            continue
        place += 1
        if name == "match":
            hits += 1
            precisions.append(hits / place)
            first = first or place
    return (sum(precisions) / hits if hits else math.nan), first


def test_a_ranking_by_hand():
    found = rank_gallery(*TINY, top=5)
    assert found.indices[0].tolist() == [1, 2, 0, 3, 5]  # 0 and 3 are equally far: in gallery order
    assert found.distances[0].tolist() == [1, 2, 3, 3, 4]
    assert [PAIR_KINDS[k] for k in found.kinds[0]] == ["same camera", "match", "impostor", "impostor", "match"]
    # Without the same camera's: match, impostor, impostor, match.
    assert found.average_precision[0] == (1 / 1 + 2 / 4) / 2
    assert found.first_match.tolist() == [1, 0, 0]
    assert np.isnan(found.average_precision[1:]).all()
    assert PAIR_KINDS[found.kinds[1, 0]] == "same camera"
    assert (found.indices.dtype, found.distances.dtype, found.kinds.dtype) == (np.int64, np.float32, np.int8)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", [random_case(), random_case(1, queries=1)], ids=["many", "one query"])
def test_rankings_match_plain_loops(case, metric):
    found, want = rank_gallery(*case, metric=metric, top=12), pairs(case, metric)
    assert found.indices.tolist() == [[g for _, g, _ in row[:12]] for row in want]
    assert [[PAIR_KINDS[k] for k in row] for row in found.kinds] == [[name for _, _, name in row[:12]] for row in want]
    np.testing.assert_allclose(found.distances, [[d for d, _, _ in row[:12]] for row in want], rtol=1e-6)
    precision, first = zip(*map(precision_and_first, want), strict=True)
    np.testing.assert_allclose(found.average_precision, precision, rtol=1e-12)
    assert found.first_match.tolist() == list(first)


@pytest.mark.parametrize("seed", range(3))
def test_equal_distances_are_in_gallery_order(seed):
    case = tied_case(seed)
    found, want = rank_gallery(*case, top=32), pairs(case, "euclidean")
    assert found.indices.tolist() == [[g for _, g, _ in row] for row in want]
    np.testing.assert_allclose(found.average_precision, [precision_and_first(row)[0] for row in want], rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_average_precisions_are_those_of_the_evaluation_over_several_blocks(metric):
    case = random_case(2, queries=2 * BLOCK + 3)
    found = rank_gallery(*case, metric=metric)
    np.testing.assert_allclose(
        found.average_precision, evaluate_retrieval(*case, metric=metric).average_precision, atol=1e-6
    )


def test_an_image_is_at_distance_zero_of_itself():
    features = 1000 * random_case()[3]
    labels = np.arange(len(features)), np.ones(len(features), int)
    found = rank_gallery(features, *labels, features, *labels, top=1)
    assert found.indices[:, 0].tolist() == list(range(len(features)))
    np.testing.assert_allclose(found.distances, 0, atol=1e-3)  # of lengths of some thousands


def test_a_zero_vector_is_at_cosine_distance_one():
    labels = [1, 2], [1, 1]
    found = rank_gallery([[1.0, 0.0], [0.0, 0.0]], *labels, [[-2.0, 0.0], [0.0, 0.0]], *labels, metric="cosine", top=2)
    assert found.indices.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_allclose(found.distances, [[1, 2], [1, 1]])


def slow_triplets(case, metric):
    rows = []
    for q, row in enumerate(pairs(case, metric)):
        matches, impostors = ([(d, g) for d, g, n in row if n == name] for name in ("match", "impostor"))
        if matches and impostors:
            far = max(matches, key=lambda each: (each[0], -each[1]))
            rows.append((impostors[0][0] - far[0], q, far[1], impostors[0][1], far[0], impostors[0][0]))
    return sorted(rows)


def test_the_hardest_triplet_by_hand():
    found = hard_triplets(*TINY)
    # Query 0's match 5 at distance 4 lies beyond impostor 0 at 3; the other queries have no match.
    assert [found.query.tolist(), found.match.tolist(), found.impostor.tolist()] == [[0], [5], [0]]
    assert (found.match_distance.tolist(), found.impostor_distance.tolist()) == ([4.0], [3.0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [4, 1000])
def test_hard_triplets_match_plain_loops(metric, count):
    case = random_case(3)
    found, want = hard_triplets(*case, metric=metric, count=count), slow_triplets(case, metric)[:count]
    _, *rows, far, near = zip(*want, strict=True)
    assert [each.tolist() for each in (found.query, found.match, found.impostor)] == [list(row) for row in rows]
    np.testing.assert_allclose(found.match_distance, far, rtol=1e-9)
    np.testing.assert_allclose(found.impostor_distance, near, rtol=1e-9)
    assert np.all(np.diff(found.match_distance - found.impostor_distance) <= 0)


def test_equally_hard_triplets_are_in_the_order_of_the_queries():
    case = tied_case(4)
    found, want = hard_triplets(*case, count=1000), slow_triplets(case, "euclidean")
    assert [found.query.tolist(), found.match.tolist(), found.impostor.tolist()] == [
        list(row) for row in list(zip(*want, strict=True))[1:4]
    ]


def test_without_any_match_there_is_no_triplet():
    found = hard_triplets(*(part[2:] for part in QUERIES), *GALLERY)
    assert [len(part) for part in vars(found).values()] == [0] * 5
    assert found.query.dtype == np.int64


def largest_possible(metric, queries, gallery):
    """Of vectors of these lengths, some of which point apart."""
    longest = [max(math.hypot(*map(float, row)) for row in side) for side in (queries, gallery)]
    return sum(longest) if metric == "euclidean" else 2.0


@pytest.mark.parametrize("metric", METRICS)
def test_pairs_are_counted_as_plain_loops_count_them(metric):
    case = random_case(5, queries=BLOCK + 9)
    found, want = pair_distances(*case, metric=metric, bins=30), pairs(case, metric)
    width = largest_possible(metric, case[0], case[3]) / 30
    used = int(max(d for row in want for d, _, n in row if n != "same camera") / width) + 1
    assert 10 < used <= 30
    np.testing.assert_allclose(found.edges, [width * i for i in range(used + 1)], rtol=1e-6, atol=1e-12)
    for counts, name in ((found.matches, "match"), (found.impostors, "impostor")):
        expected = [0] * used
        for row in want:
            for d, _, n in row:
                if n == name:
                    expected[int(d / width)] += 1
        assert counts.tolist() == expected
        assert counts.dtype == np.int64


@pytest.mark.parametrize(("metric", "most"), [("euclidean", 5.0), ("cosine", 1.0)])
def test_without_negative_features_no_pair_lies_beyond_the_right_angle(metric, most):
    query, gallery = np.array([[3.0, 0], [0, 1]]), np.array([[0, 4.0], [1, 0]])
    found = pair_distances(query, [1, 2], [1, 1], gallery, [2, 3], [2, 2], metric=metric, bins=10)
    # Query 1 lies as far from gallery image 1 as can be: the last bin holds it.
    np.testing.assert_allclose(found.edges, np.linspace(0, most, 11))
    assert (found.matches.sum(), found.impostors.sum(), found.impostors[-1] > 0) == (1, 3, True)


def test_pairs_that_are_all_alike_are_counted_at_zero():
    same = np.ones((2, 3)), np.array([1, 2]), np.array([1, 1])
    other = np.ones((2, 3)), np.array([1, 2]), np.array([2, 1])
    found = pair_distances(*same, *other, bins=4)
    assert found.matches.tolist() == [1]
    assert found.impostors.tolist() == [2]  # person 2 under its own camera is counted nowhere


def test_features_of_zero_have_pairs_at_zero():
    labels = [1, 2], [1, 2]
    found = pair_distances(np.zeros((2, 3)), *labels, np.zeros((2, 3)), *labels, bins=4)
    assert (found.matches.tolist(), found.impostors.tolist()) == ([0], [2])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.full((3, 1), np.nan), r"`query_features` must be finite"),
        (3, np.full((6, 1), np.inf), r"`gallery_features` must be finite"),
        (3, np.ones((6, 2)), r"must have the same number of columns"),
        (0, np.ones((0, 1)), r"`query_features` must not be empty"),
        (1, np.array([1, 2]), r"`query_ids` must have one entry per row of `query_features` \(3\)"),
        (5, np.ones(6), r"`gallery_cameras` must be integers"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(name, place, value, message):
    case = [*TINY[:place], value, *TINY[place + 1 :]]
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](*case, **{"rank_gallery": {"top": 3}}.get(name, {}))


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("rank_gallery", {"top": 7}, r"`top` must be an integer from 1 to the gallery's size, 6\. Received: top=7"),
        ("rank_gallery", {"top": True}, r"Received: top=True"),
        ("hard_triplets", {"count": 0}, r"`count` must be an integer of at least 1\. Received: count=0"),
        ("pair_distances", {"bins": 2.5}, r"`bins` must be an integer of at least 1\. Received: bins=2\.5"),
        *((name, {"metric": "l1"}, r"`metric` must be one of 'euclidean', 'cosine'") for name in FUNCTIONS),
    ],
)
def test_a_wrong_option_is_refused(name, option, message):
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](*TINY, **option)
