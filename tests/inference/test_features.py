"""FeatureExtractor against the network on pictures prepared by hand with Pillow."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.inference.features import pictures_in

SIZE, DIM = (32, 16), 24


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = OSNet(0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM, classes=7)
    rng = np.random.default_rng(0)
    # Running statistics and a head other than a fresh network's, so that features are neither zero nor alike.
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.path.startswith("embedding") and weight.path.endswith("kernel"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def extractor(network):
    return FeatureExtractor(network, batch_size=3)


def pictures(seed=0):
    """Seven pictures of six sizes, smaller and larger than the network's."""
    rng = np.random.default_rng(seed)
    sizes = ((90, 41), (20, 11), (32, 16), (64, 32), (25, 60), (20, 11), (33, 17))
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)) for _ in sizes]
    return [np.asarray(c.resize((w, h), Image.BICUBIC)) for c, (h, w) in zip(coarse, sizes, strict=True)]


def by_hand(network, some):
    """One picture at a time, through layers of the network that end at the embedding."""
    body = keras.Model(network.input, network.get_layer("embedding").output)
    features = []
    for picture in some:
        x = np.asarray(Image.fromarray(picture).convert("RGB").resize(SIZE[::-1], Image.BILINEAR), float) / 255
        x = (x - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        features.append(keras.ops.convert_to_numpy(body(x[None].astype("float32"), training=False))[0])
    return np.array(features)


def saved(folder, some, suffix="png"):
    paths = [folder / f"{i}.{suffix}" for i in range(len(some))]
    for path, picture in zip(paths, some, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def test_features_of_arrays_are_those_of_the_network_in_order(network, extractor):
    got = extractor(pictures())
    assert got.shape == (7, DIM)
    assert got.dtype == np.float32
    expected = by_hand(network, pictures())
    assert np.ptp(expected, axis=0).max() > 0.1, "the pictures must be told apart"
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_features_are_not_negative_and_not_normalised(extractor):
    got = extractor(pictures())
    assert got.min() == 0
    assert np.abs(np.linalg.norm(got, axis=1) - 1).min() > 1e-3


def test_features_of_files_are_those_of_arrays(network, extractor, tmp_path):
    paths = saved(tmp_path, pictures())
    expected = by_hand(network, pictures())
    # TensorFlow's resizing may be a level of 255 off Pillow's: that much, and no more than it, may show.
    for given in (paths, [str(path) for path in paths]):
        got = extractor(given)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=0.02 * expected.max())
    np.testing.assert_allclose(extractor(paths)[2], expected[2], atol=1e-4)  # of the network's size: no resizing


def test_the_features_of_a_picture_do_not_depend_on_its_batch(network, extractor):
    few, one = extractor(pictures()), FeatureExtractor(network, batch_size=1)(pictures())
    np.testing.assert_allclose(few, one, atol=1e-4)


def test_one_array_of_many_pictures_and_any_iterable_will_do(extractor):
    stack = np.stack([pictures()[1], pictures()[5]])
    np.testing.assert_array_equal(extractor(stack), extractor([*stack]))
    np.testing.assert_array_equal(extractor(iter(stack)), extractor([*stack]))


def test_grey_arrays_are_taken_as_rgb(network, extractor):
    grey = pictures()[0][..., 0]
    np.testing.assert_allclose(extractor([grey]), by_hand(network, [np.stack([grey] * 3, -1)]), atol=1e-4)


def test_the_path_of_a_keras_file_gives_the_same_features(network, extractor, tmp_path):
    network.save(tmp_path / "network.keras")
    for path in (tmp_path / "network.keras", str(tmp_path / "network.keras")):
        np.testing.assert_allclose(FeatureExtractor(path)(pictures()), extractor(pictures()), atol=1e-5)


def test_the_classifier_is_left_out(network, extractor):
    assert network.output_shape == (None, 7)
    assert extractor.network.output_shape == (None, DIM)
    with_features = network.with_head(None)
    np.testing.assert_allclose(FeatureExtractor(with_features)(pictures()), extractor(pictures()), atol=1e-5)


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 20, 11, 3), "uint8")], ids=["list", "tuple", "array"])
def test_no_pictures_are_refused(extractor, nothing):
    with pytest.raises(ValueError, match="`pictures` must not be empty"):
        extractor(nothing)


