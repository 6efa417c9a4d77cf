"""CIFAR's four versions, written here in small as their authors describe them, and the drawn set."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data.datasets import cifar
from keras_osnet.data.drawn import shapes

SIZES = {"train": 6, "test": 3}
CLASSES = {"cifar10": [f"kind{i}" for i in range(10)], "cifar100": [f"sort{i}" for i in range(100)]}


def content(name, seed=0):
    """Part -> (images (N, 3, 32, 32), labels) of random levels, planes first as in the files."""
    rng = np.random.default_rng(seed)
    return {
        part: (rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.integers(0, len(CLASSES[name]), count))
        for part, count in SIZES.items()
    }


def binary(root, name):
    found = content(name)
    folder = root / {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}[name]
    folder.mkdir()
    for part, (images, labels) in found.items():
        rows = [
            bytes(([7] if name == "cifar100" else []) + [label]) + image.tobytes()  # 7: a coarse label
            for image, label in zip(images, labels.tolist(), strict=True)
        ]
        if name == "cifar100":
            (folder / f"{part}.bin").write_bytes(b"".join(rows))
        elif part == "test":
            (folder / "test_batch.bin").write_bytes(b"".join(rows))
        else:
            for i, cut in enumerate(np.array_split(np.arange(len(rows)), 5), 1):
                (folder / f"data_batch_{i}.bin").write_bytes(b"".join(rows[k] for k in cut))
    names = "batches.meta.txt" if name == "cifar10" else "fine_label_names.txt"
    (folder / names).write_text("\n".join(CLASSES[name]) + "\n\n")
    return found


def python(root, name):
    found = content(name)
    folder = root / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder.mkdir()
    key = {"cifar10": b"labels", "cifar100": b"fine_labels"}[name]

    def write(file, images, labels):
        batch = {b"data": images.reshape(len(labels), -1), key: [int(label) for label in labels]}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))

    images, labels = found["train"]
    if name == "cifar100":
        write("train", images, labels)
    else:
        for i, cut in enumerate(np.array_split(np.arange(len(labels)), 5), 1):
            write(f"data_batch_{i}", images[cut], labels[cut])
    write("test" if name == "cifar100" else "test_batch", *found["test"])
    meta = {key.replace(b"labels", b"label_names"): [c.encode() for c in CLASSES[name]]}
    (folder / ("meta" if name == "cifar100" else "batches.meta")).write_bytes(pickle.dumps(meta, protocol=2))
    return found


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("write", [binary, python])
def test_every_version_gives_the_same_images_labels_and_names(tmp_path, name, write):
    expected, found = write(tmp_path, name), cifar.load(name, tmp_path)
    for part, (images, labels) in expected.items():
        given = getattr(found, part)
        assert given.shape == (SIZES[part], 32, 32, 3)
        assert given.dtype == np.uint8
        for i, row, column, channel in [(0, 0, 0, 0), (1, 5, 30, 2), (2, 31, 7, 1)]:
            assert given[i, row, column, channel] == images[i, channel, row, column]
        np.testing.assert_array_equal(getattr(found, f"{part}_labels"), labels)
    assert list(found.classes) == CLASSES[name]


def test_class_folders_of_cifar10_are_read_too(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "ant")):
            (tmp_path / "cifar10" / part / name).mkdir(parents=True)
            level = int(rng.integers(0, 100)) + 100 * label
            Image.new("RGB", (32, 32), (level, 0, 0)).save(tmp_path / "cifar10" / part / name / "0001.png")
    found = cifar.load("cifar10", tmp_path)
    assert found.classes == ("ant", "cat")
    assert (found.train[0, 0, 0, 0] >= 100, found.train[1, 0, 0, 0] < 100) == (True, True)
    np.testing.assert_array_equal(found.test_labels, [0, 1])


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    python(tmp_path, "cifar10")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({b"data": Harmful(tmp_path / "ran"), b"labels": [1]}, protocol=2))
    with pytest.raises(ValueError, match=r"data_batch_3 must hold 3072 bytes for each of its 1 labels"):
        cifar.load("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol_that_writes_arrays_is_read(tmp_path, protocol):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (2500, 3072), dtype=np.uint8), rng.integers(0, 100, 2500).tolist()
    python(tmp_path, "cifar100")
    batch = {"filenames": ["a"] * 2500, "fine_labels": labels, "coarse_labels": [3] * 2500, "data": images}
    (tmp_path / "cifar-100-python" / "test").write_bytes(pickle.dumps(batch, protocol))
    found = cifar.load("cifar100", tmp_path)
    np.testing.assert_array_equal(found.test_labels, labels)
    np.testing.assert_array_equal(found.test[1], images[1].reshape(3, 32, 32).transpose(1, 2, 0))


@pytest.mark.parametrize("size", [0, 3073 + 100])
def test_a_binary_file_of_the_wrong_size_is_named(tmp_path, size):
    binary(tmp_path, "cifar10")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin").write_bytes(bytes(size))
    with pytest.raises(ValueError, match=rf"data_batch_2\.bin must be records of 3073 bytes. Received: {size} bytes"):
        cifar.load("cifar10", tmp_path)


def hex_bomb():
    """A pickle of some hundred bytes that would double a text thirty times if it were run."""
    content = b"X\x08\x00\x00\x0012345678"
    for _ in range(30):
        content = b"c_codecs\nencode\n" + content + b"X\x09\x00\x00\x00hex_codec\x86R"
    return content + b"."


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"labels": [1]}, "test must hold a list 'fine_labels'"),
        ({b"fine_labels": [1]}, "3072 bytes for each of its 1 labels"),
        ({b"data": np.zeros((2, 3072), "uint8"), b"fine_labels": [1]}, "3072 bytes for each of its 1 labels"),
        ({b"data": np.zeros((3072, 2), "uint8").T, b"fine_labels": [1, 1]}, "3072 bytes for .* in another order"),
        ({b"data": np.zeros((1, 3072), "uint8"), b"fine_labels": [100]}, r"labels 0 \.\. 99\. Received: 100"),
        ({b"data": np.zeros((1, 3072), "uint8"), b"fine_labels": [2**70]}, r"labels 0 \.\. 99\. Received: 1180"),
        ({b"data": np.zeros((2, 3072), "uint8"), b"fine_labels": 1}, "3072 bytes for each of its 1 labels"),
        ({b"data": np.zeros((1, 3072), "uint8"), b"fine_labels": np.array([1])}, "3072 bytes for each of its 3 labels"),
        ([1, 2], "test must hold a list 'fine_labels'"),
        (b"cut", "test must be a pickle"),
        (hex_bomb(), "test must hold a list 'fine_labels'"),
        (b"\x80\x02\x8a\x04" + b"\x80" * 4, "test must be a pickle|a list"),
    ],
)
def test_a_python_batch_of_another_content_is_named(tmp_path, batch, message):
    python(tmp_path, "cifar100")
    content = batch if isinstance(batch, bytes) else pickle.dumps(batch, protocol=2)
    (tmp_path / "cifar-100-python" / "test").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        cifar.load("cifar100", tmp_path)


def test_a_missing_set_or_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)must hold one of\ncifar-100-binary/.*cifar-100-python/"):
        cifar.load("cifar100", tmp_path)
    binary(tmp_path, "cifar10")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with pytest.raises(ValueError, match=r"Not found: data_batch_4\.bin"):
        cifar.load("cifar10", tmp_path)


def test_the_drawn_set_follows_from_the_seed_and_has_all_classes():
    one, same, other = (shapes.draw(seed, train=80, test=20) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train, same.train)
    assert (one.train != other.train).mean() > 0.5
    assert one.train.shape == (80, 32, 32, 3)
    assert set(one.train_labels.tolist()) == set(range(10))
    # Images, not flat ground: the levels of each spread further than the noise of 12.
    assert one.train.std(axis=(1, 2, 3)).min() > 12
