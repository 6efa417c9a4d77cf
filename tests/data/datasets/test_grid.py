"""GRID's official folder, written here in small: empty images, and partitions in MATLAB's structs."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import DATASETS, load

PROBE = {1: 5, 2: 1, 3: 8, 4: 2, 5: 6}  # identity: camera
GALLERY = {1: 6, 2: 3, 3: 7, 4: 1, 5: 2}
STRANGERS = (3, 1, 7)  # cameras of the distractors
# Partition k trains on these.
TRAINING = [(1 + k % 5, 1 + (k + 2) % 5) for k in range(10)]
PARTITIONS = range(DATASETS["grid"].splits)


def partitions(training=TRAINING):
    """A row of structs; person numbers come third, after numbers of feature rows that mean nothing here."""
    cells = np.empty((1, len(training)), object)
    for k, people in enumerate(training):
        rows = np.arange(len(people), dtype=float)[None]
        cells[0, k] = {"probeImIdx": rows + 100, "galleryImIdx": rows + 200, "personIdx": np.array([people], float)}
    return {"ftrset": np.ones((4, 3)), "trainIdxAll": cells}


def file_of(root):
    return root / "underground_reid" / "features_and_partitions.mat"


def official(root):
    strangers = [(0, camera) for camera in STRANGERS]
    for part, people in (("probe", list(PROBE.items())), ("gallery", strangers + list(GALLERY.items()))):
        folder = root / "underground_reid" / part
        folder.mkdir(parents=True)
        (folder / "Thumbs.db").touch()
        for number, (identity, camera) in enumerate(people):
            (folder / f"{identity:04d}_{camera}_2500{number}_107_32_106_221.jpeg").touch()
    savemat(file_of(root), partitions())
    return root


def labels(records):
    return sorted((Path(r.path).parent.name, r.identity, r.camera) for r in records)


@pytest.mark.parametrize("split", PARTITIONS)
def test_a_partition_trains_on_its_people_and_searches_the_gallery_and_all_strangers_for_the_others(tmp_path, split):
    splits = load("grid", official(tmp_path), split)
    probe, gallery = (
        [(part, identity, camera) for identity, camera in cameras.items()]
        for part, cameras in (("probe", PROBE), ("gallery", GALLERY))
    )
    train = TRAINING[split]
    assert labels(splits.train) == sorted(row for row in probe + gallery if row[1] in train)
    assert labels(splits.query) == sorted(row for row in probe if row[1] not in train)
    strangers = [("gallery", 0, camera) for camera in STRANGERS]
    assert labels(splits.gallery) == sorted(strangers + [row for row in gallery if row[1] not in train])


@pytest.mark.parametrize("split", PARTITIONS)
def test_nobody_is_both_trained_on_and_tested(tmp_path, split):
    splits = load("grid", official(tmp_path), split)
    trained, tested = ({r.identity for r in part} for part in (splits.train, splits.query + splits.gallery))
    assert trained
    assert trained.isdisjoint(tested)


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def of_version_7_3(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["trainIdxAll"] = np.ones((1, 10))
    content = path.read_bytes()
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header + content[len(header) :])


SPOILT = {
    "cut short": (cut_short, "must be a whole MATLAB file of version 5"),
    "no MATLAB file": (lambda path: path.write_text("partitions, once"), "must be a whole MATLAB file of version 5"),
    "version 7.3": (of_version_7_3, "must be a whole MATLAB file of version 5"),
    "no partitions": (lambda path: savemat(path, {"ftrset": np.ones(3)}), "Received: a file without trainIdxAll"),
    "numbers in place of structs": (lambda path: savemat(path, {"trainIdxAll": np.ones((1, 10))}), "ten structs"),
    "too few": (lambda path: savemat(path, partitions(TRAINING[:4])), "Received: 4 entries, entry 4: IndexError"),
    "people not in probe": (
        lambda path: savemat(path, partitions([(1, 2, 99, 77)] * 10)),
        r"Received for split 4: 4 identities, of which not in probe: \[77, 99\]",
    ),
    "nobody to train on": (
        lambda path: savemat(path, partitions([()] * 10)),
        "some, not all, of probe's .* 0 identities",
    ),
    "nobody left to test": (lambda path: savemat(path, partitions([tuple(PROBE)] * 10)), "some, not all, of probe's"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_partitions_are_named(tmp_path, case):
    spoil, message = SPOILT[case]
    spoil(file_of(official(tmp_path)))
    with pytest.raises(ValueError, match=message) as error:
        load("grid", tmp_path, 4)
    assert str(file_of(tmp_path)) in str(error.value)


def test_names_that_do_not_parse_are_counted_and_the_first_three_shown(tmp_path):
    folder = official(tmp_path) / "underground_reid" / "gallery"
    for name in ("d.jpeg", "b.jpeg", "c.jpeg", "a_1_2.jpeg"):
        (folder / name).touch()
    with pytest.raises(ValueError, match="must hold images named like 0001_1_25004_107_32_106_221") as error:
        load("grid", tmp_path)
    assert str(error.value).startswith(str(folder))
    assert str(error.value).endswith("Received: 12 images, 4 of other names: a_1_2.jpeg, b.jpeg, c.jpeg, ...")


def test_missing_paths_are_named_beside_the_expected_tree(tmp_path):
    file_of(official(tmp_path)).unlink()
    with pytest.raises(ValueError, match="`root` must hold GRID's official folder") as error:
        load("grid", tmp_path)
    assert DATASETS["grid"].expected_tree in str(error.value)
    assert str(error.value).endswith(f"Not found: {file_of(tmp_path)}. Received: root={tmp_path}")


def test_the_tables_row_holds_the_papers_counts():
    row = DATASETS["grid"]
    assert (row.identities, row.images, row.splits) == ((125, 125, 900), (250, 125, 900), 10)