def test_another_network_that_gives_features_will_do(tmp_path):
    other = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.GlobalAveragePooling2D()])
    other.save(tmp_path / "other.keras")
    for model in (other, tmp_path / "other.keras"):
        white, black = FeatureExtractor(model)([np.full((9, 7, 3), level, "uint8") for level in (255, 0)])
        # (1 - mean) / std and -mean / std of ImageNet, by channel.
        np.testing.assert_allclose(white, (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225), rtol=1e-5)
        np.testing.assert_allclose(black, (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), rtol=1e-5)


def test_features_are_found_among_several_outputs(network, extractor):
    features = network.get_layer("embedding").output
    both = keras.Model(network.input, {"attributes": features[:, :2], "features": features})
    np.testing.assert_allclose(FeatureExtractor(both)(pictures()), extractor(pictures()), atol=1e-5)


def test_a_model_that_gives_no_features_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.ReLU()])
    other.save(tmp_path / "other.keras")
    for model in (other, tmp_path / "other.keras", 3):
        with pytest.raises(
            ValueError, match=r"`model` must be an OSNet or another network .*Received: (Sequential|int)"
        ):
            FeatureExtractor(model)


def test_a_network_of_no_fixed_input_size_is_refused():
    model = OSNet(width=0.0625, input_shape=(None, None, 3), depths=(1, 1, 1))
    with pytest.raises(ValueError, match=r"`model` must have a fixed input size\. Received: input_shape="):
        FeatureExtractor(model)


def test_files_that_cannot_be_read_are_named(extractor, tmp_path):
    paths = saved(tmp_path, pictures(), "jpg")
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    paths[4].write_text("no picture")
    paths[5].unlink()
    with pytest.raises(ValueError, match="3 of 7 images cannot be read") as error:
        extractor(paths)
    assert all(str(paths[i]) in str(error.value) for i in (1, 4, 5))
    assert not any(str(paths[i]) in str(error.value) for i in (0, 2, 3, 6))


@pytest.mark.parametrize("single", ["a.jpg", np.zeros((5, 4, 3), "uint8")], ids=["path", "array"])
def test_a_single_picture_is_not_taken_for_a_list(extractor, single):
    with pytest.raises(ValueError, match=r"`pictures` must be a list"):
        extractor(single)


@pytest.mark.parametrize("wrong", [np.zeros((9, 5, 3)), np.zeros((9, 5, 2), "uint8"), np.zeros((0, 5, 3), "uint8")])
def test_an_array_that_is_no_picture_is_refused_by_number(extractor, wrong):
    message = rf"`pictures` must be paths, or arrays .* number 4 \(from 0\) of shape {re.escape(str(wrong.shape))}"
    with pytest.raises(ValueError, match=message):
        extractor([*pictures()[:4], wrong])


def test_flipping_gives_the_mean_of_picture_and_mirror(network, extractor, tmp_path):
    some = pictures()
    mirrored = [picture[:, ::-1] for picture in some]
    one, other = by_hand(network, some), by_hand(network, mirrored)
    assert np.abs(one - other).max() > 0.1, "the pictures must differ from their mirrors"
    flipping = FeatureExtractor(network, batch_size=3, flip=True)
    got = flipping(some)
    assert got.dtype == np.float32
    # Pillow resizes a mirror to the mirror, but for rounding halves: a level of 255 may show.
    np.testing.assert_allclose(got, (one + other) / 2, atol=0.02 * one.max())
    np.testing.assert_allclose(got[2], (one[2] + other[2]) / 2, atol=1e-4)  # of the network's size: no resizing
    np.testing.assert_allclose(flipping(mirrored)[2], got[2], atol=1e-5)
    np.testing.assert_allclose(flipping(saved(tmp_path, some))[2], got[2], atol=1e-4)


