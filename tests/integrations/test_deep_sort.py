"""The encoder for deep-sort-realtime, with its real tracker."""

import numpy as np
import pytest

from keras_osnet.integrations import DeepSortEncoder

REASON = "needs deep-sort-realtime: pip install 'keras-osnet[trackers]'"


def detections(*corners):
    return [([x, y, 32, 64], 0.9, "person") for x, y in corners]


def test_detections_and_features_are_those_that_are_kept(extractor, frame_of, expected):
    encoder, frame = DeepSortEncoder(extractor), frame_of({(10, 20): 1, (100, 50): 2})
    given = [*detections((10, 20), (-90, 20)), ([10, 20, 0, 64], 0.9, "person"), *detections((100, 50))]
    kept, embeds = encoder(given, frame)
    assert kept == [given[0], given[3]]
    np.testing.assert_allclose(embeds, expected(1, 2), atol=1e-4)
    assert encoder.skipped == 2


def test_no_detections_have_no_features(extractor, frame_of):
    kept, embeds = DeepSortEncoder(extractor)([], frame_of({}))
    assert kept == []
    assert embeds.shape == (0, 512)


@pytest.mark.parametrize(
    "wrong", [[([1, 2, 9], 0.9, "person")], [(None, 0.9, "person")], [5], [()], np.zeros((1, 6)), 5]
)
def test_what_is_no_list_of_detections_is_refused_by_name(extractor, frame_of, wrong):
    message = r"`detections` must be a list of \(\[left, top, width, height\], confidence, class\)\. Received: "
    with pytest.raises(ValueError, match=message):
        DeepSortEncoder(extractor)(wrong, frame_of({}))


def test_a_tracker_keeps_the_features_of_its_tracks(extractor, frame_of, expected):
    tracker_of = pytest.importorskip("deep_sort_realtime.deepsort_tracker", reason=REASON).DeepSort
    tracker, encoder = tracker_of(embedder=None, n_init=2), DeepSortEncoder(extractor)
    for step in range(5):
        corners = {(10 + 4 * step, 20): 1, (150 - 4 * step, 80): 2}
        # A box without area comes first: the tracker drops it, and a feature of it would shift the others.
        given = [([10, 20, 0, 64], 0.9, "person"), *detections(*corners)]
        kept, embeds = encoder(given, frame_of(corners))
        tracks = tracker.update_tracks(kept, embeds=embeds)
    kept, embeds = encoder([], frame_of({}))
    tracks = tracker.update_tracks(kept, embeds=embeds)  # a frame without people
    assert all(track.is_confirmed() for track in tracks)
    tracks = sorted(tracks, key=lambda track: track.to_ltwh()[0])
    np.testing.assert_allclose([track.get_feature() for track in tracks], expected(1, 2), atol=1e-4)
