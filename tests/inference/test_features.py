"""FeatureExtractor against the network on images that the test resizes with Pillow and normalises."""

import os
import re

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.metrics import MatchProbability
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights import Card
from tests.inference.networks import with_lively_weights

SIZE, DIM = (32, 16), 24


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return with_lively_weights(
        OSNet(0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM, classes=7)
    )


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


def test_features_of_files_are_those_of_arrays(extractor, tmp_path):
    paths, expected = saved(tmp_path, pictures()), extractor(pictures())
    for given in (paths, [str(path) for path in paths]):
        np.testing.assert_array_equal(extractor(given), expected)


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


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 20, 11, 3), "uint8"), np.array([])])
def test_no_images_have_no_features_as_frames_without_boxes_have_none(extractor, nothing):
    for got in (extractor(nothing), extractor.crops([], []), extractor.crops(frames(), [[], np.zeros((0, 4)), []])):
        assert (got.shape, got.dtype) == ((0, DIM), np.float32)


def test_another_network_that_gives_features_will_do(tmp_path):
    other = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.GlobalAveragePooling2D()])
    other.save(tmp_path / "other.keras")
    for model in (other, tmp_path / "other.keras"):
        white, black = FeatureExtractor(model)([np.full((9, 7, 3), level, "uint8") for level in (255, 0)])
        # (1 - mean) / std and -mean / std of ImageNet, by channel.
        np.testing.assert_allclose(white, (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225), rtol=1e-5)
        np.testing.assert_allclose(black, (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), rtol=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_network_around_an_osnet_takes_images_as_it_does(tmp_path, kind):
    inner = OSNet(
        0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM,
        preprocessing={"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 1.0), "scale": 51.0},
    )  # fmt: skip
    if kind == "sequential":
        outer = keras.Sequential([keras.Input((*SIZE, 3)), inner])
    else:
        images = keras.Input((*SIZE, 3))
        outer = keras.Model(images, inner(images))
    outer.save(tmp_path / "outer.keras")
    expected = FeatureExtractor(inner)(pictures())
    for model in (outer, tmp_path / "outer.keras"):
        np.testing.assert_allclose(FeatureExtractor(model)(pictures()), expected, atol=1e-5)
    inner.preprocessing = Preprocessing()
    assert not np.allclose(FeatureExtractor(inner)(pictures()), expected, atol=1e-2)


def test_a_list_of_paths_and_arrays_is_refused(extractor, tmp_path):
    (path,) = saved(tmp_path, pictures()[:1])
    for images in ([path, *pictures()[:2]], [*pictures()[:2], str(path)]):
        with pytest.raises(ValueError, match=r"must be all paths or all arrays. Received: 1 paths and 2 others"):
            extractor(images)


def test_features_are_found_among_several_outputs(network, extractor):
    features = network.get_layer("embedding").output
    both = keras.Model(network.input, {"attributes": features[:, :2], "features": features})
    np.testing.assert_allclose(FeatureExtractor(both)(pictures()), extractor(pictures()), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([keras.Input((*SIZE, 3)), keras.layers.ReLU()], r"`model` must return \(B, D\) features\. Received: .*maps"),
        ([keras.Input((8,)), keras.layers.ReLU()], r"`model` must be a built network .* Received: Sequential"),
        ([keras.layers.ReLU()], r"`model` must be a built network .* Received: Sequential"),
        ([keras.Input((None, 16, 3)), keras.layers.GlobalMaxPooling2D()], r"`model` must have a fixed input size"),
    ],
    ids=["maps", "no images", "not built", "any size"],
)
def test_a_model_that_returns_no_features_of_images_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(keras.Sequential(layers))


@pytest.mark.parametrize("other", [3, None, [1, 2]])
def test_what_is_no_model_is_refused(other):
    with pytest.raises(ValueError, match=r"`model` must be a built network .* Received: (int|NoneType|list)"):
        FeatureExtractor(other)


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, True, None])
def test_a_batch_size_that_is_no_positive_integer_is_refused(network, batch_size):
    with pytest.raises(ValueError, match=r"`batch_size` must be an integer of at least 1\. Received: batch_size="):
        FeatureExtractor(network, batch_size=batch_size)


