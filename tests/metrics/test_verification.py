"""Verification scores against slow loops over pairs and thresholds, and against numbers worked out by hand."""

import math
import tracemalloc

import numpy as np
import pytest

from keras_osnet.metrics import verification_scores
from keras_osnet.metrics.distances import METRICS

RATES = (0.0, 0.004, 0.03, 0.1, 0.29, 0.5, 1.0)


def oracle_distance(metric, x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "euclidean":
        return math.dist(x, y)
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def oracle_pairs(case, metric):
    """Distances of the genuine pairs and of the impostors."""
    pairs = {True: [], False: []}
    gallery = list(zip(case["gallery_features"], case["gallery_ids"], case["gallery_cameras"], strict=True))
    for x, identity, camera in zip(case["query_features"], case["query_ids"], case["query_cameras"], strict=True):
        for y, other, view in gallery:
            if not (other == identity and view == camera):
                pairs[bool(other == identity)].append(oracle_distance(metric, x, y))
    return pairs[True], pairs[False]


def share_within(distances, threshold):
    return sum(d <= threshold for d in distances) / len(distances)


def oracle(case, metric, rates):
    """The largest TAR of all thresholds whose FAR is low enough, one threshold after the other; and the AUC."""
    genuine, impostors = oracle_pairs(case, metric)
    points = [(share_within(impostors, t), share_within(genuine, t)) for t in [-math.inf, *genuine, *impostors]]
    best = [max(tar for far, tar in points if far <= rate) for rate in rates]
    wins = sum((g < i) + (g == i) / 2 for g in genuine for i in impostors)
    return best, wins / (len(genuine) * len(impostors))


def tied_case(metric, seed):
    """Integers, so that sums are exact and many distances tie, those of genuine pairs with impostors' too."""
    rng = np.random.default_rng(seed)
    # Four entries of +-1 have norm 2: cosines are exact too.
    draw = {"euclidean": lambda n: rng.integers(-2, 3, (n, 3)), "cosine": lambda n: rng.choice([-1, 1], (n, 4))}[metric]
    return {
        "query_features": draw(13).astype(np.float32),
        "query_ids": np.append(rng.integers(1, 6, 11), [12, 12]),
        "query_cameras": rng.integers(0, 3, 13),
        "gallery_features": draw(37).astype(np.float32),
        "gallery_ids": np.append(rng.choice([0, 1, 2, 3, 4, 5, 9], 35), [4, 5]),
        "gallery_cameras": rng.integers(0, 3, 37),
    }


def clustered_case(queries=37, gallery=151, features=7, identities=19, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, features))
    case = {}
    for side, count in (("query", queries), ("gallery", gallery)):
        ids = rng.integers(identities, size=count)
        case[f"{side}_features"] = (centres[ids] + 0.7 * rng.normal(size=(count, features))).astype(np.float32)
        case[f"{side}_ids"], case[f"{side}_cameras"] = ids, rng.integers(4, size=count)
    return case


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", METRICS)
def test_scores_with_ties_and_cameras_match_slow_loops(metric, seed):
    case = tied_case(metric, seed)
    tar, auc = oracle(case, metric, RATES)
    genuine, impostors = oracle_pairs(case, metric)
    scores = verification_scores(**case, metric=metric, far=RATES)
    assert set(genuine) & set(impostors), "the case must have ties"
    np.testing.assert_allclose(scores.tar, tar, atol=1e-12)
    assert scores.auc == pytest.approx(auc, abs=1e-12)
    assert (scores.genuine, scores.impostors) == (len(genuine), len(impostors))
    # Who accepts the pairs within the threshold gets the rate promised, and no more impostors than allowed.
    for rate, true, threshold in zip(RATES, scores.tar, scores.threshold, strict=True):
        assert share_within(genuine, threshold) == pytest.approx(true, abs=1e-12)
        assert share_within(impostors, threshold) <= rate