def test_pictures_in_a_folder_are_all_below_it_in_sorted_order(tmp_path):
    names = ["b.PNG", "a/z.jpeg", "a/b/c.bmp", "a.jpg", "a/ab.jpg"]
    for name in [*names, "notes.txt", "a/z.jpeg.part", ".hidden.jpg", ".cache/k.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    want = ["a/ab.jpg", "a/b/c.bmp", "a/z.jpeg", "a.jpg", "b.PNG"]
    for folder in (tmp_path, str(tmp_path)):
        assert pictures_in(folder) == [tmp_path / name for name in want]


def test_a_folder_gives_the_features_of_its_pictures(extractor, tmp_path):
    paths = saved(tmp_path, pictures())
    want = extractor(paths)
    for folder in (tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(extractor(folder), want)


def test_a_folder_without_pictures_is_refused(extractor, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"`folder` must hold pictures \(\.jpg, .*\)\. Received: '.*'"):
        extractor(tmp_path)
    with pytest.raises(ValueError, match=r"`folder` must be a folder\. Received: '.*notes\.txt'"):
        pictures_in(tmp_path / "notes.txt")


def test_progress_is_told_after_every_batch(extractor, tmp_path):
    some = pictures()
    whole = [[0, 0, *picture.shape[1::-1]] for picture in some]
    for call, given in (
        (extractor, (some,)),
        (extractor, (saved(tmp_path, some),)),
        (extractor.crops, (some, [[box] for box in whole])),
    ):
        told = []
        call(*given, progress=lambda done, total, told=told: told.append((done, total)))
        assert told == [(3, 7), (6, 7), (7, 7)]


def jpeg(path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif, quality=95)
    return path


# What is stored so that a viewer, told the orientation, shows the picture: EXIF 2.3, tag 274.
STORED = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p[:, ::-1].transpose(1, 0, 2),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


def test_files_that_say_which_side_is_up_are_turned(network, extractor, tmp_path):
    picture = pictures()[0]
    paths = [jpeg(tmp_path / f"{o}.jpg", np.ascontiguousarray(turn(picture)), o) for o, turn in STORED.items()]
    paths.insert(2, jpeg(tmp_path / "1.jpg", picture, 1))
    expected = by_hand(network, [picture])
    sideways = by_hand(network, [np.asarray(Image.open(paths[-1]))])
    assert np.abs(sideways - expected).max() > 0.2 * expected.max(), "turning must matter"
    got = extractor(paths)
    np.testing.assert_allclose(got, np.repeat(expected, 8, axis=0), atol=0.06 * expected.max())  # JPEG's own loss


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("CMYK", "jpg"), ("L", "jpg"), ("L", "png"), ("LA", "png"), ("RGBA", "png"), ("P", "png"), ("RGB", "bmp")],
)
def test_files_of_other_colour_spaces_are_taken_as_rgb(network, extractor, tmp_path, mode, suffix):
    picture = Image.fromarray(pictures()[2]).convert(mode)  # of the network's size: no resizing
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(pictures()[3][::2, ::2, 0]))
    picture.save(tmp_path / f"picture.{suffix}")
    with Image.open(tmp_path / f"picture.{suffix}") as stored:
        assert stored.mode == mode
        rgb = np.asarray(stored.convert("RGB"))
    np.testing.assert_allclose(extractor([tmp_path / f"picture.{suffix}"]), by_hand(network, [rgb]), atol=1e-4)


def test_rgba_arrays_lose_their_alpha(extractor):
    picture = pictures()[0]
    transparent = np.dstack([picture, np.zeros(picture.shape[:2], "uint8")])
    np.testing.assert_array_equal(extractor([transparent]), extractor([picture]))


