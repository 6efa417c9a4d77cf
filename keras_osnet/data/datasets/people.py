"""The set of rendered people that recipes/people.py makes."""

import csv
from dataclasses import replace
from pathlib import Path

from keras_osnet.data.csv_list import LARGEST
from keras_osnet.data.datasets.market1501 import EXAMPLE, NAME
from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.images import first_three
from keras_osnet.data.records import Record, Splits
from keras_osnet.data.rendered.dataset import COLUMNS, FOLDER, RECORDS, SPLITS
from keras_osnet.files import read_bounded, read_json, reading

REQUIRED = tuple(f"{FOLDER}/{part}" for part in (*SPLITS, "settings.json", "labels.csv"))
EXPECTED_TREE = f"""\
{FOLDER}/                      (made by `python recipes/people.py --output ROOT`)
    settings.json  labels.csv  identities.csv  README.md  LICENSE
    bounding_box_train/  000001_c012s1_0000003_00.jpg ...
    query/               900001_c002s1_0000000_00.jpg ...   (other people, cameras and scenes than in training)
    bounding_box_test/   000000_c001s1_0000001_00.jpg ...   (identity 0: a distractor)
"""


def load(root):
    """Reads the set in `root`/rendered-people.

    Returns:
        `Splits`, with attributes. Query and gallery are the validation set. Its cameras are others than those of
        training, although their files have the same numbers. They are numbered after them.

    Raises:
        ValueError: if the folder is missing, incomplete or differently laid out.
    """
    require(root, "a set of rendered people", EXPECTED_TREE, REQUIRED)
    folder = Path(root) / FOLDER
    with reading(folder / "settings.json", "of a set of rendered people"):
        complete = read_json(folder / "settings.json").get("complete")
    if not complete:
        raise ValueError(f"{folder} must be complete. Run the same command again: it continues where it stopped.")
    names, labels = _labels(folder / "labels.csv")
    splits, without = [], []
    for split in SPLITS:
        records = []
        for path, match in parsed(folder / split, NAME, EXAMPLE):
            attributes = labels.get(f"{split}/{path.name}", ()) if int(match[1]) else ()
            without += [path] * (len(attributes) != len(names) and int(match[1]) > 0)
            records.append(Record(str(path), int(match[1]), int(match[2]), attributes))
        splits.append(tuple(records))
    missing = sorted(labels.keys() - {f"{split}/{Path(r.path).name}" for split, some in zip(SPLITS, splits, strict=True)
                                      for r in some})  # fmt: skip
    if missing:
        remedy = "Run the same command again: it renders what is missing."
        if not (folder / RECORDS).is_dir():
            remedy = f"Without the folder {RECORDS} nothing is rendered again: copy the set again, or delete it."
        raise ValueError(
            f"{folder} must have an image for every row of labels.csv. Received: {len(missing)} rows without: "
            f"{first_three(missing)}. {remedy}"
        )
    if without:
        raise ValueError(
            f"{folder / 'labels.csv'} must have a row for every image. "
            f"Received: {len(without)} images without: {first_three(without)}"
        )
    train, *validation = splits
    last = max((record.camera for record in train), default=0)
    validation = [tuple(replace(r, camera=r.camera + last) for r in part) for part in validation]
    return Splits(train, *validation, attribute_names=names)


def _labels(path):
    """Names of the attributes, and the attributes of each file."""
    with reading(path, "the table of labels of rendered people"):
        header, *rows = csv.reader(read_bounded(path, LARGEST).decode().splitlines(), strict=True)
        labels = {row[0]: tuple(map(int, row[len(COLUMNS) :])) for row in rows}
        if tuple(header[: len(COLUMNS)]) != COLUMNS or {len(row) for row in rows} - {len(header)}:
            raise ValueError("it has other columns, or rows of another length")
        if set().union(*labels.values()) - {0, 1}:
            raise ValueError("it has attributes other than 0 and 1")
    return tuple(header[len(COLUMNS) :]), labels