@pytest.mark.parametrize("metric", METRICS)
def test_real_valued_features_match_slow_loops(metric):
    case = clustered_case(queries=9, gallery=41, features=5, identities=6)
    tar, auc = oracle(case, metric, RATES)
    scores = verification_scores(**case, metric=metric, far=RATES)
    np.testing.assert_allclose(scores.tar, tar, atol=1e-12)
    assert scores.auc == pytest.approx(auc, abs=1e-12)
    genuine = sorted(oracle_pairs(case, metric)[0])
    last = [genuine[round(t * len(genuine)) - 1] if t else -math.inf for t in tar]
    np.testing.assert_allclose(scores.threshold, last, rtol=1e-4)


def hand_case():
    # Distances 0, 1, 4, 3, 2, 5 and 3. Image 0 goes (same identity, same camera). Genuine: 1, 3, 5; impostors: 4, 2
    # and the 3 that ties with a genuine one.
    return {
        "query_features": [[0.0, 0.0]],
        "query_ids": [3],
        "query_cameras": [1],
        "gallery_features": [[0.0, 0.0], [1.0, 0.0], [0.0, 4.0], [3.0, 0.0], [0.0, 2.0], [3.0, 4.0], [0.0, 3.0]],
        "gallery_ids": [3, 3, 8, 3, 0, 3, 8],
        "gallery_cameras": [1, 2, 2, 3, 1, 2, 1],
    }


