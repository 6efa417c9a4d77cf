"""The probability of a match: against distances whose distribution is known."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from keras_osnet.metrics import MatchProbability, known_pairs, reliability

pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'keras-osnet[report]'")
SAME, DIFFERENT, SPREAD = 0.3, 0.7, 0.2  # means and standard deviation of two normal distributions of distances


def drawn(seed, same=4000, different=4000):
    rng = np.random.default_rng(seed)
    distances = np.r_[rng.normal(SAME, SPREAD, same), rng.normal(DIFFERENT, SPREAD, different)]
    return distances, np.r_[np.ones(same, bool), np.zeros(different, bool)]


def true_probability(distance, base_rate):
    """Bayes' rule with the two densities."""
    density = {mean: math.exp(-(((distance - mean) / SPREAD) ** 2) / 2) for mean in (SAME, DIFFERENT)}
    return density[SAME] * base_rate / (density[SAME] * base_rate + density[DIFFERENT] * (1 - base_rate))


@pytest.mark.parametrize("counts", [(4000, 4000), (2000, 16000)])
@pytest.mark.parametrize("base_rate", [0.5, 0.1, 0.01])
def test_probabilities_are_those_of_bayes_rule_whatever_the_ratio_of_pairs(counts, base_rate):
    match = MatchProbability.fit(*drawn(1, *counts))
    for distance in (0.35, 0.45, 0.5, 0.55, 0.6):
        assert match(distance, base_rate=base_rate) == pytest.approx(true_probability(distance, base_rate), abs=0.06)


def test_a_threshold_has_the_probability_that_was_asked_for():
    match = MatchProbability.fit(*drawn(2))
    for probability in (0.2, 0.5, 0.9):
        distance = match.distance_at(probability, base_rate=0.2)
        assert match(distance, base_rate=0.2) == pytest.approx(probability, abs=1e-9)


def test_pairs_that_do_not_overlap_have_finite_evidence():
    match = MatchProbability.fit([0.1, 0.2, 0.8, 0.9], np.array([True, True, False, False]))
    assert 0.5 < match(0.1) < 1
    assert 0 < match(0.9) < 0.5


def test_fifty_pairs_of_other_cameras_correct_a_shift():
    match = MatchProbability.fit(*drawn(3))
    distances, same = drawn(4)
    shifted = distances + 0.15
    before = reliability(match(shifted), same).calibration_error
    few = np.random.default_rng(5).choice(len(same), 50, replace=False)
    after = reliability(match.refit(shifted[few], same[few], fitted_on="own")(shifted), same).calibration_error
    assert before > 0.05
    assert after < before / 2


def test_a_refit_on_pairs_that_agree_changes_little():
    match = MatchProbability.fit(*drawn(6))
    distances, same = drawn(7, 25, 25)
    again = match.refit(distances, same, fitted_on="own")
    assert (again.fitted_on, again.same, again.different) == ("own", 25, 25)
    assert again(0.5) == pytest.approx(0.5, abs=0.2)


def test_reliability_equals_plain_loops():
    rng = np.random.default_rng(8)
    probabilities = np.r_[rng.random(300), 0.0, 1.0]
    same = rng.random(302) < probabilities
    found, error, brier, rows = reliability(probabilities, same, bins=7), 0.0, 0.0, []
    for k in range(7):
        inside = [(p, s) for p, s in zip(probabilities, same, strict=True) if min(int(p * 7), 6) == k]
        if inside:
            mean, fraction = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            rows.append((mean, fraction, len(inside)))
            error += abs(mean - fraction) * len(inside) / 302
    for p, s in zip(probabilities, same, strict=True):
        brier += (p - s) ** 2 / 302
    np.testing.assert_allclose(found.bins, rows)
    assert found.calibration_error == pytest.approx(error)
    assert found.brier == pytest.approx(brier)