FRAMES = [(40, 50), (33, 61), (40, 50)]
BOXES = [
    [(3, 5, 20, 38), (30.4, 1.6, 45.5001, 20)],
    [],
    [(-7, -3, 12, 30), (41, 25, 70, 99), (0, 0, 50, 40)],
]
# By hand: frame, and the rows and columns left after rounding to whole pixels and cutting at the edges.
CUTS = [(0, 5, 38, 3, 20), (0, 2, 20, 30, 46), (2, 0, 30, 0, 12), (2, 25, 40, 41, 50), (2, 0, 40, 0, 50)]


def frames():
    rng = np.random.default_rng(5)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)) for _ in FRAMES]
    return [np.asarray(c.resize((w, h), Image.BICUBIC)) for c, (h, w) in zip(coarse, FRAMES, strict=True)]


def test_boxes_of_frames_give_the_features_of_what_is_in_them(network, extractor):
    expected = by_hand(network, [frames()[i][top:bottom, left:right] for i, top, bottom, left, right in CUTS])
    assert np.ptp(expected, axis=0).max() > 0.1, "the boxes must be told apart"
    np.testing.assert_allclose(extractor.crops(frames(), BOXES), expected, atol=1e-4)
    arrays = (np.array(some).reshape(-1, 4) for some in BOXES)
    np.testing.assert_allclose(extractor.crops(iter(frames()), arrays), expected, atol=1e-4)


def test_frames_are_read_one_batch_at_a_time(extractor):
    read, seen = [], []

    def video():
        for number in range(8):
            read.append(number)
            yield frames()[0]

    extractor.crops(video(), [[(0, 0, 9, 20)]] * 8, progress=lambda done, total: seen.append(len(read)))
    assert seen == [3, 6, 8]


def test_a_video_without_boxes_gives_no_features(extractor):
    got = extractor.crops(frames(), [[], np.zeros((0, 4)), []])
    assert (got.shape, got.dtype) == ((0, DIM), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([(3, 5, 3, 38)], r"box 1 of frame 2 .*, x0, y0, x1, y1 = \[3.*\], in a frame 50 wide and 40 high"),
        ([(3, 9, 12, 9.4)], r"box 1 of frame 2"),
        ([(20, 5, 3, 38)], r"box 1 of frame 2"),
        ([(50, 5, 80, 38)], r"box 1 of frame 2"),
        ([(3, -9, 12, 0)], r"box 1 of frame 2"),
        ([(3, np.nan, 12, 30)], r"box 1 of frame 2"),
    ],
    ids=["no width", "no height after rounding", "left of itself", "right of the frame", "above the frame", "NaN"],
)
def test_a_box_with_nothing_in_it_is_named(extractor, change, message):
    with pytest.raises(ValueError, match=r"`boxes` must have something of their frame in them\. Received: " + message):
        extractor.crops(frames(), [*BOXES[:2], [(3, 5, 20, 38), *change]])


@pytest.mark.parametrize(
    ("some", "boxes", "message"),
    [
        (frames()[:2], BOXES, r"`frames` must be as many as `boxes`\. Received: 2 frames, boxes for 3"),
        ([*frames(), frames()[0]], BOXES, r"`frames` must be as many as `boxes`\. Received: more frames"),
        (frames(), [BOXES[0], [(1, 2, 3)], []], r"`boxes` must be \(n, 4\) .* shape \(1, 3\) .* frame 1"),
        (frames(), [(1, 2, 30, 40), [], []], r"`boxes` must be \(n, 4\) .* shape \(4,\) .* frame 0"),
        ([frames()[0], frames()[1] / 255, frames()[2]], BOXES, r"`frames` must be .* frame 1 .* type float64"),
        ([frames()[0][..., 0]], [[]], r"`frames` must be .* frame 0 \(from 0\) of shape \(40, 50\)"),
    ],
    ids=["few frames", "many frames", "three numbers", "bare box", "float frame", "grey frame"],
)
def test_frames_and_boxes_that_do_not_fit_are_refused(extractor, some, boxes, message):
    with pytest.raises(ValueError, match=message):
        extractor.crops(some, boxes)
