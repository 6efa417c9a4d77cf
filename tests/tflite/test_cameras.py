"""Camera means on the device against those of the package, and what is refused."""

import json

import numpy as np
import pytest
from cameras import CameraMeans

from keras_osnet.adaptation import CameraNormalizer

FEATURES = np.abs(np.random.default_rng(0).normal(size=(12, 5)))


@pytest.mark.parametrize("names", [["door", "yard", "roof"], [1, 2, 3], ["caf\u00e9", "cafe\u0301s", "roof"]])
def test_features_are_those_of_the_package(names, tmp_path):
    cameras = [names[i % 2] for i in range(10)] + [names[2], None]
    normalizer = CameraNormalizer(4).fit(FEATURES, cameras)
    normalizer.save(tmp_path / "cameras.json")
    means = CameraMeans(tmp_path / "cameras.json")
    for camera in (*names, None, "unknown"):
        expected = normalizer.transform(FEATURES, [camera] * 12)
        given = None if camera is None else str(camera)
        np.testing.assert_allclose(means.remove(FEATURES, given), expected, atol=1e-6)
        np.testing.assert_allclose(means.remove(FEATURES[3], given), expected[3], atol=1e-6)


@pytest.mark.parametrize(
    "content",
    ["no JSON", "[]", "{}", json.dumps({"form": 2, "shrinkage": 1, "cameras": [["a", 1, [1.0]]]}),
     json.dumps({"form": 1, "shrinkage": 1, "cameras": []}),
     json.dumps({"form": 1, "shrinkage": 1, "cameras": [["a", 0, [1.0]]]}),
     '{"form": 1, "shrinkage": Infinity, "cameras": [["a", 1, [1.0]]]}',
     '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1e308]]]}',
     '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, 1.0]]}',
     '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, []]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 0, [0.0]]]}',
     '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1.0]], ["a", 1, [1.0]]]}',
     json.dumps({"form": 1, "shrinkage": 1, "cameras": [["a", 10**400, [1.0]]]}), "[" * 100_000,
     json.dumps({"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1.0]], ["b", 1, [1.0, 2.0]]]})],
)  # fmt: skip
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(ValueError, match=r"cameras.json must be written by CameraNormalizer\.save"):
        CameraMeans(tmp_path / "cameras.json")


def test_means_of_another_length_are_refused(tmp_path):
    CameraNormalizer().fit(FEATURES, ["a"] * 12).save(tmp_path / "cameras.json")
    with pytest.raises(ValueError, match=r"must be of features of 3\. Received: 5"):
        CameraMeans(tmp_path / "cameras.json").remove(np.ones(3), "a")