@pytest.mark.parametrize(("options", "message"), [
    ({"times": ([1], [2])}, "`times` and `gap` must be given together"),
    ({"gap": (1, 2)}, "`times` and `gap` must be given together"),
    ({"times": ([1, 2], [2]), "gap": (1, 2)}, "`times` must be one number for each image"),
    ({"times": ([1], [2]), "gap": (1,)}, "and `gap` two numbers"),
    ({"times": ([1], [2]), "gap": 5}, "and `gap` two numbers. Received: .* gap=5"),
    ({"times": ([1], [2]), "gap": ("a", "b")}, "`gap` must be real numbers"),
    ({"times": 5, "gap": (1, 2)}, "`times` must be one number for each image"),
    ({"times": ([1], ["x"]), "gap": (1, 2)}, "`times` must"),
])  # fmt: skip
def test_times_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        known_pairs(np.ones((1, 3)), [0], [0], np.ones((1, 3)), [0], [1], **options)


def test_known_pairs_of_what_is_no_matrix_are_refused():
    with pytest.raises(ValueError, match="`query_features` must be a 2-D array"):
        known_pairs(None, [0], [0], np.ones((1, 3)), [0], [1])


@pytest.mark.parametrize("gap", [None, (10, 30)])
@pytest.mark.parametrize("within", [False, True])
def test_known_pairs_are_all_matches_across_or_within_cameras_and_as_many_others(within, gap):
    rng = np.random.default_rng(11)
    query, gallery = rng.normal(size=(300, 5)), rng.normal(size=(70, 5))
    ids, cameras = (rng.integers(0, 6, 300), rng.integers(0, 6, 70)), (rng.integers(0, 3, 300), rng.integers(0, 3, 70))
    times = rng.integers(0, 100, 300), rng.integers(0, 100, 70)
    options = {"times": times, "gap": gap} if gap else {}
    distances, same, queries = known_pairs(
        query, ids[0], cameras[0], gallery, ids[1], cameras[1], within=within, **options
    )
    expected, impostors = [], set()
    for q in range(300):
        for g in range(70):
            cosine = query[q] @ gallery[g] / math.sqrt(query[q] @ query[q]) / math.sqrt(gallery[g] @ gallery[g])
            if gap and not 10 <= abs(times[0][q] - times[1][g]) <= 30:
                continue
            if (cameras[0][q] == cameras[1][g]) == within:
                if ids[0][q] == ids[1][g]:
                    expected.append(1 - cosine)
                else:
                    impostors.add((q, round(1 - cosine, 6)))
    np.testing.assert_allclose(sorted(distances[same]), sorted(expected), atol=1e-6)
    assert same.sum() == (~same).sum() == len(expected)
    assert {(q, round(d, 6)) for q, d in zip(queries[~same], distances[~same], strict=True)} <= impostors


def test_plain_values_give_the_same_object():
    match = MatchProbability.fit(*drawn(9), metric="euclidean", fitted_on="drawn pairs", normalized=True)
    assert match.normalized
    assert match.refit(*drawn(10)).normalized
    with pytest.raises(ValueError, match="`normalized` must be true or false"):
        MatchProbability(1.0, 1.0, normalized=1)
    assert MatchProbability.from_dict(match.to_dict()) == match
    match = MatchProbability(np.float32(1.5), np.float32(2), same=np.int64(3))
    assert MatchProbability.from_dict(json.loads(json.dumps(match.to_dict()))) == match
    assert match(0.5, base_rate=Fraction(1, 4)) == match(0.5, base_rate=0.25)


def test_known_pairs_of_two_people_are_as_many_where_the_match_is_among_the_last_queries():
    features = np.random.default_rng(0).normal(size=(258, 4))
    ids, cameras = [*range(256), 256, 256], [0] * 257 + [1]
    _, same, queries = known_pairs(features, ids, cameras, features.copy(), ids, cameras)
    assert (same.sum(), (~same).sum()) == (1, 1)  # one pair (256, 257) of one person, 256 pairs (i, 257) of two
    assert queries[same].tolist() == [256]


