"""From files to batches, against Pillow and against loops by hand."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from keras_osnet.data import arrays, resized_crops
from keras_osnet.data.augment import Augmentation, draw, patch
from keras_osnet.data.images import decode_tensor, naming_unreadable
from keras_osnet.data.pipeline import image_batches, int32_labels, resize, training_batches
from keras_osnet.data.resized_crops import Files

SIZE = (16, 10)
PLAIN = Augmentation(flip=0.0)
EVERYTHING = Augmentation(flip=0.5, crop=0.5, erase=0.5, patch=0.5, jitter=0.5, grey=0.5)
COUNT = 11


def scene(height, width, seed=0):
    """Smooth shapes with a little grain, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    return np.clip(np.asarray(coarse) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def save(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return str(path)


def pillow(path, size):
    return np.asarray(Image.open(path).convert("RGB").resize(size[::-1], Image.BILINEAR)).astype(int)


def normalised(levels):
    """The published numbers of ImageNet, channel by channel."""
    out = np.empty(levels.shape)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        out[..., channel] = (levels[..., channel] / 255 - mean) / std
    return out


def levels(batch):
    """Back from normalised to levels 0..255."""
    return np.rint((np.asarray(batch, float) * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)) * 255).astype(int)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """PNG images of sizes of their own; label and mean brightness grow with the number."""
    folder = tmp_path_factory.mktemp("pictures")
    return [save(folder / f"{i:02d}.png", scene(19 + i, 13 + 2 * (i % 3), seed=i)) for i in range(COUNT)]


def batches(
    files, *, seed=3, epochs=1, first_step=0, batch_size=4, augmentation=PLAIN, cache=False, order=None, shard=(0, 1)
):
    dataset = training_batches(
        files, np.arange(len(files)), size=SIZE, batch_size=batch_size, augmentation=augmentation, seed=seed,
        epochs=epochs, first_step=first_step, cache=cache, order=order, shard=shard,
    )  # fmt: skip
    return list(dataset.as_numpy_iterator())


def order_of(some_batches):
    return [int(label) for _, labels in some_batches for label in labels]


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels), (others, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("format_", ["jpg", "png"])
@pytest.mark.parametrize(
    ("source", "target"),
    [((97, 61), (32, 18)), ((13, 9), (40, 24)), ((20, 90), (48, 31)), ((128, 64), (64, 48)), ((33, 21), (33, 21))],
    ids=["down", "up", "taller and narrower", "half", "same"],
)
def test_decoding_and_resizing_stay_within_a_level_of_pillow(tmp_path, format_, source, target):
    path = save(tmp_path / f"image.{format_}", scene(*source))
    got = resize(decode_tensor(tf.io.read_file(path)), target)
    assert got.dtype == tf.uint8
    assert got.shape == (*target, 3)
    difference = got.numpy().astype(int) - pillow(path, target)
    assert np.abs(difference).max() <= 1
    assert abs(difference.mean()) < 0.05


def test_doubling_as_for_market1501_is_pillows_to_the_last_bit(tmp_path):
    path = save(tmp_path / "image.png", scene(64, 32))
    np.testing.assert_array_equal(resize(decode_tensor(tf.io.read_file(path)), (128, 64)), pillow(path, (128, 64)))


@pytest.mark.parametrize("format_", ["jpg", "png"])
def test_grey_images_become_rgb(tmp_path, format_):
    path = save(tmp_path / f"grey.{format_}", scene(37, 23)[..., 0])
    assert Image.open(path).mode == "L"
    got = resize(decode_tensor(tf.io.read_file(path)), (24, 15)).numpy().astype(int)
    assert np.abs(got - pillow(path, (24, 15))).max() <= 1
    assert np.ptp(got, axis=-1).max() == 0


def test_evaluation_takes_every_image_in_order_and_the_last_batch_may_be_smaller(files):
    got = list(image_batches(files, size=SIZE, batch_size=4).as_numpy_iterator())
    assert [len(batch) for batch in got] == [4, 4, 3]
    assert {batch.dtype for batch in got} == {np.dtype("float32")}
    for path, image in zip(files, np.concatenate(got), strict=True):
        assert np.abs(levels(image) - pillow(path, SIZE)).max() <= 1


@pytest.mark.parametrize("kind", [list, np.array])
def test_the_size_may_be_a_list_or_an_array(files, kind, monkeypatch):
    evaluation, training = list(image_batches(files, size=SIZE).as_numpy_iterator()), batches(files)
    np.testing.assert_array_equal(list(image_batches(files, size=kind(SIZE)).as_numpy_iterator()), evaluation)
    monkeypatch.setitem(globals(), "SIZE", kind(SIZE))
    assert_same(batches(files), training)


def test_images_are_normalised_with_the_published_numbers(tmp_path):
    image = scene(*SIZE)
    image[0, :3] = [(0, 0, 0), (255, 255, 255), (255, 0, 128)]
    path = save(tmp_path / "image.png", image)
    evaluated = next(image_batches([path], size=SIZE).as_numpy_iterator())
    trained, _ = batches([path], batch_size=1)[0]
    for batch in (evaluated, trained):
        np.testing.assert_allclose(batch[0], normalised(image), atol=1e-5)


def test_without_augmentation_each_label_comes_with_its_own_image(files):
    got = batches(files)
    assert [images.shape for images, _ in got] == [(4, *SIZE, 3)] * 2
    for images, labels in got:
        assert labels.dtype == np.int32
        for image, label in zip(images, labels, strict=True):
            assert np.abs(levels(image) - pillow(files[label], SIZE)).max() <= 1


def test_the_same_seed_gives_the_same_batches(files):
    first = batches(files, epochs=2, augmentation=EVERYTHING)
    tf.random.set_seed(1)  # the state of TensorFlow's own generator has no say
    assert_same(first, batches(files, epochs=2, augmentation=EVERYTHING))


def test_another_seed_or_epoch_gives_another_order(files):
    two_epochs = order_of(batches(files, epochs=2))
    orders = {tuple(two_epochs[:8]), tuple(two_epochs[8:]), tuple(order_of(batches(files, seed=4)))}
    assert len(orders) == 3
    assert tuple(range(8)) not in orders


def test_an_epoch_shows_each_sample_once_at_most_and_drops_the_last_partial_batch(files):
    got = batches(files, epochs=5)
    assert [len(labels) for _, labels in got] == [4] * 10
    epochs = [order_of(got[2 * i : 2 * i + 2]) for i in range(5)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert set().union(*epochs) == set(range(COUNT)), "those left out differ from epoch to epoch"


def test_an_epoch_of_whole_batches_shows_every_sample(files):
    assert sorted(order_of(batches(files[:8]))) == list(range(8))


@pytest.fixture(scope="module")
def three_epochs(files):
    return batches(files, epochs=3, augmentation=EVERYTHING)


@pytest.mark.parametrize("first_step", [1, 2, 3, 5, 6])
def test_from_a_first_step_on_equals_skipping(files, three_epochs, first_step):
    rest = batches(files, epochs=3, augmentation=EVERYTHING, first_step=first_step)
    assert_same(three_epochs[first_step:], rest)


@pytest.mark.parametrize("augmentation", [EVERYTHING, replace(EVERYTHING, patch=0.0)], ids=["with a patch", "without"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_shards_of_each_batch_in_order_are_the_batch_from_any_step_on(files, augmentation, count):
    whole = batches(files, epochs=3, augmentation=augmentation)
    shards = [batches(files, epochs=3, augmentation=augmentation, shard=(i, count), first_step=2) for i in range(count)]
    assert len({len(shard) for shard in shards}) == 1
    together = [[np.concatenate(parts) for parts in zip(*step, strict=True)] for step in zip(*shards, strict=True)]
    assert_same(whole[2:], together)


@pytest.mark.parametrize("shard", [(0, 3), (2, 2), (-1, 2), (0, 0)])
def test_shards_that_do_not_divide_a_batch_are_refused(files, shard):
    with pytest.raises(ValueError, match=r"`shard` must be .*batch of 4\. Received"):
        batches(files, shard=shard)


def test_an_augmented_image_without_a_patch_does_not_depend_on_the_batch_size(files):
    alone = replace(EVERYTHING, patch=0)
    fours, eights = (batches(files, batch_size=size, augmentation=alone) for size in (4, 8))
    np.testing.assert_array_equal(np.concatenate([images for images, _ in fours]), eights[0][0])
    assert order_of(fours) == order_of(eights)


def test_cached_images_of_any_sizes_are_those_of_the_files(files):
    for augmentation in (PLAIN, EVERYTHING):
        assert_same(
            batches(files, epochs=2, augmentation=augmentation),
            batches(files, epochs=2, augmentation=augmentation, cache=True),
        )


def cropped_and_flipped(path, crop, flip):
    """By hand: levels, whether cropped, whether flipped."""
    chance, *corner = crop
    image = pillow(path, SIZE)
    if chance < 0.5:  # 16 x 10 pixels out of 18 x 11
        top, left = (int(u * room) for u, room in zip(corner, (3, 2), strict=True))
        image = pillow(path, (18, 11))[top : top + SIZE[0], left : left + SIZE[1]]
    return (image[:, ::-1] if flip[0] < 0.5 else image), chance < 0.5, flip[0] < 0.5


def jittered(image, numbers):
    if not numbers[0] < 0.5:
        return image
    brighter = ImageEnhance.Brightness(Image.fromarray(image)).enhance(1 + 0.2 * (2 * numbers[1] - 1))
    return np.asarray(ImageEnhance.Contrast(brighter).enhance(1 + 0.15 * (2 * numbers[2] - 1)))


def greyed(image):
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def test_a_training_image_is_cropped_mirrored_patched_jittered_greyed_normalised_and_erased_in_this_order(files):
    """Each step by hand, given the numbers of the epoch."""
    seed, seen = 8, set()
    for step, (images, labels) in enumerate(batches(files, seed=seed, epochs=4, augmentation=EVERYTHING)):
        numbers = {name: rows.numpy()[labels] for name, rows in draw(seed, step // 2, COUNT).items()}
        by_hand, *did = zip(
            *(
                cropped_and_flipped(files[i], *row)
                for i, *row in zip(labels, numbers["crop"], numbers["flip"], strict=True)
            ),
            strict=True,
        )
        by_hand = np.stack(by_hand).astype(np.uint8)
        patched = patch(by_hand, numbers["patch"], 0.5).numpy()
        by_hand = [jittered(image, row) for image, row in zip(patched, numbers["jitter"], strict=True)]
        grey = numbers["grey"][:, 0] < 0.5
        by_hand = [greyed(image) if one else image for image, one in zip(by_hand, grey, strict=True)]
        erased = numbers["erase"][:, 0] < 0.5
        filled = np.all(np.abs(images - np.array([0.485, 0.456, 0.406])) < 1e-6, axis=-1)
        np.testing.assert_array_equal(filled.any(axis=(1, 2)), erased)
        # A level of resizing may become three: times 1.2, times 1.15, and cut to whole levels twice.
        difference = np.abs(levels(images) - by_hand)[~filled]
        assert difference.max() <= 3
        assert np.mean(difference > 1) < 0.01
        happened = (*did, numbers["patch"][:, 0] < 0.5, numbers["jitter"][:, 0] < 0.5, grey, erased)
        seen |= {(i, bool(value)) for i, values in enumerate(happened) for value in values}
    assert len(seen) == 12, "each of the six both happens and does not"


@pytest.mark.parametrize(("fill", "colour"), [("torchreid", (0.485, 0.456, 0.406)), ("mean", (0.0, 0.0, 0.0))])
def test_rectangles_are_erased_in_the_colour_of_the_fill(files, fill, colour):
    (images, _), (whole, _) = (
        batches(files, augmentation=Augmentation(flip=0, erase=chance, erase_fill=fill))[0] for chance in (1.0, 0.0)
    )
    erased = np.any(images != whole, axis=-1)
    assert erased.any(axis=(1, 2)).all()
    np.testing.assert_allclose(images[erased], np.broadcast_to(colour, (erased.sum(), 3)), atol=1e-6)


def test_a_batch_larger_than_the_images_is_refused(files):
    with pytest.raises(ValueError, match=r"`batch_size` must not exceed the 11 images\. Received: batch_size=12"):
        batches(files, batch_size=12)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_images_is_refused(files, batch_size):
    message = rf"`batch_size` must be a whole number of at least 1\. Received: batch_size={batch_size}"
    with pytest.raises(ValueError, match=message):
        batches(files, batch_size=batch_size)
    with pytest.raises(ValueError, match=message):
        image_batches(files, size=SIZE, batch_size=batch_size)


def test_paths_may_be_objects_or_none(files):
    found = next(iter(image_batches([Path(file) for file in files[:2]], size=SIZE)))
    np.testing.assert_array_equal(found, next(iter(image_batches(files[:2], size=SIZE))))
    assert list(image_batches([], size=SIZE)) == []
    (images, _), *_ = training_batches([Path(file) for file in files], np.zeros(11), size=SIZE, batch_size=4,
                                       augmentation=PLAIN, seed=0, epochs=1)  # fmt: skip
    assert images.shape == (4, *SIZE, 3)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_no_list_of_files(tmp_path, kind):
    options = {"size": SIZE, "batch_size": 2, "augmentation": PLAIN, "seed": 0, "epochs": 1}
    for make in (
        lambda path: image_batches(path, size=SIZE),
        lambda path: training_batches(path, [0, 1], **options),
        lambda path: Files(path, [0, 1], 2),
    ):
        with pytest.raises(ValueError, match=r"`paths` must be a list of image files, see `list_images`\. Received: "):
            make(kind(tmp_path))


@pytest.mark.parametrize("paths", [None, 3, ["a.jpg", None]])
def test_what_is_no_list_of_files_is_named(paths):
    with pytest.raises(ValueError, match=r"`paths` must be a list of image files, see `list_images`\. Received: "):
        image_batches(paths, size=SIZE)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("size", 16, r"\(height, width\)"),
        ("size", (16.5, 8), "a whole number of at least 1"),
        ("size", (0, 8), "a whole number of at least 1"),
        ("batch_size", "4", "a whole number of at least 1"),
        ("batch_size", True, "a whole number of at least 1"),
        ("size", ((16, 8), 8), "a whole number of at least 1"),
        ("batch_size", 2.5, "a whole number of at least 1"),
        ("seed", -1, "a whole number of at least 0"),
        ("seed", None, "a whole number of at least 0"),
        ("epochs", 1.5, "a whole number of at least 0"),
        ("first_step", -1, "a whole number of at least 0"),
    ],
)
def test_numbers_that_are_not_whole_or_out_of_range_are_named(files, name, value, rule):
    options, part = {"size": SIZE, "batch_size": 2, "seed": 0, "epochs": 1, name: value}, Files(files, range(11), 11)
    of_arrays = {key: option for key, option in options.items() if key != "size"}
    of_scores = {key: options[key] for key in ("size", "batch_size")}
    makers = [
        lambda: training_batches(files, range(11), augmentation=PLAIN, **options),
        lambda: resized_crops.training_batches(part, **options),
    ]
    if name != "size":
        makers.append(lambda: arrays.training_batches(np.zeros((11, 12, 8, 3), "uint8"), range(11), **of_arrays))
    if name in of_scores:
        makers += [lambda: image_batches(files, **of_scores), lambda: resized_crops.central_batches(part, **of_scores)]
    for make in makers:
        with pytest.raises(ValueError, match=f"`{name}` must be {rule}"):
            make()


@pytest.mark.parametrize("labels", [3, [[0]] * 10 + [[1, 2]], np.ma.array([0] * 11, mask=[True] + [False] * 10)])
def test_labels_that_are_no_array_or_masked_are_refused(files, labels):
    with pytest.raises(ValueError, match="`labels` must be integers that int32 holds"):
        training_batches(files, labels, size=SIZE, batch_size=4, augmentation=PLAIN, seed=0, epochs=1)


@pytest.mark.parametrize("augmentation", [None, {"flip": 0.5}])
def test_what_is_no_augmentation_is_refused(files, augmentation):
    with pytest.raises(ValueError, match=r"`augmentation` must be an `Augmentation`\. Received: augmentation="):
        batches(files, augmentation=augmentation)


@pytest.mark.parametrize("label", [0.5, float("nan"), 2**31, -(2**31) - 1])
def test_labels_that_int32_does_not_hold_are_refused(files, label):
    with pytest.raises(ValueError, match=rf"`labels` must be integers that int32 holds\. Received: {label}"):
        training_batches(files, np.array([1] * 10 + [label]), size=SIZE, batch_size=4, augmentation=PLAIN, seed=0,
                         epochs=1)  # fmt: skip


def test_integers_in_an_array_of_objects_are_labels():
    assert int32_labels(np.array([3, -1], object)).tolist() == [3, -1]


@pytest.mark.parametrize("label", [None, "3", 2**70, 1j])
def test_labels_that_are_no_numbers_are_refused(files, label):
    with pytest.raises(ValueError, match=r"`labels` must be integers that int32 holds\. Received: \[1, 1, "):
        training_batches(files, [1] * 10 + [label], size=SIZE, batch_size=4, augmentation=PLAIN, seed=0, epochs=1)


@pytest.mark.skipif(os.name != "posix", reason="other systems hold names as text")
def test_file_names_that_are_not_utf8_are_refused(files):
    paths = [*files[1:], os.fsdecode(b"M\xfcller.jpg")]
    for make in (lambda: batches(paths), lambda: image_batches(paths, size=SIZE)):
        with pytest.raises(ValueError, match=r"File names must be UTF-8\. Received: 1 others: b'M\\xfcller.jpg'"):
            make()


def test_as_many_labels_as_paths_are_needed(files):
    with pytest.raises(ValueError, match=r"`labels` must be one per path\. Received: 3 labels, 11 paths"):
        training_batches(files, [0, 1, 2], size=SIZE, batch_size=2, augmentation=PLAIN, seed=0, epochs=1)


READERS = {
    "evaluation": lambda paths: list(image_batches(paths, size=SIZE)),
    "training": lambda paths: batches(paths, batch_size=len(paths)),
    "cached training": lambda paths: batches(paths, batch_size=len(paths), cache=True),
}


@pytest.fixture
def unreadable(tmp_path):
    whole = save(tmp_path / "whole.jpg", scene(40, 30))
    truncated, text = tmp_path / "truncated.jpg", tmp_path / "text.jpg"
    truncated.write_bytes((tmp_path / "whole.jpg").read_bytes()[:-300])
    text.write_text("no image")
    return whole, {"truncated": str(truncated), "text": str(text), "missing": str(tmp_path / "missing.jpg")}


@pytest.mark.parametrize("kind", ["truncated", "text", "missing"])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_cannot_be_read_is_named(unreadable, kind, reader):
    whole, bad = unreadable
    paths = [whole, bad[kind], whole]
    with pytest.raises(ValueError, match="1 of 3 images cannot be read") as error, naming_unreadable(paths):
        READERS[reader](paths)
    assert bad[kind] in str(error.value)
    assert whole not in str(error.value)


def test_of_many_unreadable_files_the_first_three_are_named(tmp_path):
    paths = [str(tmp_path / f"missing{i}.jpg") for i in range(5)]
    with pytest.raises(ValueError, match="5 of 5 images cannot be read") as error, naming_unreadable(paths):
        list(image_batches(paths, size=SIZE))
    named = ", ".join(f"{path} (No such file or directory)" for path in paths[:3])
    assert str(error.value).endswith(f": {named}, ...")


def test_an_error_that_is_not_about_a_file_passes_unchanged(unreadable):
    whole, _ = unreadable
    with pytest.raises(tf.errors.OutOfRangeError, match="something else"), naming_unreadable([whole]):
        raise tf.errors.OutOfRangeError(None, None, "something else")


def given_order(epoch):
    return np.roll([0, 7, 7, 2, 10, 3, 3, 3], epoch)


def test_an_order_of_ones_own_is_followed_in_every_epoch_and_from_any_step(files):
    whole = batches(files, epochs=3, order=given_order, augmentation=EVERYTHING)
    assert order_of(whole) == [sample for epoch in range(3) for sample in given_order(epoch)]
    assert_same(batches(files, epochs=3, first_step=3, order=given_order, augmentation=EVERYTHING), whole[3:])


def test_a_sample_that_an_order_repeats_is_augmented_each_time_anew(files):
    (first, _), (second, _) = batches(files, order=given_order, augmentation=Augmentation(flip=0.0, erase=1.0))
    assert (first[1] != first[2]).any()
    assert (second[1] != second[2]).any()
    plain = batches(files, order=given_order)[0][0]
    np.testing.assert_array_equal(plain[1], plain[2])


def test_an_order_of_another_length_is_refused(files):
    with pytest.raises(tf.errors.InvalidArgumentError):
        batches(files, order=lambda epoch: [0, 1, 2])
