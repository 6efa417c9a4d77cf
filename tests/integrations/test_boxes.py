"""Features of the boxes of a frame, as every encoder computes them."""

import ast
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_osnet import FeatureExtractor, integrations
from keras_osnet.integrations import BoxEncoder

FILES = sorted(Path(integrations.__file__).parent.glob("*.py"))
BOXES = [(10, 20, 42, 84), (100, 50, 132, 114)]
OUTSIDE = [(220, 20, 252, 84), (-40, 20, -8, 84), (10, 20, 10, 84), (10, np.nan, 42, 84)]


@pytest.fixture
def frame(frame_of):
    return frame_of({(10, 20): 1, (100, 50): 2})


def test_features_are_those_of_the_rgb_crops_at_length_1(extractor, frame, expected):
    features, kept = BoxEncoder(extractor).features(BOXES, frame)
    assert np.abs(expected(1) - expected(2)).max() > 0.01, "the two people must be told apart"
    np.testing.assert_allclose(features, expected(1, 2), atol=1e-4)
    assert features.dtype == np.float32
    assert kept.tolist() == [True, True]


def test_rgb_frames_are_said_to_be_rgb(extractor, frame, expected):
    features, _ = BoxEncoder(extractor, color="rgb").features(BOXES, frame[:, :, ::-1])
    np.testing.assert_allclose(features, expected(1, 2), atol=1e-4)
    wrong, _ = BoxEncoder(extractor, color="rgb").features(BOXES, frame)
    assert np.abs(wrong - expected(1, 2)).max() > 0.01


@pytest.mark.parametrize("box", OUTSIDE, ids=["right of it", "left of it", "no width", "NaN"])
def test_boxes_outside_the_frame_are_skipped_and_counted(extractor, frame, expected, box):
    encoder = BoxEncoder(extractor)
    features, kept = encoder.features([BOXES[0], box, BOXES[1]], frame)
    np.testing.assert_allclose(features, expected(1, 2), atol=1e-4)
    assert kept.tolist() == [True, False, True]
    encoder.features([box, box], frame)
    assert encoder.skipped == 3


def test_boxes_outside_the_frame_are_refused_if_wanted(extractor, frame, expected):
    encoder = BoxEncoder(extractor, outside="error")
    with pytest.raises(ValueError, match="box 1 of frame 0"):
        encoder.features([BOXES[0], OUTSIDE[0]], frame)
    features, kept = encoder.features(BOXES, frame)
    np.testing.assert_allclose(features, expected(1, 2), atol=1e-4)
    assert kept.tolist() == [True, True]
    assert encoder.skipped == 0


def test_the_row_of_a_skipped_box_matches_no_feature(extractor, frame, expected):
    encoder = BoxEncoder(extractor)
    rows = encoder.rows([BOXES[0], OUTSIDE[0], BOXES[1], OUTSIDE[0]], frame)
    np.testing.assert_allclose(rows[[0, 2]], expected(1, 2), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows[[1, 3]] @ rows[[0, 2]].T <= 0).all()
    later = encoder.rows([OUTSIDE[0]], frame)
    assert rows[1] @ rows[3] == rows[1] @ later[0] == rows[3] @ later[0] == 0  # nor each other


def test_a_feature_of_zeros_has_length_1_too(frame):
    images = keras.Input((64, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    network = keras.Model(images, keras.layers.Dense(4, kernel_initializer="zeros")(pooled))
    features, kept = BoxEncoder(network).features(BOXES, frame)
    np.testing.assert_array_equal(features, -np.eye(4)[:2])
    assert kept.all()


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))], ids=["list", "array"])
def test_no_boxes_have_no_features(extractor, frame, boxes):
    encoder = BoxEncoder(extractor)
    features, kept = encoder.features(boxes, frame)
    assert features.shape == encoder.rows(boxes, frame).shape == (0, 512)
    assert kept.shape == (0,)


def test_a_network_will_do_for_its_extractor(network):
    encoder = BoxEncoder(network)
    assert isinstance(encoder.extractor, FeatureExtractor)
    assert encoder.feature_dim == 512


@pytest.mark.parametrize("options", [{"color": "BGR"}, {"outside": "ignore"}])
def test_an_unknown_option_is_refused(extractor, options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be one of"):
        BoxEncoder(extractor, **options)


@pytest.mark.parametrize("frame", [None, np.zeros((9, 9, 3), "float32")], ids=["dropped", "floats"])
def test_what_is_no_frame_is_refused(extractor, frame):
    with pytest.raises(ValueError, match="`frames` must be arrays"):
        BoxEncoder(extractor).features(BOXES, frame)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_tracker_is_imported(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    roots = {name.split(".")[0] for name in names}
    assert roots - sys.stdlib_module_names <= {"keras_osnet", "numpy"}