def test_worked_example_gives_the_numbers_of_the_definition():
    scores = verification_scores(**hand_case(), far=(0.2, 0.4, 0.7, 1.0))
    # .4 of 3 impostors lets one in, at 2; the genuine 3 would bring a second one with it, which .7 allows.
    np.testing.assert_allclose(scores.tar, [1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(scores.threshold, [1, 1, 3, 5])
    assert scores.auc == pytest.approx((3 + 1.5 + 0) / 9)
    assert (scores.genuine, scores.impostors) == (3, 3)
    assert scores.below_one_impostor.tolist() == [True, False, False, False]
    assert scores.far.tolist() == [0.2, 0.4, 0.7, 1.0]


def test_a_rate_that_is_a_count_of_impostors_is_met_by_that_count():
    # One query on a line, 100 impostors at 1 .. 100, and a genuine image right behind each of them.
    case = {"query_features": [[0.0]], "query_ids": [1], "query_cameras": [0]}
    case["gallery_features"] = np.append(np.arange(1, 101), np.arange(1, 101) + 0.5)[:, None]
    case |= {"gallery_ids": np.repeat([2, 1], 100), "gallery_cameras": np.ones(200, int)}
    rates = [n / 100 for n in range(1, 100)]  # .29 times 100 is less than 29 in double precision
    np.testing.assert_allclose(verification_scores(**case, far=rates).tar, rates, atol=1e-12)


def test_a_threshold_that_no_genuine_pair_meets_accepts_nothing():
    case = hand_case() | {"gallery_ids": [3, 8, 8, 3, 0, 3, 8]}  # the nearest left is an impostor
    scores = verification_scores(**case, far=(0.1, 1.0))
    assert scores.tar.tolist() == [0, 1]
    assert scores.threshold.tolist() == [-math.inf, 5]


def test_the_curve_runs_from_one_impostor_to_all_of_them():
    case = clustered_case(queries=9, gallery=41, features=5, identities=6)
    scores = verification_scores(**case)
    far, tar, threshold = scores.curve.T
    assert scores.curve.shape == (200, 3)
    assert (far[0], far[-1], tar[-1]) == (1 / scores.impostors, 1, 1)
    np.testing.assert_allclose(np.diff(np.log(far)), math.log(scores.impostors) / 199)
    np.testing.assert_allclose(tar, oracle(case, "euclidean", far)[0], atol=1e-12)
    assert (np.diff(threshold[tar > 0]) >= 0).all()


def test_rates_left_out_are_four_powers_of_ten():
    assert verification_scores(**hand_case()).far.tolist() == [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize("metric", METRICS)
def test_scores_do_not_depend_on_the_memory_limit(metric):
    case = clustered_case()
    whole = verification_scores(**case, metric=metric, far=RATES)
    with pytest.raises(ValueError, match=r"`memory_limit` must hold .* pairs of the same id .* 151 distances") as error:
        verification_scores(**case, metric=metric, memory_limit=1)
    least = int(str(error.value).split(" bytes")[0].split()[-1])
    for rows in (0, 1, 17):
        limit = least + rows * 4 * (151 + 7)
        scores = verification_scores(**case, metric=metric, far=RATES, memory_limit=limit)
        np.testing.assert_allclose(scores.tar, whole.tar, atol=1e-3)
        assert scores.auc == pytest.approx(whole.auc, abs=1e-5)


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "int64"])
def test_number_types_of_the_features_give_the_same_scores(kind):
    case = tied_case("euclidean", 0)
    other = {name: case[name].astype(kind) for name in ("query_features", "gallery_features")}
    ours, theirs = verification_scores(**case | other, far=RATES), verification_scores(**case, far=RATES)
    np.testing.assert_array_equal(ours.threshold, theirs.threshold)
    assert (ours.auc, ours.tar.tolist()) == (theirs.auc, theirs.tar.tolist())


def test_a_zero_vector_is_at_cosine_distance_one():
    case = {"query_features": [[1.0, 0.0], [0.0, 0.0]], "query_ids": [1, 1], "query_cameras": [0, 0]}
    case |= {"gallery_features": [[0.0, 0.0], [-1.0, 0.0]], "gallery_ids": [1, 2], "gallery_cameras": [1, 1]}
    scores = verification_scores(**case, metric="cosine", far=(0.4, 0.5))  # genuine at 1 and 1, impostors at 2 and 1
    assert scores.tar.tolist() == [0, 1]
    assert scores.threshold.tolist() == [-math.inf, 1]


def test_arguments_are_left_as_they_were():
    case = clustered_case()
    before = {name: values.copy() for name, values in case.items()}
    verification_scores(**case)
    for name, values in case.items():
        np.testing.assert_array_equal(values, before[name])


def test_memory_stays_below_the_limit_and_far_below_the_distance_matrix():
    case = clustered_case(queries=900, gallery=5003, features=4, identities=300)
    tracemalloc.start()
    try:
        verification_scores(**case, memory_limit=5_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000 < 900 * 5003 * 4


ERRORS = {
    "unknown metric": ({"metric": "l2"}, r"`metric` must be one of 'euclidean', 'cosine'\. Received: metric='l2'"),
    "ragged rates": ({"far": (0.1, (0.2, 0.3))}, r"`far` must be an array, with rows of one length"),
    "masked rates": ({"far": np.ma.masked_less([0.1, 0.2], 0.15)}, "`far` must have no masked values"),
    "rate above one": ({"far": (0.1, 1.5)}, r"`far` must be one or more numbers in 0 \.\. 1\. Received: far=\(0\.1, 1"),
    "rate NaN": ({"far": [math.nan]}, r"`far` must be one or more numbers"),
    "no rate": ({"far": ()}, r"`far` must be one or more numbers .* Received: far=\(\)"),
    "bare rate": ({"far": 0.1}, r"`far` must be one or more numbers .* Received: far=0\.1"),
    "other dimension": ({"query_features": [[0.0, 0.0, 0.0]]}, r"must have the same number of columns"),
    "ids too few": ({"gallery_ids": [3, 8]}, r"`gallery_ids` must have one entry per row of `gallery_features` \(7\)"),
    "cameras text": ({"query_cameras": ["a"]}, r"`query_cameras` and `gallery_cameras` must be all integers"),
    "memory infinite": ({"memory_limit": math.inf}, r"`memory_limit` must be positive and finite"),
    "query NaN": ({"query_features": [[0.0, math.nan]]}, r"`query_features` must be finite"),
    "gallery infinite": ({"gallery_features": np.full((7, 2), math.inf)}, r"`gallery_features` must be finite"),
    "no shared id": ({"query_ids": [4]}, r"Received: 1 queries; 0 of them have their id in the gallery"),
    "same camera only": (
        {"gallery_ids": [3, 8, 8, 3, 0, 3, 8], "gallery_cameras": [1] * 7},
        r"Received: 1 queries; 1 of them have their id in the gallery, under their own camera only",
    ),
    "one id": ({"gallery_ids": [3] * 7}, r"`gallery_ids` must differ from `query_ids` for at least one pair"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_wrong_argument_is_refused_by_name(error):
    change, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        verification_scores(**hand_case() | change)
