"""Market-1501 with attributes of its identities, by Lin et al."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets import market1501
from keras_osnet.data.datasets.official import require
from keras_osnet.data.matlab import read_variables

FILE = "market_attribute.mat"
EXPECTED_TREE = f"""{market1501.EXPECTED_TREE}\
{FILE}                     (or Market-1501_Attribute/{FILE})
"""
# A field of two values becomes one attribute, named after its second value. Each age becomes an attribute. Each colour
# (up..., down...) has a field, in which 2 stands for yes.
AGES = ("young", "teenager", "adult", "old")
SECOND_VALUES = {
    "gender": "female",
    "hair": "long hair",
    "up": "short sleeves",
    "down": "short lower body clothing",
    "clothes": "pants",
}
NAMES = (
    *(f"age {age}" for age in AGES),
    *SECOND_VALUES.values(),
    *("hat", "backpack", "bag", "handbag"),
    *(f"up {colour}" for colour in ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")),
    *(f"down {colour}" for colour in ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")),
)


def load(root):
    """Reads Market-1501 and 30 binary attributes, the same for all images of an identity.

    27 fields become 30 attributes: one for each of the four values of `age`, and one for the second value of each other
    field. Fields are found by name, because the two halves of the file list them in different orders.

    Args:
        root: folder that holds the official folder and market_attribute.mat.

    Returns:
        `Splits`. Records of distractors and of identities that are not in the file have no attributes.

    Raises:
        ValueError: if the folder or the file is missing, damaged or of another layout, a value is out of its range, or
            a training identity has no attributes.

    Reference: Lin et al., Improving Person Re-identification by Attribute and Identity Learning (2019).
    """
    path = next((p for p in (Path(root) / "Market-1501_Attribute" / FILE, Path(root) / FILE) if p.is_file()), None)
    if path is None:
        require(root, "Market-1501 and its attributes", EXPECTED_TREE, (FILE,))
    splits, attributes = market1501.load(root), _read(path)
    without = sorted({r.identity for r in splits.train} - set(attributes))
    if without:
        raise ValueError(
            f"{path} must hold all training identities. Received: {len(without)} without, first {without[0]}"
        )
    train, query, gallery = (
        tuple(replace(r, attributes=attributes.get(r.identity, ())) for r in records)
        for records in (splits.train, splits.query, splits.gallery)
    )
    return replace(splits, train=train, query=query, gallery=gallery, attribute_names=NAMES)


def _read(path):
    """Returns a dict of identity to attributes in the order of `NAMES`."""
    halves, found = read_variables(path, ("market_attribute",))["market_attribute"], {}
    try:
        for half in ("train", "test"):
            fields = halves[half]
            identities = [int(text) for text in fields["image_index"].ravel()]
            columns = [column for name, values in fields.items() if name != "image_index"
                       for column in _columns(name, values.ravel(), len(identities))]  # fmt: skip
            table = dict(columns)
            found |= zip(identities, zip(*(table[name].tolist() for name in NAMES), strict=True), strict=True)
    except (KeyError, AttributeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} must hold the structs train and test, with a value per identity in each of 27 fields. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return found


def _columns(field, values, count):
    """Returns (name, 0 or 1 per identity) of each attribute of a field."""
    largest = len(AGES) if field == "age" else 2
    if values.shape != (count,) or not np.isin(values, range(1, largest + 1)).all():
        raise ValueError(f"{field} must be {count} values of 1 .. {largest}, not {values.shape}: {np.unique(values)}")
    if field == "age":
        return [(f"age {age}", (values == value).astype(int)) for value, age in enumerate(AGES, 1)]
    name = SECOND_VALUES.get(field, field)
    for part in ("up", "down"):
        if name == field and field.startswith(part):
            name = f"{part} {field.removeprefix(part)}"
    return [(name, (values == 2).astype(int))]
