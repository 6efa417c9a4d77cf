"""The set of rendered people that recipes/people.py makes."""

import csv
from pathlib import Path

from keras_osnet.data.datasets.market1501 import EXAMPLE, NAME
from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.records import Record, Splits
from keras_osnet.data.rendered.dataset import COLUMNS, FOLDER, SPLITS
from keras_osnet.files import read_json

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
        `Splits`, with attributes. Query and gallery are the validation side.

    Raises:
        ValueError: if the folder is missing, incomplete or differently laid out.
    """
    require(root, "a set of rendered people", EXPECTED_TREE, REQUIRED)
    folder = Path(root) / FOLDER
    if not read_json(folder / "settings.json").get("complete"):
        raise ValueError(
            f"{folder} must be complete. Run the command that began it again: it goes on where it stopped."
        )
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    labels = {row[0]: tuple(map(int, row[len(COLUMNS) :])) for row in rows}
    splits = []
    for split in SPLITS:
        records = []
        for path, match in parsed(folder / split, NAME, EXAMPLE):
            attributes = labels[f"{split}/{path.name}"] if int(match[1]) else ()
            records.append(Record(str(path), int(match[1]), int(match[2]), attributes))
        splits.append(tuple(records))
    return Splits(*splits, attribute_names=tuple(header[len(COLUMNS) :]))
