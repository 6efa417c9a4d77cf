"""RAPv2's official folders, written here in small, with a RAP_annotation.mat of the official fields."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import load_attributes
from tests.data.datasets.test_pa100k import cells

FILES = [f"CAM01-2014-02-15-2014021516{i:02d}32-tarid{i}-frame218-line1.png" for i in range(6)]
NAMES = ["Female", "AgeLess16", "up-Black", "hs-Hat", "action-Calling"]
CHOSEN = (1, 4, 5)  # numbers from 1
ROWS = {"train": (4, 1, 2), "val": (6,), "test": (3, 5)}
LABELS = np.array([[i % 2, i % 3 == 0, 9, i == 4, i < 2] for i in range(6)], float)


def official(root, **changed):
    for name in FILES:
        path = root / "RAPv2" / "RAP_dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    partitions = np.empty((1, 5), object)
    for i in range(5):
        order = slice(None, None, -1 if i else 1)
        partitions[0, i] = {f"{part}_index": np.array([rows], float)[:, order] for part, rows in ROWS.items()}
    fields = {"name": cells(FILES), "attribute": cells(NAMES), "data": LABELS,
              "selected_attribute": np.array([CHOSEN], float), "partition_attribute": partitions}  # fmt: skip
    (root / "RAPv2" / "RAP_annotation").mkdir()
    path = root / "RAPv2" / "RAP_annotation" / "RAP_annotation.mat"
    savemat(path, {"RAP_annotation": {k: v for k, v in (fields | changed).items() if v is not None}})
    return root


def test_the_first_partition_and_the_selected_attributes_are_read(tmp_path):
    splits = load_attributes("rapv2", official(tmp_path))
    assert splits.names == ("Female", "hs-Hat", "action-Calling")
    for part, numbers in ROWS.items():
        records = getattr(splits, part)
        assert [Path(record.path).name for record in records] == [FILES[number - 1] for number in numbers]
        expected = [tuple(int(LABELS[number - 1, column - 1]) for column in CHOSEN) for number in numbers]
        assert [record.attributes for record in records] == expected


def test_a_label_2_is_read_as_0(tmp_path):
    labels = LABELS.copy()
    labels[3, 0], labels[2, 4] = 2, 2
    splits = load_attributes("rapv2", official(tmp_path, data=labels))
    assert [record.attributes for record in splits.train] == [(0, 0, 0), (0, 0, 1), (1, 0, 1)]
    assert [record.attributes for record in splits.test] == [(0, 0, 0), (0, 1, 0)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"selected_attribute": np.array([[1.0, 3.0]])}, "labels 0 or 1. Received: labels of train with"),
        ({"selected_attribute": np.array([[0.0]])}, "numbers from 1 to 5 in `selected_attribute`"),
        ({"data": LABELS[:5]}, "must hold the struct `RAP_annotation` with"),
        ({"partition_attribute": None}, "must hold the struct `RAP_annotation` with"),
        ({"name": np.zeros((6, 1))}, "a column of texts in `name`"),
    ],
)
def test_what_is_wrong_in_the_annotation_is_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        load_attributes("rapv2", official(tmp_path, **changed))


def test_images_that_are_missing_are_counted(tmp_path):
    (official(tmp_path) / "RAPv2" / "RAP_dataset" / FILES[2]).unlink()
    with pytest.raises(ValueError, match="1 of 2 of test are missing, first CAM01"):
        load_attributes("rapv2", tmp_path)
