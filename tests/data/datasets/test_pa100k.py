"""PA-100K's official folder, written here in small, with its annotation.mat as MATLAB stores cells of texts."""

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import load_attributes
from keras_osnet.data.datasets.pa100k import ANNOTATION, FOLDER, IMAGES

NAMES = ("Female", "Hat", "Backpack")
PARTS = {
    "train": (("000001.jpg", (1, 0, 1)), ("000003.jpg", (0, 0, 0))),
    "val": (("000002.jpg", (0, 1, 1)),),
    "test": (("000005.jpg", (1, 1, 0)), ("000004.jpg", (0, 0, 1)), ("000006.jpg", (1, 0, 0))),
}


def cells(texts):
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column


def official(root, *, parts=PARTS, names=NAMES, nested=False, **changed):
    folder = root / IMAGES / ("release_data" if nested else "")
    folder.mkdir(parents=True)
    arrays = {"attributes": cells(names)}
    for part, rows in parts.items():
        arrays[f"{part}_images_name"] = cells([name for name, _ in rows])
        arrays[f"{part}_label"] = np.array([label for _, label in rows], "uint8")
        for name, _ in rows:
            (folder / name).touch()
    savemat(root / ANNOTATION, arrays | changed)
    return root


@pytest.mark.parametrize("nested", [False, True])
def test_images_and_labels_are_read_in_the_order_of_the_annotation(tmp_path, nested):
    splits = load_attributes("pa100k", official(tmp_path, nested=nested))
    folder = tmp_path / IMAGES / ("release_data" if nested else "")
    for part, rows in PARTS.items():
        records = getattr(splits, part)
        assert [(r.path, r.attributes) for r in records] == [(str(folder / name), label) for name, label in rows]
        assert all(r.identity is None and r.camera is None for r in records)
    assert splits.names == NAMES


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ("Female", "Hat", "Female")}, r"every attribute once\. Received: 3 names, repeated: \['Female'\]"),
        ({"train_label": np.zeros((3, 3))}, r"3 labels for each of the 2 names.* of shape \(3, 3\)"),
        ({"val_label": np.array([[0, 2, 1]])}, r"labels 0 or 1\. Received: labels of val with \[0 1 2\]"),
        ({"test_images_name": cells(["a.jpg", "000004.jpg", "b.jpg"])}, "2 of 3 of test are missing, first a.jpg"),
        ({"attributes": np.zeros((3, 2))}, "a column of texts in `attributes`"),
    ],
    ids=["a name repeats", "lengths differ", "no 0 or 1", "images missing", "no texts"],
)  # fmt: skip
def test_what_is_wrong_in_the_annotation_is_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        load_attributes("pa100k", official(tmp_path, **changed))


def test_an_annotation_that_is_cut_short_or_lacks_a_part_is_refused(tmp_path):
    official(tmp_path)
    path = tmp_path / ANNOTATION
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"MATLAB file .*annotation\.mat, but "):
        load_attributes("pa100k", tmp_path)
    savemat(path, {"attributes": cells(NAMES)})
    with pytest.raises(ValueError, match="without train_images_name, train_label, val_images_name"):
        load_attributes("pa100k", tmp_path)


def test_a_folder_without_the_set_gets_the_expected_layout(tmp_path):
    with pytest.raises(ValueError, match=rf"(?s)official folder:\n{FOLDER}/.*Not found: .*annotation\.mat"):
        load_attributes("pa100k", tmp_path)


def test_identities_cannot_be_held_out_of_a_set_with_a_val_part(tmp_path):
    with pytest.raises(ValueError, match="`val_identities` must be 0"):
        load_attributes("pa100k", official(tmp_path), val_identities=3)
