"""Scores of test sets and their texts, on numbers small enough to compute by hand."""

import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data import Record, Splits
from keras_osnet.inference.scores import (
    FRAMES,
    chance_of_rank1,
    colour_histograms,
    describe,
    features_of_splits,
    features_of_test_set,
    score_features,
    verification_rows,
    verification_table,
    verify,
)


def records(*labels):
    return tuple(Record(f"{i}.jpg", *label) for i, label in enumerate(labels))


SIDE = Splits(
    train=records((9, None)),
    query=records((1, 1), (2, 1)),
    gallery=records((1, 2), (1, 1), (2, 2), (3, 2), (3, 2)),
)


def test_chance_is_the_fraction_of_matches_or_of_identities_by_the_protocol():
    """Of the first query's four images left one matches, of the second's five one; of three identities one."""
    assert chance_of_rank1(SIDE) == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert chance_of_rank1(SIDE, "cuhk03") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("gallery", "text"),
    [
        (SIDE.gallery, "2 cameras, matched only across cameras"),
        ((*SIDE.gallery[:-1], Record("x.jpg", 3, None)), "no pair is excluded for 1 of 7 images"),
    ],
)
def test_the_camera_rule_is_described_by_what_is_ranked_and_not_by_training_images(gallery, text):
    assert text in describe(Splits(SIDE.train, SIDE.query, gallery))


def test_a_query_is_scored_and_its_chance_computed_within_its_group():
    """Alone in the gallery the second image would win; it is of another group. One of two images left matches."""
    gallery = Record("0.jpg", 1, None, group=7), Record("1.jpg", 2, None, group=8), Record("2.jpg", 2, None, group=7)
    side = Splits((), (Record("q.jpg", 1, None, group=7),), gallery)
    found = score_features(np.array([[0.0]]), np.array([[2.0], [1.0], [3.0]]), side)
    assert (found["rank1"], found["mAP"]) == (1.0, 1.0)
    assert chance_of_rank1(side) == pytest.approx(1 / 2)
    assert "each query against its own group" in describe(side)


def test_the_features_of_an_image_are_computed_once_for_all_trials():
    calls, images = [], records((1, 1), (2, 1), (1, 2), (2, 2))

    def features_of(paths):
        calls.append(paths)
        return np.array([[float(path[0])] for path in paths])

    trials = [Splits((), images[:2], images[2:]), Splits((), images[1:3], (images[0], images[3]))]
    found = features_of_test_set(features_of, trials)
    assert calls == [["0.jpg", "1.jpg", "2.jpg", "3.jpg"]]
    assert [[side.ravel().tolist() for side in trial] for trial in found] == [[[0, 1], [2, 3]], [[1, 2], [0, 3]]]


def test_the_feature_of_a_tracklet_is_the_mean_over_its_frames():
    tracklets = [
        Record(f"{i}-0", i, None, frames=tuple(f"{i}-{j}" for j in range(count)))
        for i, count in enumerate((3, 1, 2, 5))
    ]
    side = Splits((), (Record("9-4", 9, None),), tuple(tracklets))
    calls = []

    def features_of(paths):
        calls.append(len(paths))
        return np.array([[int(number) for number in path.split("-")] for path in paths], "float32")

    query, gallery = features_of_splits(features_of, side)
    np.testing.assert_array_equal(query, [[9, 4]])
    np.testing.assert_array_equal(gallery, [[0, 1], [1, 0], [2, 0.5], [3, 2]])
    assert calls == [12]


def test_features_of_few_frames_are_in_memory_at_a_time():
    """8,000 tracklets of 9 frames."""
    frames = [tuple(f"{j} of {i}" for j in range(9)) for i in range(8000)]
    side = Splits((), (Record("0 of q", 0, None),), tuple(Record(own[0], 0, None, frames=own) for own in frames))
    calls = []

    def features_of(paths):
        calls.append(len(paths))
        return np.array([[float(path.split()[0])] for path in paths], "float32")

    _, gallery = features_of_splits(features_of, side)
    np.testing.assert_array_equal(gallery, np.full((8000, 1), 4.0))
    assert sum(calls) == 1 + 72_000
    assert max(calls) <= FRAMES + 9


