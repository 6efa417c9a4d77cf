"""PETA's official folder, written here in small, with a PETA.mat of the official fields."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import load_attributes
from tests.data.datasets.test_pa100k import cells

NAMES = [f"attribute{i}" for i in range(40)]
ROWS = {"train": (4, 1, 2), "val": (6,), "test": (3, 5)}  # numbers from 1
LABELS = np.random.default_rng(0).integers(0, 2, (6, 44)).astype(float)


def official(root, labels=LABELS, rows=ROWS, names=NAMES):
    (root / "PETA" / "images").mkdir(parents=True)
    for i in range(1, 7):
        (root / "PETA" / "images" / f"{i:05d}.png").touch()
    partitions = np.empty((5, 1), object)
    for i in range(5):
        # The others have the parts in another order of numbers.
        partitions[i, 0] = {part: np.array(numbers, float)[:: -1 if i else 1, None] for part, numbers in rows.items()}
    peta = {
        "data": labels,
        "attribute": cells(names),
        "selected_attribute": np.arange(1.0, 36),
        "partition": partitions,
    }
    savemat(root / "PETA" / "PETA.mat", {"peta": peta})
    return root


def test_the_first_partition_and_the_35_usual_attributes_are_read(tmp_path):
    splits = load_attributes("peta", official(tmp_path))
    assert splits.names == tuple(NAMES[:35])
    for part, numbers in ROWS.items():
        records = getattr(splits, part)
        assert [Path(record.path).name for record in records] == [f"{number:05d}.png" for number in numbers]
        # The first four columns are no attributes.
        expected = [tuple(int(v) for v in LABELS[number - 1, 4:39]) for number in numbers]
        assert [record.attributes for record in records] == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": {**ROWS, "val": (7,)}}, r"numbers from 1 to 6 in `val`\. Received: \[7\.?\]"),
        ({"labels": np.full((6, 44), 2.0)}, "labels 0 or 1. Received: labels of train with"),
        ({"labels": np.zeros((6, 30))}, r"a row of 35 labels for each of the 3 names of train"),
        ({"rows": {**ROWS, "val": (np.nan,)}}, r"numbers from 1 to 6 in `val`"),
        ({"rows": {"train": (1, 2)}}, "a struct `peta` of labels, names, a selection and partitions"),
    ],
)
def test_what_is_wrong_in_the_annotation_is_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        load_attributes("peta", official(tmp_path, **changed))


def test_images_that_are_missing_are_counted(tmp_path):
    (official(tmp_path) / "PETA" / "images" / "00005.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 of test are missing, first 00005\.png"):
        load_attributes("peta", tmp_path)
