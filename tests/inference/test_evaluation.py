"""What `evaluate` asks of the pairs of a test set."""

import sys

import numpy as np
import pytest

from keras_osnet.data import Record, Splits
from keras_osnet.inference.evaluation import Scoring, check_scoring, evaluate_test_set

PEOPLE, CAMERAS = 40, (1, 2)


@pytest.fixture(scope="module")
def side():
    """A test set, and the feature of each of its images by path."""
    rng, features, parts = np.random.default_rng(5), {}, []
    for camera in CAMERAS:
        records = [Record(f"{camera}-{i}.jpg", i % PEOPLE, camera) for i in range(2 * PEOPLE)]
        features |= {r.path: np.eye(PEOPLE)[r.identity] + rng.normal(scale=0.15, size=PEOPLE) for r in records}
        parts.append(tuple(records))
    return Splits((), *parts), lambda paths: np.stack([features[path] for path in paths])


def test_nothing_is_said_of_pairs_that_was_not_asked_for(side):
    splits, features_of = side
    rows, pairs = evaluate_test_set(features_of, [splits], Scoring(metric="cosine"))
    assert list(rows) == ["cosine"]
    assert (pairs.text(), pairs.values()) == ("", {})


def test_pairs_are_reported_in_words_and_in_plain_values(side):
    pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'keras-osnet[report]'")
    splits, features_of = side
    scoring = Scoring(metric="cosine", verification=True, match_probability=True)
    _, pairs = evaluate_test_set(features_of, [splits], scoring, fitted_on="drawn features")
    values = pairs.values()
    assert set(values) == {"verification", "match_probability", "track_match_probability"}
    found = values["match_probability"]
    # 80 queries with two matches each under the other camera, and as many impostors.
    assert (found["same"], found["different"], found["metric"]) == (160, 160, "cosine")
    assert (found["fitted_on"], found["normalized"]) == ("drawn features", False)
    assert 0 <= found["calibration_error"] < 0.2
    assert found["brier"] < 0.25
    assert f"sigmoid({found['offset']:.3f} - {found['slope']:.3f} distance)" in pairs.text()
    assert "160 genuine pairs" in pairs.text()
    # A person has one mean feature in each camera: 40 pairs, and all 40 x 39 of two people.
    tracks = values["track_match_probability"]
    assert (tracks["same"], tracks["different"], tracks["tracks"], found["tracks"]) == (40, 1560, True, False)
    assert f"of two tracks: sigmoid({tracks['offset']:.3f}" in pairs.text()


def test_the_probability_of_tracks_is_for_cosine_distances_only(side):
    pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'keras-osnet[report]'")
    splits, features_of = side
    _, pairs = evaluate_test_set(features_of, [splits], Scoring(match_probability=True))
    assert pairs.match.metric == "euclidean"
    assert pairs.track_match is None


def test_features_without_a_probability_keep_their_other_scores(side):
    pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'keras-osnet[report]'")
    splits, _ = side
    scoring = Scoring(metric="cosine", match_probability=True)
    rows, pairs = evaluate_test_set(lambda paths: np.ones((len(paths), 3)), [splits], scoring)
    assert 0 < rows["cosine"]["mAP"] < 1
    assert pairs.values() == {}
    message = "`distances` must differ, by finite numbers. Received: distances from 0 to 0"
    assert pairs.text() == f"no probability of a match: {message}"


@pytest.mark.parametrize("option", ["verification", "match_probability", "expand", "rerank"])
def test_pairs_are_refused_where_people_have_a_label_for_each_group(option):
    side = Splits((), (Record("q.png", 1, None, group=3),), (Record("g.png", 1, None, group=3),))
    check_scoring(Scoring(), [side], "soccernet")
    with pytest.raises(ValueError, match="must be off for soccernet, whose people have a label for each group"):
        check_scoring(Scoring(**{option: True}), [side], "soccernet")


def test_impostors_are_asked_for_before_the_features_are_computed():
    side = Splits((), (Record("q.png", 1, 1),), (Record("g.png", 1, 2),))
    check_scoring(Scoring(), [side], "folder")
    with pytest.raises(ValueError, match="`verification` needs two people in the first test set of folder"):
        check_scoring(Scoring(verification=True), [side], "folder")


@pytest.mark.parametrize(("name", "value"), [("k1", 10), ("k2", 1), ("lambda_value", 0.5)])
def test_settings_of_reranking_are_refused_without_it(side, name, value):
    message = f"`rerank` must be True where these are given: {name}. Received: rerank=False"
    with pytest.raises(ValueError, match=message):
        check_scoring(Scoring(**{name: value}), [side[0]], "market1501")
    check_scoring(Scoring(rerank=True, **{name: value}), [side[0]], "market1501")


def test_scipy_is_asked_for_before_the_features_are_computed(side, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    check_scoring(Scoring(), [side[0]], "market1501")
    with pytest.raises(ImportError, match=r"a fit needs SciPy: pip install 'keras-osnet\[report\]'"):
        check_scoring(Scoring(match_probability=True), [side[0]], "market1501")