def test_features_that_are_not_finite_are_refused_by_the_number_of_the_image():
    inputs = keras.Input((*SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    strange = keras.Model(inputs, keras.ops.where(mean > 2, np.nan, mean))  # white levels become 2.2 .. 2.6
    extractor, grey = FeatureExtractor(strange, batch_size=3), np.full((9, 7, 3), 100, "uint8")
    assert np.isfinite(extractor([grey] * 7)).all()
    images = [grey] * 4 + [np.full((9, 7, 3), 255, "uint8")] + [grey]
    with pytest.raises(
        ValueError, match=r"`model` must return finite features\. .* for 1 images .* number 4 \(from 0\)"
    ):
        extractor(images)


def test_files_that_cannot_be_read_are_named(extractor, tmp_path):
    paths = saved(tmp_path, pictures(), "jpg")
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    paths[4].write_text("no picture")
    paths[5].unlink()
    with pytest.raises(ValueError, match="3 of 7 images cannot be read") as error:
        extractor(paths)
    assert all(str(paths[i]) in str(error.value) for i in (1, 4, 5))
    assert not any(str(paths[i]) in str(error.value) for i in (0, 2, 3, 6))


@pytest.mark.parametrize(
    "single",
    [
        "a.jpg",
        np.zeros((5, 4, 3), "uint8"),
        keras.ops.zeros((5, 4, 3), "uint8"),
        Image.new("RGB", (5, 4)),
        np.float32(3),
        7,
    ],
    ids=["path", "array", "tensor", "Pillow", "number of NumPy", "number"],
)
def test_a_single_picture_is_not_taken_for_a_list(extractor, single):
    with pytest.raises(ValueError, match=r"`images` must be a list"):
        extractor(single)


def test_masked_pictures_are_refused(extractor):
    with pytest.raises(ValueError, match="`images` must have no masked values"):
        extractor([pictures()[0], np.ma.masked_less(pictures()[1], 9)])


def test_a_number_is_no_list_of_cameras(network):
    normalizer = CameraNormalizer().fit(np.random.default_rng(0).uniform(size=(2, network.output_shape[1])), [1, 2])
    with pytest.raises(ValueError, match=r"`cameras` must be a list, one per image\. Received: cameras=1"):
        FeatureExtractor(network, normalizer=normalizer)(pictures()[:1], cameras=1)


@pytest.mark.parametrize("wrong", [np.zeros((9, 5, 3)), np.zeros((9, 5, 2), "uint8"), np.zeros((0, 5, 3), "uint8")])
def test_an_array_that_is_no_picture_is_refused_by_number(extractor, wrong):
    message = rf"`images` must be paths, or arrays .* number 4 \(from 0\) of shape {re.escape(str(wrong.shape))}"
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
    # Pillow resizes a mirror image to the mirror image, but for rounding halves: a level of 255 may show.
    np.testing.assert_allclose(got, (one + other) / 2, atol=0.02 * one.max())
    np.testing.assert_allclose(got[2], (one[2] + other[2]) / 2, atol=1e-4)  # of the network's size: no resizing
    np.testing.assert_allclose(flipping(mirrored)[2], got[2], atol=1e-5)
    np.testing.assert_array_equal(flipping(saved(tmp_path, some)), got)


def test_a_folder_gives_the_features_of_its_pictures(extractor, tmp_path):
    paths = saved(tmp_path, pictures())
    want = extractor(paths)
    for folder in (tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(extractor(folder), want)


def test_progress_is_called_after_every_batch(extractor, tmp_path):
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
    assert np.abs(sideways - expected).max() > 0.05 * expected.max(), "turning must matter"
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


@pytest.mark.parametrize(("mode", "suffix"), [("P", "png"), ("CMYK", "tif"), ("LA", "png"), ("I;16", "png")])
def test_images_of_pillow_are_read_as_their_files(extractor, tmp_path, mode, suffix):
    rgb, path = pictures()[0], tmp_path / f"a.{suffix}"
    levels = 200 * rgb[..., 0].astype("uint16")
    image = Image.fromarray(levels) if mode == "I;16" else Image.fromarray(rgb).convert(mode)
    image.save(path)
    np.testing.assert_array_equal(extractor([Image.open(path)]), extractor([path]))


def test_images_of_pillow_are_rgb_beside_arrays_of_bgr(extractor):
    images = pictures()
    mixed = [Image.fromarray(images[0]), *(image[..., ::-1] for image in images[1:])]
    np.testing.assert_array_equal(extractor(mixed, color="bgr"), extractor(images))
    whole = [[(0, 0, *image.shape[1::-1])] for image in images]
    np.testing.assert_array_equal(extractor.crops(mixed, whole, color="bgr"), extractor.crops(images, whole))


def test_an_upside_down_image_of_pillow_is_turned_and_stays_as_it_was(extractor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pictures()[0]).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(extractor([image]), extractor([tmp_path / "a.png"]))
        assert image.getexif()[0x0112] == 3


def test_entries_of_a_folder_are_paths(extractor, tmp_path):
    Image.fromarray(pictures()[0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(extractor([*os.scandir(tmp_path)]), extractor([tmp_path / "a.png"]))


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


def test_a_reader_may_put_each_frame_into_the_same_memory(extractor):
    memory, expected = (
        np.empty((40, 50, 3), "uint8"),
        np.random.default_rng(4).integers(0, 256, (7, 40, 50, 3), "uint8"),
    )

    def read():
        for frame in expected:
            memory[:] = frame
            yield memory

    boxes = [BOXES[0]] * len(expected)
    np.testing.assert_array_equal(extractor.crops(read(), boxes), extractor.crops(expected, boxes))


def test_frames_are_read_one_batch_ahead(extractor):
    read, seen = [], []

    def video():
        for number in range(8):
            read.append(number)
            yield frames()[0]

    extractor.crops(video(), [[(0, 0, 9, 20)]] * 8, progress=lambda done, total: seen.append(len(read)))
    assert seen == [6, 8, 8]


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
    with pytest.raises(ValueError, match=r"`boxes` must overlap their frame, .* Received: " + message):
        extractor.crops(frames(), [*BOXES[:2], [(3, 5, 20, 38), *change]])


@pytest.mark.parametrize(
    ("some", "boxes", "message"),
    [
        (frames()[:2], BOXES, r"`frames` must be as many as `boxes`\. Received: 2 frames, boxes for 3"),
        ([*frames(), frames()[0]], BOXES, r"`frames` must be as many as `boxes`\. Received: more frames"),
        (frames(), [BOXES[0], [(1, 2, 3)], []], r"`boxes` must be \(n, 4\) .* shape \(1, 3\) .* frame 1"),
        (frames(), [(1, 2, 30, 40), [], []], r"`boxes` must be \(n, 4\) .* shape \(4,\) .* frame 0"),
        ([frames()[0], frames()[1] / 255, frames()[2]], BOXES, r"`frames` must be .* number 1 .* type float64"),
        ([frames()[0][..., :2]], [[]], r"`frames` must be .* number 0 \(from 0\) of shape \(40, 50, 2\)"),
        (frames(), [[(1, 2, 3), (4,)], [], []], r"`boxes` must be an array, with rows of one length"),
        (frames(), [np.ma.masked_greater([[3, 5, 20, 38]], 30), [], []], r"`boxes` must have no masked values"),
        ([np.ma.masked_less(frames()[0], 9)], [[]], r"`frames` must have no masked values"),
        (None, BOXES, r"`frames` must be a list, one value for each frame of a video\. Received: frames=None"),
        (frames(), None, r"`boxes` must be a list, one value for each frame of a video\. Received: boxes=None"),
    ],
    ids=[
        "few frames",
        "many frames",
        "three numbers",
        "bare box",
        "float frame",
        "two channels",
        "ragged boxes",
        "masked box",
        "masked frame",
        "no frames",
        "no boxes",
    ],
)
def test_frames_and_boxes_that_do_not_fit_are_refused(extractor, some, boxes, message):
    with pytest.raises(ValueError, match=message):
        extractor.crops(some, boxes)


def test_boxes_outside_their_frame_are_skipped_if_asked_for(extractor):
    outside = [(50, 5, 80, 38), (3, np.nan, 12, 30)]
    boxes = [[outside[0], *BOXES[0]], [outside[1]], [*BOXES[2], outside[0]]]
    features, kept = extractor.crops(frames(), boxes, outside="skip")
    assert kept.tolist() == [False, True, True, False, True, True, True, False]
    np.testing.assert_allclose(features, extractor.crops(frames(), BOXES), atol=1e-6)
    features, kept = extractor.crops(frames(), BOXES, outside="skip")
    assert kept.all()
    features, kept = extractor.crops(frames()[:1], [outside], outside="skip")
    assert (features.shape, kept.tolist()) == ((0, DIM), [False, False])


GIVEN = {
    "RGBA": (lambda image: np.dstack([image, image[..., 0]]), lambda image: image),
    "grey with a channel": (lambda image: image[..., :1], lambda image: np.repeat(image[..., :1], 3, axis=2)),
    "not contiguous": (lambda image: np.asfortranarray(image), lambda image: image),
    "read only": (lambda image: np.frombuffer(image.tobytes(), "uint8").reshape(image.shape), lambda image: image),
}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_arrays_of_other_forms_are_taken_as_rgb(extractor, kind, color):
    form, same_as = GIVEN[kind]
    images, channels = pictures(), slice(None, None, -1 if color == "bgr" else 1)
    expected = extractor([np.ascontiguousarray(same_as(image)[..., channels]) for image in images])
    np.testing.assert_array_equal(extractor([form(image) for image in images], color=color), expected)
    whole = [[(0, 0, *image.shape[1::-1])] for image in images]
    np.testing.assert_array_equal(extractor.crops([form(image) for image in images], whole, color=color), expected)


def test_an_unknown_order_of_channels_is_refused_and_one_for_files_too(extractor, tmp_path):
    for call in (lambda: extractor(pictures(), color="rbg"), lambda: extractor.crops(frames(), BOXES, color="BGR")):
        with pytest.raises(ValueError, match=r"`color` must be one of 'rgb', 'bgr'\. Received: color="):
            call()
    with pytest.raises(ValueError, match=r"`color` must be 'rgb' for files\. Received: color='bgr'"):
        extractor(saved(tmp_path, pictures()), color="bgr")
    with pytest.raises(ValueError, match=r"`outside` must be one of 'error', 'skip'\. Received: outside='drop'"):
        extractor.crops(frames(), BOXES, outside="drop")


def probability(evidence, base_rate):
    return 1 / (1 + np.exp(-evidence) * (1 - base_rate) / base_rate)


def test_the_probability_that_two_images_show_one_person_is_that_of_their_distance(network, extractor, tmp_path):
    match, some = MatchProbability(offset=2.0, slope=8.0, fitted_on="a yard"), pictures()
    one, two, three = by_hand(network, some[:3])
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    expected = probability(2 - 8 * (1 - cosine), 0.5)
    assert extractor.same_person(some[0], some[1], match=match) == pytest.approx(expected, abs=1e-5)
    paths = saved(tmp_path, some)
    assert extractor.same_person(paths[0], str(paths[1]), match=match) == pytest.approx(expected, abs=1e-5)
    found = extractor.same_person(some[0], some[1], match=match, base_rate=0.01)
    assert found == pytest.approx(probability(2 - 8 * (1 - cosine), 0.01), abs=1e-5)
    mean = two / np.linalg.norm(two) + three / np.linalg.norm(three)
    cosine = one @ mean / np.linalg.norm(one) / np.linalg.norm(mean)
    found = extractor.same_person(some[0], some[1:3], match=match)
    assert found == pytest.approx(probability(2 - 8 * (1 - cosine), 0.5), abs=1e-5)
    far = MatchProbability(offset=2.0, slope=0.1, metric="euclidean")
    found = extractor.same_person([some[0]], [some[1], some[2]], match=far)
    distance = np.linalg.norm(one - (two + three) / 2)
    assert found == pytest.approx(probability(2 - 0.1 * distance, 0.5), abs=1e-4)


def test_the_probability_comes_with_the_weights(network, tmp_path):
    values = {"offset": 2.0, "slope": 8.0, "metric": "cosine", "fitted_on": "a yard", "same": 5, "different": 6}
    OSNet.from_config(network.get_config()).save_to_preset(tmp_path / "a", card=Card(match_probability=values))
    extractor, (first, second) = FeatureExtractor(tmp_path / "a"), pictures()[:2]
    assert extractor.match == MatchProbability(**values)
    assert 0 < extractor.same_person(first, second) < extractor.same_person(first, first) <= 1
    other = OSNet.from_preset(tmp_path / "a")
    changed = FeatureExtractor(other)
    assert changed.match == MatchProbability(**values)
    other.get_layer("conv5").conv.kernel.assign_add(other.get_layer("conv5").conv.kernel * 0.1)
    assert changed.match is None
    for match in (None, values):
        with pytest.raises(
            ValueError, match="`match` must be a MatchProbability, and given where the weights have none"
        ):
            changed.same_person(first, second, match=match)
    centred = FeatureExtractor(tmp_path / "a", normalizer=CameraNormalizer().fit(extractor(pictures()), [1] * 7))
    assert centred.match is None, "features without the mean of their camera have other distances"
    with pytest.raises(ValueError, match="`first` and `second` must hold an image"):
        extractor.same_person([], [second])
    with pytest.raises(ValueError, match="`base_rate` must be between 0 and 1"):
        extractor.same_person(first, second, base_rate=1)


def test_shipped_weights_know_their_probabilities_at_their_own_size():
    extractor = FeatureExtractor("osnet_x0_25_people")
    assert extractor.match.fitted_on == "market1501, test set"
    assert [extractor.match_of(kind).normalized for kind in (False, True)] == [False, True]
    extractor.normalizer = CameraNormalizer().fit(np.eye(512)[:3], [1, 1, 1])
    assert extractor.match.normalized
    assert FeatureExtractor("osnet_x0_25_people", normalizer=extractor.normalizer).match.normalized
    assert FeatureExtractor(OSNet(0.25, weights="people", input_shape=(256, 128, 3))).match is None
