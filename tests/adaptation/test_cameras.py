"""Camera means: the equation in plain loops, unknown cameras, files, and what is refused."""

import json
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.adaptation import CameraNormalizer, normalize_side

RNG = np.random.default_rng(0)
FEATURES = np.abs(RNG.normal(size=(11, 5))) * RNG.uniform(0.5, 20, (11, 1))
CAMERAS = ["door", "yard", "door", None, "yard", "door", "roof", "door", None, "yard", "yard"]


def by_hand(shrinkage, feature, camera):
    def unit(row):
        return [x / math.sqrt(sum(y * y for y in row)) for x in row]

    units = {
        name: [unit(f) for f, c in zip(FEATURES, CAMERAS, strict=True) if c == name] for name in set(CAMERAS) - {None}
    }
    means = {name: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for name, rows in units.items()}
    common = [sum(column) / len(means) for column in zip(*means.values(), strict=True)]
    mean = common
    if camera in means:
        count = len(units[camera])
        pairs = zip(means[camera], common, strict=True)
        mean = [(count * own + shrinkage * other) / (count + shrinkage) for own, other in pairs]
    return unit([x - m for x, m in zip(unit(feature), mean, strict=True)])


@pytest.mark.parametrize("shrinkage", [0, 3, 10])
@pytest.mark.parametrize("camera", ["door", "roof", "cellar", None])
def test_a_feature_is_normalised_by_the_equation(shrinkage, camera):
    found = CameraNormalizer(shrinkage).fit(FEATURES, CAMERAS).transform(FEATURES[:2], [camera] * 2)
    assert found.dtype == np.float32
    for row, feature in zip(found, FEATURES, strict=False):
        np.testing.assert_allclose(row, by_hand(shrinkage, feature, camera), atol=1e-6)


def test_fitting_in_two_parts_is_fitting_once():
    once = CameraNormalizer().fit(FEATURES, CAMERAS)
    twice = CameraNormalizer().fit(FEATURES[:4], CAMERAS[:4]).fit(FEATURES[4:], CAMERAS[4:])
    np.testing.assert_allclose(twice.transform(FEATURES, CAMERAS), once.transform(FEATURES, CAMERAS), atol=1e-6)


def test_an_offset_of_each_camera_is_removed():
    """Two cameras see the same people; each adds a vector of its own to the direction of every feature."""
    people = np.abs(RNG.normal(size=(40, 8)))
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    views = [people + 2 * np.abs(RNG.normal(size=8)) for _ in range(2)]
    cameras = np.repeat([1, 2], 40)
    normalizer = CameraNormalizer(0).fit(np.concatenate(views), cameras)
    first, second = (normalizer.transform(view, [camera] * 40) for camera, view in zip((1, 2), views, strict=True))
    plain = [view / np.linalg.norm(view, axis=1, keepdims=True) for view in views]
    matched = ((first @ second.T).argmax(axis=1) == np.arange(40)).mean()
    assert matched > 0.9 > 0.6 > ((plain[0] @ plain[1].T).argmax(axis=1) == np.arange(40)).mean()


def test_a_file_gives_the_same_features(tmp_path):
    normalizer = CameraNormalizer(4).fit(FEATURES, CAMERAS)
    normalizer.save(tmp_path / "cameras.json")
    loaded = CameraNormalizer.load(tmp_path / "cameras.json")
    np.testing.assert_array_equal(loaded.transform(FEATURES, CAMERAS), normalizer.transform(FEATURES, CAMERAS))


