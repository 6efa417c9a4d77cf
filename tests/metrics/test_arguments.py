"""Arrays that NumPy would convert without a word."""

import numpy as np
import pytest

from keras_osnet import metrics
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.identities import Gallery, Track

FEATURES, IDS, MASK = np.eye(3), [1, 2, 3], [False, False, True]
ROWS = np.ma.array(np.eye(3), mask=np.eye(3, dtype=bool))  # 3 masked values


def masked(values):
    return np.ma.array(values, mask=MASK)


def gallery_of(folder):
    return Gallery.open(folder / "people.db", network="n", fingerprint="f", dimension=3)


@pytest.mark.parametrize(("name", "call"), [
    ("query_features", lambda _: metrics.rerank(ROWS, FEATURES, k1=1, k2=1)),
    ("gallery_cameras", lambda _: metrics.evaluate_retrieval(FEATURES, IDS, IDS, FEATURES, IDS, masked([4, 5, 6]))),
    ("distances", lambda _: metrics.evaluate_distances(ROWS, IDS, IDS, IDS, [4, 5, 6])),
    ("values", lambda _: metrics.bootstrap(masked([0.1, 0.2, 0.3]))),
    ("labels", lambda _: metrics.attribute_scores(FEATURES, ROWS)),
    ("same", lambda _: metrics.MatchProbability.fit([0.1, 0.2, 0.3], masked([True, False, True]))),
    ("times", lambda _: Track("door", masked([1, 2, 3]), FEATURES)),
    ("features", lambda _: CameraNormalizer().fit(ROWS, ["door"] * 3)),
    ("features", lambda folder: gallery_of(folder).add(ROWS, ["Anna"] * 3, ["door"] * 3, [1, 2, 3])),
])  # fmt: skip
def test_masked_values_are_refused_by_name(name, call, tmp_path):
    with pytest.raises(ValueError, match=rf"`{name}` must .*masked"):
        call(tmp_path)


def test_a_masked_array_without_masked_values_is_an_array():
    plain = np.ma.array(FEATURES, mask=False)
    assert metrics.bootstrap(np.ma.array([0.25, 0.75])).value == 0.5
    assert (metrics.rerank(plain, plain, k1=1, k2=1) == metrics.rerank(FEATURES, FEATURES, k1=1, k2=1)).all()


RAGGED = [[0.1, 0.2], [0.3]]


@pytest.mark.parametrize(("name", "call"), [
    ("query_features", lambda: metrics.rerank(RAGGED, FEATURES, k1=1, k2=1)),
    ("gallery_features", lambda: metrics.evaluate_retrieval(FEATURES, IDS, IDS, RAGGED, [1, 2], [4, 5])),
    ("probabilities", lambda: metrics.attribute_scores(RAGGED, RAGGED)),
    ("features", lambda: CameraNormalizer().fit(RAGGED, ["door"] * 2)),
])  # fmt: skip
def test_rows_of_different_lengths_are_refused_by_name(name, call):
    with pytest.raises(ValueError, match=f"`{name}` must be an array, with rows of one length"):
        call()


@pytest.mark.parametrize("seed", [-1, 0.5, "a", None, True])
def test_seeds_that_are_none_are_refused_by_name(seed):
    labels = FEATURES, IDS, IDS, FEATURES, IDS, [4, 5, 6]
    for call in (
        lambda: metrics.bootstrap([0.1, 0.2], seed=seed),
        lambda: metrics.compare([0.1, 0.2], [0.2, 0.1], seed=seed),
        lambda: metrics.known_pairs(*labels, seed=seed),
    ):
        with pytest.raises(ValueError, match=r"`seed` must be an integer of at least 0\. Received: seed="):
            call()