@pytest.mark.parametrize("within", [False, True])
def test_known_pairs_of_one_set_are_each_taken_once_and_no_image_with_itself(within):
    rng = np.random.default_rng(3)
    features, ids, cameras = rng.normal(size=(40, 4)), rng.integers(0, 5, 40), rng.integers(0, 2, 40)
    distances, same, _ = known_pairs(features, ids, cameras, features.copy(), ids, cameras, within=within)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [1 - unit[i] @ unit[j] for i in range(40) for j in range(i + 1, 40)
                if ids[i] == ids[j] and (cameras[i] == cameras[j]) == within]  # fmt: skip
    np.testing.assert_allclose(sorted(distances[same]), sorted(expected), atol=1e-6)
    assert same.sum() == (~same).sum()


ONE = np.array([True, False])


@pytest.mark.parametrize(("call", "words"), [
    (lambda: MatchProbability.fit([0.1, 0.2], np.array([True, True])), "both kinds"),
    (lambda: MatchProbability.fit([0.1, np.nan], ONE), "finite"),
    (lambda: MatchProbability.fit([0.1], ONE), "for each pair"),
    (lambda: MatchProbability.fit([0.1, 0.2], [1, 0]), "bool"),
    (lambda: MatchProbability.fit([0.3, 0.3], ONE), "differ"),
    (lambda: MatchProbability.fit([0.1] * 6, np.array([True] * 3 + [False] * 3)), "differ"),  # their mean is rounded
    (lambda: MatchProbability.fit([1e200, 3e200], ONE), "by finite numbers"),
    (lambda: reliability([0.2, 0.9], ["False", "True"]), "and `same` bools"),
    (lambda: reliability([0.2, 0.9], [0.0, 0.3]), "same of float64"),
    (lambda: MatchProbability.fit([0.9, 0.1, 0.8, 0.2], np.array([True, False] * 2)), "contrary"),
    (lambda: MatchProbability.fit([0.1, 0.2], ONE, metric="city"), "city"),
    (lambda: MatchProbability(1.0, -1.0), "slope"),
    (lambda: MatchProbability(float("nan"), 1.0), "offset"),
    (lambda: MatchProbability(1.0, 1.0)(0.5, base_rate=0), "base_rate"),
    (lambda: MatchProbability(1.0, 1.0)(np.inf), "finite"),
    (lambda: MatchProbability(1.0, 1.0).distance_at(1.0), "probability"),
    (lambda: MatchProbability.from_dict({"offset": 1}), "slope"),
    (lambda: MatchProbability.from_dict([1, 2]), "to_dict"),
    (lambda: reliability([0.5, 1.5], ONE), "0 to 1"),
    (lambda: reliability([0.5], ONE), "shapes"),
    (lambda: reliability({}, ONE), "`probabilities` must be real numbers"),
    (lambda: reliability([0.5, 0.5], ONE, bins=2**63), "`bins` must be an integer from 1 to a million"),
    (lambda: MatchProbability(10**400, 1.0), "`offset` must be a finite number"),
    (lambda: MatchProbability(True, 1.0), "`offset` must be a finite number"),
    (lambda: MatchProbability(1.0, 1.0, same=float("nan")), "`same` must be a number of pairs"),
    (lambda: MatchProbability(1.0, 1.0, fitted_on=5), "`fitted_on` must be a string"),
    (lambda: MatchProbability(1.0, 1.0)([0.5, 10**400]), "`distances` must be real numbers"),
    (lambda: MatchProbability(1.0, 1.0)(1j), "`distances` must be real numbers"),
    (lambda: MatchProbability(1.0, 1.0)(0.5, base_rate=10**400), "`base_rate` must be between 0 and 1"),
    (lambda: MatchProbability.fit(None, ONE), "`distances` and `same` must be"),
])  # fmt: skip
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
