"""Market-1501's attributes as their authors' file holds them: fields in another order in its two halves."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import load, load_attributes
from keras_osnet.data.datasets.market1501 import FOLDER
from keras_osnet.data.datasets.market1501_attributes import NAMES

IMAGES = {
    "bounding_box_train": ("0002_c1s1_000451_03.jpg", "0007_c6s3_077392_01.jpg", "0007_c1s3_077392_01.jpg"),
    "query": ("0001_c1s1_001051_00.jpg",),
    "bounding_box_test": ("0000_c1s1_000151_01.jpg", "0001_c2s1_001076_02.jpg", "0004_c2s1_001076_02.jpg"),
}
COLOURS = {
    "up": ("black", "white", "red", "purple", "yellow", "gray", "blue", "green"),
    "down": ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"),
}
FIELDS = (
    *("age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender"),
    *(f"{part}{colour}" for part, colours in COLOURS.items() for colour in colours),
)


def half(identities, fields, **values):
    """A struct whose fields are 1 but for those given."""
    arrays = {field: np.ones((1, len(identities)), "uint8") for field in fields}
    arrays |= {field: np.array([row], "uint8") for field, row in values.items()}
    index = np.empty((1, len(identities)), object)
    index[0] = identities
    return arrays | {"image_index": index}


def official(root, **changed):
    for part, names in IMAGES.items():
        (root / FOLDER / part).mkdir(parents=True)
        for name in names:
            (root / FOLDER / part / name).touch()
    halves = {
        # 0002: an adult with a red top and a hat; 0007: a teenager, female, in brown shorts.
        "train": half(
            ["0002", "0007"], FIELDS[::-1],
            age=[3, 2], upred=[2, 1], hat=[2, 1], gender=[1, 2], downbrown=[1, 2], down=[1, 2], clothes=[2, 2],
        ),
        "test": half(["0001"], FIELDS, age=[4], backpack=[2], hair=[2], up=[2]),
    }  # fmt: skip
    savemat(root / "market_attribute.mat", {"market_attribute": halves | changed})
    return root


def has(record):
    return {name for name, value in zip(NAMES, record.attributes, strict=True) if value}


def test_27_fields_become_30_attributes_found_by_name(tmp_path):
    splits = load("market1501_attributes", official(tmp_path))
    assert len(FIELDS) == 27
    assert len(set(splits.attribute_names)) == 30
    found = {record.identity: has(record) for record in splits.train + splits.query}
    assert found == {
        2: {"age adult", "up red", "hat", "pants"},
        7: {"age teenager", "female", "down brown", "short lower body clothing", "pants"},
        1: {"age old", "backpack", "long hair", "short sleeves"},
    }


def test_distractors_and_unknown_identities_stay_in_the_gallery_without_attributes(tmp_path):
    splits = load("market1501_attributes", official(tmp_path))
    assert [(r.identity, bool(r.attributes)) for r in splits.gallery] == [(0, False), (1, True), (4, False)]
    test = load_attributes("market1501_attributes", tmp_path).test
    assert [Path(r.path).name for r in test] == ["0001_c1s1_001051_00.jpg", "0001_c2s1_001076_02.jpg"]


def test_the_last_training_identities_can_be_kept_for_validation(tmp_path):
    splits = load_attributes("market1501_attributes", official(tmp_path), val_identities=1)
    assert [r.identity for r in splits.train] == [2]
    assert [r.identity for r in splits.val] == [7, 7]
    with pytest.raises(ValueError, match="`val_identities` must be below 2"):
        load_attributes("market1501_attributes", tmp_path, val_identities=2)
    with pytest.raises(ValueError, match=r"below 2, not negative, and an integer\. Received: val_identities=-1"):
        load_attributes("market1501_attributes", tmp_path, val_identities=-1)
    for wrong in ("1", 0.5, None):
        with pytest.raises(ValueError, match=r"an integer\. Received: val_identities="):
            load_attributes("market1501_attributes", tmp_path, val_identities=wrong)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (half(["0002"], FIELDS), "must hold all training identities. Received: 1 without, first 7"),
        (half(["0002", "0007"], FIELDS, hat=[3, 1]), r"hat must be 2 values of 1 \.\. 2"),
        (half(["0002", "0007"], FIELDS, bag=[1, 1, 2]), "bag must be 2 values"),
        (half(["0002", "0007"], FIELDS[:-1]), "KeyError: 'down brown'"),
    ],
    ids=["an identity is missing", "a value is out of its range", "too many values", "a field is missing"],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, train, message):
    with pytest.raises(ValueError, match=message):
        load("market1501_attributes", official(tmp_path, train=train))


def test_a_file_that_is_missing_or_cut_short_is_refused(tmp_path):
    path = official(tmp_path) / "market_attribute.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"MATLAB file .*market_attribute\.mat, but "):
        load("market1501_attributes", tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"Not found: .*market_attribute\.mat"):
        load("market1501_attributes", tmp_path)