def test_a_camera_has_one_name_in_either_unicode_form(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    cameras = [composed, decomposed, "yard"]
    normalizer = CameraNormalizer(0).fit(FEATURES[:3], cameras)
    assert normalizer.counts == {composed: 2, "yard": 1}
    expected = CameraNormalizer(0).fit(FEATURES[:3], ["a", "a", "yard"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of an unknown camera
        found = normalizer.transform(FEATURES[:2], [decomposed, composed])
    np.testing.assert_array_equal(found, expected.transform(FEATURES[:2], ["a", "a"]))
    np.testing.assert_array_equal(normalizer.mean(decomposed), expected.mean("a"))
    (tmp_path / "cameras.json").write_text(json.dumps({  # as an earlier version wrote them
        "form": 1, "shrinkage": 0,
        "cameras": [[name, 1, (f / np.linalg.norm(f)).tolist()] for name, f in zip(cameras, FEATURES, strict=False)],
    }))  # fmt: skip
    loaded = CameraNormalizer.load(tmp_path / "cameras.json")
    assert loaded.counts == normalizer.counts
    np.testing.assert_allclose(loaded.mean(composed), normalizer.mean(composed))


@pytest.mark.parametrize("numbers", [[*np.arange(11) % 3], np.arange(11) % 3, [*np.float32(np.arange(11) % 3)]])
def test_cameras_that_are_numbers_of_numpy_are_saved_as_plain_ones(tmp_path, numbers):
    CameraNormalizer().fit(FEATURES, numbers).save(tmp_path / "cameras.json")
    loaded = CameraNormalizer.load(tmp_path / "cameras.json")
    assert loaded.counts == {0: 4, 1: 4, 2: 3}
    plain = CameraNormalizer().fit(FEATURES, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]).transform(FEATURES[:2], [0, 1])
    np.testing.assert_array_equal(loaded.transform(FEATURES[:2], numbers[:2]), plain)


def test_a_camera_that_a_file_of_numbers_does_not_know_is_named(tmp_path):
    numbers = {"door": 1, "yard": 2, "roof": 3, None: None}
    CameraNormalizer().fit(FEATURES, [numbers[camera] for camera in CAMERAS]).save(tmp_path / "cameras.json")
    loaded = CameraNormalizer.load(tmp_path / "cameras.json")
    with pytest.warns(UserWarning, match=r"^2 cameras have no mean of .*: 'door', 'yard'\. Known: 1, 2, 3$"):
        found = loaded.transform(FEATURES[:4], ["door", "yard", "door", None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(found, loaded.transform(FEATURES[:4], [None] * 4))
        loaded.transform(FEATURES[:2], [1, None])


@pytest.mark.parametrize("content", ["{}", "[]", '{"form": 2}', '{"form": 1, "shrinkage": 1, "cameras": []}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 0, [1.0]]]}',
    '{"form": 1, "shrinkage": -1, "cameras": [["a", 1, [1.0]]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1.0]], ["b", 1, [1.0, 2.0]]]}',
    '{"form": 1, "shrinkage": Infinity, "cameras": [["a", 1, [1.0]]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1e308]]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, 1.0]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, []]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 0, [0.0]]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [1.0]], ["a", 1, [1.0]]]}',
    '{"form": 1, "shrinkage": 1, "cameras": [["a", 1, [NaN]]]}', "no json", "[" * 100_000])  # fmt: skip
def test_a_foreign_file_is_one_error_that_names_it(tmp_path, content):
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(ValueError, match=r"written by CameraNormalizer\.save\. Received: path=.*cameras\.json"):
        CameraNormalizer.load(tmp_path / "cameras.json")


def test_without_means_nothing_is_saved_and_the_file_keeps_its_own(tmp_path):
    CameraNormalizer().fit(FEATURES, CAMERAS).save(tmp_path / "cameras.json")
    with pytest.raises(ValueError, match="`fit` must be called before the means are saved"):
        CameraNormalizer().save(tmp_path / "cameras.json")
    assert set(CameraNormalizer.load(tmp_path / "cameras.json").counts) == {"door", "yard", "roof"}


@pytest.mark.parametrize("cameras", [None, "yard", 3])
def test_cameras_that_are_no_list_are_refused(cameras):
    with pytest.raises(ValueError, match=rf"`cameras` must be a list, .* Received: cameras={cameras!r}"):
        CameraNormalizer().fit(FEATURES[:4], cameras)


@pytest.mark.parametrize(
    ("features", "cameras", "message"),
    [
        (FEATURES, CAMERAS[:3], "`cameras` must be one per feature. Received: 3 for 11"),
        (FEATURES, [None] * 11, "`cameras` must name the camera of some image"),
        (FEATURES, [*CAMERAS[:9], float("nan"), ("yard", 1)], r"finite numbers or None\. Received: nan, \('yard', 1\)"),
        (FEATURES[0], CAMERAS, r"`features` must be \(N, D\) numbers"),
        (FEATURES * np.nan, CAMERAS, "`features` must be finite and not 0. Received: 11 others, the first in row 0"),
        (0 * FEATURES, CAMERAS, "`features` must be finite and not 0"),
        (np.full((2, 3), "a"), CAMERAS, r"`features` must be \(N, D\) numbers"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_changes_nothing(features, cameras, message):
    normalizer = CameraNormalizer().fit(FEATURES, CAMERAS)
    before = normalizer.mean("door")
    with pytest.raises(ValueError, match=message):
        normalizer.fit(features, cameras)
    np.testing.assert_array_equal(normalizer.mean("door"), before)


def test_features_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"length of earlier ones\. Received: 4"):
        CameraNormalizer().fit(FEATURES, CAMERAS).fit(FEATURES[:, :4], CAMERAS)


@pytest.mark.parametrize("shrinkage", [-1, float("nan"), float("inf"), True, "10", None, 10**400])
def test_a_shrinkage_that_is_no_count_is_refused(shrinkage):
    with pytest.raises(ValueError, match="`shrinkage` must be a number of at least 0"):
        CameraNormalizer(shrinkage)


def test_all_features_equal_are_normalised_to_0():
    normalizer = CameraNormalizer().fit(np.ones((6, 4)), [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(normalizer.transform(np.ones((2, 4)), [1, None]), np.zeros((2, 4)))


def test_before_it_is_fitted_there_is_no_mean():
    with pytest.raises(ValueError, match="`fit` must be called"):
        CameraNormalizer().transform(FEATURES, CAMERAS)


@pytest.mark.parametrize("train", [True, False])
def test_a_side_is_normalised_by_the_training_images_or_by_itself(train):
    def records(paths, cameras):
        return tuple(SimpleNamespace(path=path, camera=camera) for path, camera in zip(paths, cameras, strict=True))

    splits = SimpleNamespace(
        train=records(range(4), ["a", "b", None, "a"]) if train else (),
        query=records([4, 5], ["a", "b"]), gallery=records([6, 7, 8], ["b", "c", None]),
    )  # fmt: skip
    query, gallery = FEATURES[4:6], FEATURES[6:9]
    found = normalize_side(lambda paths: FEATURES[paths], query, gallery, splits, shrinkage=3)
    source = ([0, 1, 3], ["a", "b", "a"]) if train else ([4, 5, 6, 7, 8], ["a", "b", "b", "c", None])
    by_hand = CameraNormalizer(3).fit(FEATURES[source[0]], source[1])
    np.testing.assert_allclose(found[0], by_hand.transform(query, ["a", "b"]), atol=1e-6)
    np.testing.assert_allclose(found[1], by_hand.transform(gallery, ["b", "c", None]), atol=1e-6)


@pytest.fixture(scope="module")
def network():
    return OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=12)


def test_an_extractor_removes_the_means_of_its_normalizer(network):
    images = list(np.random.default_rng(2).integers(0, 256, (6, 40, 20, 3), dtype=np.uint8))
    plain = FeatureExtractor(network)(images)
    normalizer = CameraNormalizer(3).fit(plain, list("aabbab"))
    extractor = FeatureExtractor(network, normalizer=normalizer)
    cameras = ["a", "b", None, "a", "roof", "b"]
    np.testing.assert_allclose(extractor(images, cameras=cameras), normalizer.transform(plain, cameras), atol=1e-5)
    np.testing.assert_allclose(extractor(images), normalizer.transform(plain, [None] * 6), atol=1e-5)
    assert extractor([]).shape == (0, 12)
    frame, boxes = images[0], [[0, 0, 20, 40], [5, 0, 20, 30]]
    crops = normalizer.transform(FeatureExtractor(network).crops([frame], [boxes]), ["b", "b"])
    np.testing.assert_allclose(extractor.crops([frame], [boxes], camera="b"), crops, atol=1e-5)


def test_cameras_that_an_extractor_cannot_use_are_refused(network):
    image = np.zeros((32, 16, 3), "uint8")
    with pytest.raises(ValueError, match="`cameras` must be None without a `normalizer`"):
        FeatureExtractor(network)([image], cameras=["a"])
    with pytest.raises(ValueError, match=r"`cameras` must be one per image\. Received: 2 for 1 images"):
        FeatureExtractor(network, normalizer=CameraNormalizer())([image], cameras=["a", "b"])


@pytest.mark.parametrize(
    ("fitted", "cameras", "message"),
    [
        (None, None, "`fit` must be called before"),
        (FEATURES, None, rf"`features` must have the length of those of `fit`, {FEATURES.shape[1]}\. Received: 12"),
        (np.eye(12)[:11], ["a", float("nan")], r"`cameras` must be names, finite numbers or None\. Received: nan"),
    ],
    ids=["not fitted", "another length", "not a name"],
)
def test_a_normalizer_that_cannot_be_used_is_refused_before_the_features_are_computed(
    network, fitted, cameras, message
):
    normalizer, done = CameraNormalizer() if fitted is None else CameraNormalizer().fit(fitted, CAMERAS), []
    extractor, image = FeatureExtractor(network, normalizer=normalizer), np.zeros((32, 16, 3), "uint8")
    with pytest.raises(ValueError, match=message):
        extractor([image, image], cameras=cameras, progress=lambda *now: done.append(now))
    with pytest.raises(ValueError, match=message):
        extractor.crops(
            [image], [[(0, 0, 9, 9)]], camera=cameras and cameras[1], progress=lambda *now: done.append(now)
        )
    assert not done