def test_without_any_camera_the_rule_is_off():
    side = Splits((), records((1, None)), records((1, None), (2, None)))
    assert "cameras unknown: no pair is excluded;" in describe(side)
    assert not side.cameras_known


@pytest.mark.parametrize(("metric", "rank1"), [("euclidean", 1.0), ("cosine", 0.0)])
def test_expanded_queries_are_scored_by_the_metric_that_is_asked_for(metric, rank1):
    """The match is nearer, by .5 to 1, but the other picture lies in the query's direction."""
    side = Splits((), records((1, 1)), records((2, 2), (1, 2)))
    query, gallery = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [1.4, 0.3]])
    assert score_features(query, gallery, side, metric=metric, expand=1)["rank1"] == rank1


def test_re_ranking_takes_its_options():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 4)
    features = rng.normal(size=(6, 8))[people] + 0.8 * rng.normal(size=(24, 8))
    side = Splits((), records(*((p, 1) for p in people)), records(*((p, 2) for p in people)))
    ways = [score_features(features, features + 0.1, side, reranked=options) for options in ({}, {"k1": 2, "k2": 1})]
    assert ways[0] != ways[1]
    with pytest.raises(ValueError, match="`k1` must"):
        score_features(features, features, side, reranked={"k1": 99})


def test_rates_that_the_impostors_are_too_few_for_are_marked():
    """Two genuine pairs, at 1 and 3, and 4 impostors, the nearest at 2."""
    side = Splits((), records((1, 1), (2, 1)), records((1, 2), (2, 2), (3, 2)))
    query, gallery = np.array([[0.0], [10.0]]), np.array([[1.0], [13.0], [2.0]])
    scores = verify(query, gallery, side, "euclidean")
    rows = verification_rows(scores)
    assert [row["below_one_impostor"] for row in rows] == [True] * 4
    assert [row["tar"] for row in rows] == [0.5] * 4
    assert [row["distance"] for row in rows] == [1.0] * 4
    assert verification_table(scores).count("too few impostors: none of 4 is accepted") == 4
    # Where an impostor is nearest of all, nothing may be accepted: no distance, and still JSON.
    none = verify(query, gallery - 0.99 * np.array([[0], [0], [2.0]]), side, "euclidean")
    assert json.loads(json.dumps(verification_rows(none), allow_nan=False))[0]["distance"] is None
    assert "none" in verification_table(none)


def test_identities_are_called_unseen_only_where_that_is_known():
    assert "2 queries of 2 identities, 5 gallery images" in describe(SIDE)
    assert "2 queries of 2 identities never seen in training, 5 gallery images" in describe(SIDE, unseen=True)


def test_unknown_cameras_exclude_no_pair():
    """The query's nearest match has the query's camera, and is excluded if that camera is known."""
    query, gallery = np.array([[0.0]]), np.array([[1.0], [2.0], [3.0]])
    for camera, rank1, chance in ((1, 0.0, 1 / 2), (None, 1.0, 2 / 3)):
        side = Splits((), records((7, camera)), records((7, camera), (8, 2), (7, 3)))
        assert score_features(query, gallery, side)["rank1"] == rank1
        assert chance_of_rank1(side) == pytest.approx(chance)
        assert verify(query, gallery, side, "euclidean").genuine == (1 if camera else 2)


def test_colour_histograms_count_pixels_in_cells(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
    image[:, :3] = (31, 32, 255)
    Image.fromarray(image).save(tmp_path / "image.png")
    counts = np.zeros(512)
    for red, green, blue in image.reshape(-1, 3).tolist():
        counts[red // 32 * 64 + green // 32 * 8 + blue // 32] += 1 / (13 * 7)
    got = colour_histograms([tmp_path / "image.png", str(tmp_path / "image.png")])
    assert (got.shape, got.dtype) == ((2, 512), np.float32)
    np.testing.assert_allclose(got, [counts, counts], rtol=1e-6)


def test_colour_histograms_of_large_images_need_little_more_than_the_image(tmp_path):
    Image.new("RGB", (3000, 2000), (1, 99, 200)).save(tmp_path / "image.png")
    tracemalloc.start()
    try:
        (got,) = colour_histograms([tmp_path / "image.png"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got[99 // 32 * 8 + 200 // 32] == 1
    assert peak < 60_000_000, "the image has 18 MB, as int64 144 MB"
