"""Mix4 from four official folders in small: empty images, CUHK03's as if they were already unpacked."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import DATASETS, load

# Every set has a person 2 before camera 1.
NAMES = {
    "Market-1501-v15.09.15": {
        "bounding_box_train": ("0002_c1s1_000451_03.jpg", "0009_c6s1_000451_03.jpg"),
        "query": ("0001_c1s1_001051_00.jpg",),
        "bounding_box_test": ("0001_c2s1_001051_00.jpg",),
    },
    "cuhk03": {
        "pictures/detected": ("1_001_1_01.png", "1_002_1_01.png", "1_002_2_06.png", "1_003_1_01.png"),
        "cuhk03_release": ("cuhk-03.mat",),
    },
    "DukeMTMC-reID": {
        "bounding_box_train": ("0002_c1_f0046182.jpg", "0030_c8_f0046182.jpg"),
        "query": ("0005_c2_f0046985.jpg",),
        "bounding_box_test": ("0005_c5_f0046985.jpg",),
    },
    "MSMT17_V1": {
        "train/0000": ("0000_000_03_0303morning_0008_0.jpg",),
        "train/0002": ("0002_000_01_0303morning_0008_0.jpg",),
        "test/0000": ("0000_000_04_0303morning_0008_0.jpg", "0000_000_05_0303morning_0008_0.jpg"),
    },
}
LISTS = {
    "train": "0002/0002_000_01_0303morning_0008_0.jpg 2\n0000/0000_000_03_0303morning_0008_0.jpg 0\n",
    "query": "0000/0000_000_04_0303morning_0008_0.jpg 0\n",
    "gallery": "0000/0000_000_05_0303morning_0008_0.jpg 0\n",
}
# (file, person, camera) of each set's training images, as the set itself has them; CUHK03 trains on 1 and 2.
TRAINING = (
    (("0002_c1s1_000451_03.jpg", 2, 1), ("0009_c6s1_000451_03.jpg", 9, 6)),
    (("1_001_1_01.png", 11, 1), ("1_002_1_01.png", 2, 1), ("1_002_2_06.png", 2, 2)),
    (("0002_c1_f0046182.jpg", 2, 1), ("0030_c8_f0046182.jpg", 30, 8)),
    (("0002_000_01_0303morning_0008_0.jpg", 2, 1), ("0000_000_03_0303morning_0008_0.jpg", 0, 3)),
)


def official(root):
    for dataset, folders in NAMES.items():
        for folder, names in folders.items():
            (root / dataset / folder).mkdir(parents=True)
            for name in names:
                (root / dataset / folder / name).touch()
    for name, text in LISTS.items():
        (root / "MSMT17_V1" / f"list_{name}.txt").write_text(text)
    files = np.empty((4, 1), object)
    files[:, 0] = NAMES["cuhk03"]["pictures/detected"]
    numbers = {"train_idx": [1, 2, 3], "query_idx": [4], "gallery_idx": [4], "labels": [11, 2, 2, 3]}
    variables = {name: np.array(values, float)[:, None] for name, values in numbers.items()}
    savemat(root / "cuhk03" / "cuhk03_new_protocol_config_detected.mat", variables | {"filelist": files})
    return root


def test_all_four_training_sets_and_nothing_else_are_there(tmp_path):
    splits = load("mix4", official(tmp_path))
    assert [Path(record.path).name for record in splits.train] == [row[0] for rows in TRAINING for row in rows]
    assert all(Path(record.path).is_file() for record in splits.train)
    assert (splits.query, splits.gallery) == ((), ())


@pytest.mark.parametrize("label", [1, 2], ids=["identities", "cameras"])
def test_labels_agree_within_a_set_as_before_and_never_between_sets(tmp_path, label):
    records = iter(load("mix4", official(tmp_path)).train)
    names = {}
    for dataset, rows in enumerate(TRAINING):
        for row in rows:
            record = next(records)
            merged = record.identity if label == 1 else record.camera
            assert names.setdefault(merged, (dataset, row[label])) == (dataset, row[label])
    assert sorted(names.values()) == sorted({(n, row[label]) for n, rows in enumerate(TRAINING) for row in rows})


@pytest.mark.parametrize("gone", [("cuhk03",), ("DukeMTMC-reID", "MSMT17_V1"), tuple(NAMES)], ids=len)
def test_all_missing_folders_are_named_at_once_beside_the_four_trees(tmp_path, gone):
    official(tmp_path)
    for name in gone:
        (tmp_path / name).rename(tmp_path / f"elsewhere-{name}")
    with pytest.raises(ValueError, match="`root` must hold the four official folders that Mix4 merges") as error:
        load("mix4", tmp_path)
    before, after = str(error.value).split("Not found: ")
    for name in ("market1501", "cuhk03", "dukemtmcreid", "msmt17"):
        assert DATASETS[name].expected_tree in before
    assert {path for path in NAMES if str(tmp_path / path) in after} == set(gone)


def test_the_tables_row_holds_the_sums_of_the_four_training_sets():
    row, sets = DATASETS["mix4"], [DATASETS[name] for name in ("market1501", "cuhk03", "dukemtmcreid", "msmt17")]
    assert row.identities == (sum(dataset.identities[0] for dataset in sets), 0, 0)
    assert row.images == (sum(dataset.images[0] for dataset in sets), 0, 0)
