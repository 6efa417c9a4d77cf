"""Retrieval scores against slow loops written from the definition, stored numbers and numbers worked out by hand."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from keras_osnet.metrics import evaluate_distances, evaluate_retrieval
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.ranking import PROTOCOLS

SIDES = ("query_features", "query_ids", "query_cameras", "gallery_features", "gallery_ids", "gallery_cameras")


def oracle_distance(metric, x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "euclidean":
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    norms = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / norms


def oracle(case, metric, max_rank):
    """CMC, mean INP and the AP of every query (None: skipped), one query and one image at a time."""
    precisions, penalties, firsts = [], [], []
    sides = [[case[f"{side}_{what}"] for what in ("features", "ids", "cameras")] for side in ("query", "gallery")]
    groups = [case.get(f"{side}_groups", [0] * len(case[f"{side}_ids"])) for side in ("query", "gallery")]
    queries, gallery = (list(zip(*side, group, strict=True)) for side, group in zip(sides, groups, strict=True))
    for x, identity, camera, own in queries:
        kept = []
        for index, (y, other, view, group) in enumerate(gallery):
            if group == own and not (other == identity and view == camera):
                kept.append((oracle_distance(metric, x, y), index, other == identity))
        ranks = [rank for rank, (_, _, match) in enumerate(sorted(kept), 1) if match]
        if not ranks:
            precisions.append(None)
            continue
        precisions.append(sum(count / rank for count, rank in enumerate(ranks, 1)) / len(ranks))
        penalties.append(len(ranks) / ranks[-1])
        firsts.append(ranks[0])
    cmc = [sum(first <= k for first in firsts) / len(firsts) for k in range(1, max_rank + 1)]
    return cmc, sum(penalties) / len(penalties), precisions


def tied_case(metric, seed):
    """Integers, so that sums are exact and many distances tie; ids 0 and 9 are distractors, id 12 has no match."""
    rng = np.random.default_rng(seed)
    # Four entries of +-1 have norm 2: cosines are exact too.
    draw = {"euclidean": lambda n: rng.integers(-2, 3, (n, 3)), "cosine": lambda n: rng.choice([-1, 1], (n, 4))}[metric]
    return {
        "query_features": draw(17).astype(np.float32),
        "query_ids": np.append(rng.integers(1, 6, 15), [12, 12]),
        "query_cameras": rng.integers(0, 3, 17),
        "gallery_features": draw(41).astype(np.float32),
        "gallery_ids": np.append(rng.choice([0, 1, 2, 3, 4, 5, 9], 40), 5),
        "gallery_cameras": rng.integers(0, 3, 41),
    }


def clustered_case(queries=67, gallery=301, features=23, identities=19, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, features))
    case = {}
    for side, count in (("query", queries), ("gallery", gallery)):
        ids = rng.integers(identities, size=count)
        case[f"{side}_features"] = (centres[ids] + rng.normal(size=(count, features))).astype(np.float32)
        case[f"{side}_ids"], case[f"{side}_cameras"] = ids, rng.integers(4, size=count)
    return case


def assert_same(ours, theirs, tolerance=1e-6):
    np.testing.assert_allclose(ours.cmc, theirs.cmc, atol=tolerance)
    np.testing.assert_allclose([ours.mAP, ours.mINP], [theirs.mAP, theirs.mINP], atol=tolerance)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("metric", METRICS)
def test_scores_with_ties_cameras_and_distractors_match_slow_loops(metric, seed):
    case = tied_case(metric, seed)
    cmc, minp, precisions = oracle(case, metric, 7)
    scores = evaluate_retrieval(**case, metric=metric, max_rank=7)
    found = [p for p in precisions if p is not None]
    np.testing.assert_allclose(scores.cmc, cmc, atol=1e-12)
    np.testing.assert_allclose(scores.average_precision, [np.nan if p is None else p for p in precisions], atol=1e-12)
    assert scores.mAP == pytest.approx(sum(found) / len(found), abs=1e-12)
    assert scores.mINP == pytest.approx(minp, abs=1e-12)
    assert (scores.valid_queries, scores.queries) == (len(found), 17)
    assert len(found) <= 15


@pytest.mark.parametrize("seed", range(4))
def test_a_query_is_ranked_within_its_own_group(seed):
    case, rng = tied_case("euclidean", seed), np.random.default_rng(seed)
    # The ids of one group stand for other people in another.
    case |= {"query_groups": rng.integers(3, 6, 17), "gallery_groups": rng.integers(3, 6, 41)}
    cmc, minp, precisions = oracle(case, "euclidean", 7)
    found = [p for p in precisions if p is not None]
    distances = ((case["query_features"][:, None] - case["gallery_features"]) ** 2).sum(axis=2)
    labels = {name: value for name, value in case.items() if not name.endswith("features")}
    for scores in (evaluate_retrieval(**case, max_rank=7), evaluate_distances(distances, **labels, max_rank=7)):
        np.testing.assert_allclose(scores.cmc, cmc, atol=1e-12)
        assert (scores.mAP, scores.mINP) == pytest.approx((sum(found) / len(found), minp), abs=1e-12)
        assert (scores.valid_queries, scores.queries) == (len(found), 17)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"query_groups": [0] * 17}, "`gallery_groups` must have one entry per row"),
        (
            {"query_groups": [0] * 17, "gallery_groups": [0] * 4},
            r"`gallery_groups` must have one entry per row .*\(41\)",
        ),
        ({"query_groups": [0] * 17, "gallery_groups": ["a"] * 41}, "must be all integers or all strings"),
    ],
)
def test_groups_that_do_not_fit_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(**tied_case("euclidean", 0), **groups)


@pytest.mark.parametrize("metric", METRICS)
def test_real_valued_features_match_slow_loops(metric):
    case = clustered_case(queries=13, gallery=57, features=5, identities=6)
    cmc, minp, precisions = oracle(case, metric, 9)
    scores = evaluate_retrieval(**case, metric=metric, max_rank=9)
    np.testing.assert_allclose(scores.cmc, cmc, atol=1e-12)
    np.testing.assert_allclose(scores.average_precision, [np.nan if p is None else p for p in precisions], atol=1e-12)
    assert scores.mINP == pytest.approx(minp, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_stored_reference_scores_are_met(metric):
    golden = np.load(Path(__file__).parent / "retrieval_golden.npz")
    scores = evaluate_retrieval(*(golden[side] for side in SIDES), metric=metric)
    np.testing.assert_allclose(scores.cmc, golden[f"{metric}_cmc"], atol=1e-6)
    assert scores.mAP == pytest.approx(float(golden[f"{metric}_mAP"]), abs=1e-6)


def hand_case():
    # Distances 0, 1, 4, 9, 16, 25. Image 0 goes (same identity, same camera), which leaves
    # other, match, other, match, other: ranks 2 and 4.
    return {
        "query_features": [[0.0, 0.0]],
        "query_ids": [3],
        "query_cameras": [1],
        "gallery_features": [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0], [5.0, 0.0]],
        "gallery_ids": [3, 8, 3, 0, 3, 8],
        "gallery_cameras": [1, 1, 2, 2, 4, 1],
    }


def test_worked_example_gives_the_numbers_of_the_definition():
    scores = evaluate_retrieval(**hand_case(), max_rank=4)
    assert scores.cmc.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert scores.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert scores.mINP == pytest.approx(2 / 4)
    assert (scores.rank(1), scores.rank(2)) == (0.0, 1.0)
    assert (scores.queries, scores.valid_queries) == (1, 1)


def test_curve_longer_than_the_gallery_stays_at_its_last_value():
    scores = evaluate_retrieval(**hand_case(), max_rank=50)
    assert scores.cmc.shape == (50,)
    assert scores.cmc[1:].tolist() == [1.0] * 49


@pytest.mark.parametrize("k", [0, 5, 1.5, True, None])
def test_rank_outside_the_curve_is_refused(k):
    scores = evaluate_retrieval(**hand_case(), max_rank=4)
    with pytest.raises(ValueError, match=rf"`k` must be an integer from 1 to max_rank, 4\. Received: k={k}"):
        scores.rank(k)


def test_all_distances_equal_leaves_the_gallery_in_its_order():
    case = hand_case() | {"gallery_features": np.ones((6, 2))}
    scores = evaluate_retrieval(**case, max_rank=3)
    assert scores.cmc.tolist() == [0.0, 1.0, 1.0]  # images 1..5 stay, matches are 2 and 4
    assert scores.mINP == pytest.approx(2 / 4)


def test_zero_vector_is_at_cosine_distance_one():
    case = {"query_features": [[1.0, 0.0]], "query_ids": [1], "query_cameras": [0]}
    case |= {"gallery_features": [[-1.0, 0.0], [0.0, 0.0], [1.0, 2.0]], "gallery_ids": [2, 1, 2]}
    assert evaluate_retrieval(**case, gallery_cameras=[1, 1, 1], metric="cosine").mINP == pytest.approx(1 / 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_do_not_depend_on_the_memory_limit(metric, protocol):
    case = clustered_case()
    whole = evaluate_retrieval(**case, metric=metric, protocol=protocol)
    for rows in (1, 2, 19):
        limit = rows * (40 * 301 + 4 * (301 + 23))
        assert_same(evaluate_retrieval(**case, metric=metric, protocol=protocol, memory_limit=limit), whole)


def test_scores_do_not_depend_on_the_order_of_the_queries():
    case = clustered_case()
    order = np.random.default_rng(1).permutation(67)
    shuffled = case | {name: case[name][order] for name in SIDES[:3]}
    ours, theirs = evaluate_retrieval(**shuffled), evaluate_retrieval(**case)
    assert_same(ours, theirs)
    np.testing.assert_allclose(ours.average_precision, theirs.average_precision[order], atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "int64"])
def test_number_types_of_the_features_give_the_same_scores(kind):
    case = tied_case("euclidean", 0)
    other = {name: case[name].astype(kind) for name in ("query_features", "gallery_features")}
    assert_same(evaluate_retrieval(**case | other), evaluate_retrieval(**case), 0)


def test_float64_features_are_told_apart_where_float32_would_tie():
    case = {"query_features": [[0.0]], "query_ids": [1], "query_cameras": [0]}
    case |= {"gallery_features": [[1.0 + 1e-12], [1.0]], "gallery_ids": [2, 1], "gallery_cameras": [1, 1]}
    assert evaluate_retrieval(**case).rank(1) == 1.0


def test_memory_stays_below_the_limit_and_far_below_the_distance_matrix():
    case = clustered_case(queries=900, gallery=5003, features=4, identities=300)
    tracemalloc.start()
    try:
        evaluate_retrieval(**case, memory_limit=2_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 < 900 * 5003 * 4


def test_cuhk03_is_exact_where_every_identity_has_one_picture():
    case = clustered_case(queries=31, gallery=19)
    case |= {"gallery_ids": np.arange(19), "gallery_cameras": np.full(19, 9)}
    assert_same(evaluate_retrieval(**case, protocol="cuhk03"), evaluate_retrieval(**case), 1e-12)


def test_cuhk03_draws_one_picture_per_identity_with_equal_chances():
    # At 1, 3 and 5 the query's matches, at 2, 4, 4 one other identity, at 0 a removed image. The other's draw is 2
    # with chance 1/3: first rank is 1 with chance 1/3 + 1/3 * 2/3 + 0 = 5/9, else 2.
    queries = 600
    case = {"query_features": np.zeros((queries, 1)), "query_ids": [7] * queries, "query_cameras": [0] * queries}
    case |= {"gallery_features": [[5.0], [4.0], [0.0], [1.0], [2.0], [3.0], [4.0]]}
    case |= {"gallery_ids": [7, 2, 7, 7, 2, 7, 2], "gallery_cameras": [1, 1, 0, 2, 1, 1, 0]}
    scores = evaluate_retrieval(**case, protocol="cuhk03", max_rank=3)
    assert scores.cmc == pytest.approx([5 / 9, 1, 1], abs=0.03)  # 6,000 draws: deviation 0.006
    assert scores.cmc[0] == evaluate_retrieval(**case, protocol="cuhk03", max_rank=3).cmc[0]


def test_cuhk03_takes_mean_precision_from_the_whole_gallery():
    case = clustered_case()
    ours, theirs = evaluate_retrieval(**case, protocol="cuhk03"), evaluate_retrieval(**case)
    assert (ours.mAP, ours.mINP) == (theirs.mAP, theirs.mINP)
    assert ours.rank(1) != theirs.rank(1)


ERRORS = {
    "unknown metric": ({"metric": "l2"}, r"`metric` must be one of 'euclidean', 'cosine'. Received: metric='l2'"),
    "unknown protocol": ({"protocol": "x"}, r"`protocol` must be one of 'market1501', 'cuhk03'. Received: protocol"),
    "max_rank zero": ({"max_rank": 0}, r"`max_rank` must be an integer from 1 to .*, 1000000. Received: max_rank=0"),
    "max_rank beyond memory": ({"max_rank": 10**9}, r"`max_rank` must be .* Received: max_rank=1000000000"),
    "metric a list": ({"metric": ["cosine"]}, r"`metric` must be one of .* Received: metric=\['cosine'\]"),
    "max_rank fraction": ({"max_rank": 2.5}, r"`max_rank` must be .* Received: max_rank=2.5"),
    "small memory": ({"memory_limit": 271}, r"`memory_limit` must hold one row of 6 .*272 bytes. Received: .*=271"),
    "empty query": (
        {"query_features": np.empty((0, 2)), "query_ids": [], "query_cameras": []},
        r"`query_features` must not be empty. Received: query_features.shape=\(0, 2\)",
    ),
    "empty gallery": (
        {"gallery_features": np.empty((0, 2)), "gallery_ids": [], "gallery_cameras": []},
        r"`gallery_features` must not be empty",
    ),
    "one dimension": ({"query_features": [0.0, 0.0]}, r"`query_features` must be a 2-D array .* shape \(2,\)"),
    "text": ({"query_features": [["a", "b"]]}, r"`query_features` must be a 2-D array of real numbers"),
    "other dimension": (
        {"query_features": [[0.0, 0.0, 0.0]]},
        r"same number of columns. Received: query_features.shape=\(1, 3\), gallery_features.shape=\(6, 2\)",
    ),
    "ids too few": ({"gallery_ids": [3, 8]}, r"`gallery_ids` must have one entry per row of `gallery_features` \(6\)"),
    "cameras too many": ({"query_cameras": [1, 1]}, r"`query_cameras` must have one .* \(1\). Received: .*=\(2,\)"),
    "ids real": (
        {"query_ids": np.array([3.0])},
        r"`query_ids` must be integers or strings\. Received: query_ids of type float64",
    ),
    "ids real in a list": ({"query_ids": [3.0]}, r"`query_ids` must be integers or strings\. Received: 3\.0 at 0"),
    "ids missing": ({"query_ids": [None]}, r"`query_ids` must be integers or strings\. Received: None at 0"),
    "ids empty text": ({"query_ids": [""]}, r"`query_ids` must be integers or strings\. Received: '' at 0"),
    "ids logical": ({"query_ids": [True]}, r"`query_ids` must be integers or strings\. Received: True at 0"),
    "ids of two kinds": ({"query_ids": ["3"]}, r"`query_ids` and `gallery_ids` must be all integers or all strings"),
    "cameras NaN": (
        {"gallery_cameras": [1, 1, math.nan, 2, 4, 1]},
        r"`gallery_cameras` must be integers or strings, None where unknown\. Received: nan at 2",
    ),
    "cameras text": (
        {"gallery_cameras": list("abcdef")},
        r"`query_cameras` and `gallery_cameras` must be all integers",
    ),
    "memory infinite": ({"memory_limit": math.inf}, r"`memory_limit` must be positive and finite\. Received: .*=inf"),
    "memory NaN": ({"memory_limit": math.nan}, r"`memory_limit` must be positive and finite\. Received: .*=nan"),
    "memory negative": ({"memory_limit": -1}, r"`memory_limit` must be positive and finite\. Received: .*=-1"),
    "memory text": ({"memory_limit": "1 GB"}, r"`memory_limit` must be positive and finite\. Received: .*='1 GB'"),
    "query NaN": (
        {"query_features": [[0.0, np.nan]]},
        r"`query_features` must be finite.* 1 of 1 rows, first in row 0",
    ),
    "gallery infinite": (
        {"gallery_features": [[0, 1], [1, 0], [np.inf, 2], [3, 0], [0, np.nan], [5, 0]]},
        r"`gallery_features` must be finite. Received: .* NaN or infinity in 2 of 6 rows, first in row 2",
    ),
    "overflow": (
        {"query_features": np.float32([[1e20, 0]]), "gallery_features": np.ones((6, 2), np.float32)},
        r"`query_features` must have squares that float32 can hold. Received: .* row 0",
    ),
    "no shared id": ({"query_ids": [4]}, r"Received: 1 queries; 0 of them have their id in the gallery"),
    "same camera only": (
        {"gallery_ids": [3, 8, 8, 0, 8, 3], "gallery_cameras": [1] * 6},
        r"Received: 1 queries; 1 of them have their id in the gallery, under their own camera only",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_wrong_argument_is_refused_by_name(error):
    change, message = ERRORS[error]
    case = {name: np.asarray(value) for name, value in hand_case().items()}
    case["query_features"], case["gallery_features"] = (
        case[name].astype(np.float32) for name in ("query_features", "gallery_features")
    )
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(**case | change)


def labels_of(case):
    return [case[side] for side in SIDES if not side.endswith("features")]


LABELS = {
    "strings": str,
    "strings in two Unicode forms": lambda value: f"{value} Zo\u00eb" if value % 2 else f"{value} Zoe\u0308",
    "small integers": np.int8,
    "unsigned integers": lambda value: np.uint64(value + 2**63),
    "Python's integers of any size": lambda value: value * 10**30,
}


@pytest.mark.parametrize("labels", LABELS)
def test_identities_and_cameras_of_any_kind_give_the_scores_of_integers(labels):
    case = clustered_case()
    names = [side for side in SIDES if not side.endswith("features")]
    other = {name: [LABELS[labels](int(value)) for value in case[name]] for name in names}
    want = evaluate_retrieval(**case)
    for way in (other, {name: np.array(values) for name, values in other.items()}):
        got = evaluate_retrieval(**case | way)
        np.testing.assert_array_equal(got.average_precision, want.average_precision)


def test_the_same_text_in_two_unicode_forms_is_one_identity():
    case = hand_case() | {
        "query_ids": ["Zoe\u0308"],
        "gallery_ids": ["Zo\u00eb", "b", "Zo\u00eb", "c", "Zoe\u0308", "d"],
    }
    assert evaluate_retrieval(**case).mAP == evaluate_retrieval(**hand_case()).mAP


def test_the_largest_unsigned_identity_is_not_minus_one():
    case = hand_case() | {"query_ids": np.array([2**64 - 1], np.uint64), "gallery_ids": [-1, 8, -1, 0, -1, 8]}
    with pytest.raises(ValueError, match="0 of them have their id in the gallery"):
        evaluate_retrieval(**case)


@pytest.mark.parametrize(
    ("query", "gallery"),
    [([None], [1, 1, 2, 2, 4, 1]), ([1], [None, 1, 2, 2, 4, 1]), ([None], [None] * 6), (None, None), (["a"], None)],
    ids=["of the query", "of an image", "of both", "all left out", "of one side"],
)
def test_an_unknown_camera_equals_no_other(query, gallery):
    # Nothing is removed: the matches are at ranks 1, 3 and 5.
    scores = evaluate_retrieval(**hand_case() | {"query_cameras": query, "gallery_cameras": gallery})
    assert scores.mAP == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert scores.first_match.tolist() == [1]


def test_the_first_match_is_that_of_slow_loops_and_zero_without_one():
    case = tied_case("euclidean", 1)
    scores = evaluate_retrieval(**case)
    for query, first in enumerate(scores.first_match):
        one = {name: case[name][query : query + 1] if "query" in name else case[name] for name in SIDES}
        if first:
            cmc, _, _ = oracle(one, "euclidean", 41)
            assert cmc.index(1) + 1 == first
        else:
            assert np.isnan(scores.average_precision[query])
    assert 0 in scores.first_match


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_ranked_as_the_loop_ranks_them_and_left_as_they_are(metric):
    case = tied_case(metric, 3)
    rows = [[oracle_distance(metric, x, y) for y in case["gallery_features"]] for x in case["query_features"]]
    distances = np.array(rows)
    got = evaluate_distances(distances, *labels_of(case), max_rank=9)
    cmc, minp, precisions = oracle(case, metric, 9)
    np.testing.assert_allclose(got.cmc, cmc, atol=1e-12)
    assert got.mINP == pytest.approx(minp, abs=1e-12)
    assert got.mAP == pytest.approx(np.mean([p for p in precisions if p is not None]), abs=1e-12)
    assert (distances == np.array(rows)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: np.where(d == d.max(), np.nan, d), "`distances` must be finite"),
        (lambda d: d[0], "`distances` must be a .* matrix"),
        (lambda d: d[:0], "not empty"),
        (lambda d: d[:-1], "`query_ids` must have one entry per row of `distances`"),
        (lambda d: d[:, 1:], "`gallery_ids` must have one entry per row of `distances.T`"),
    ],
)
def test_distances_that_are_no_distances_are_refused(change, message):
    case = clustered_case()
    distances = np.random.default_rng(0).random((len(case["query_ids"]), len(case["gallery_ids"])))
    with pytest.raises(ValueError, match=message):
        evaluate_distances(change(distances), *labels_of(case))
