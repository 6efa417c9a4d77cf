"""DukeMTMC-reID's official folder, written here in small; its files stay empty, as only their names are read."""

from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load

FILES = {
    "bounding_box_train": ("0001_c2_f0046182.jpg", "0001_c8_f0050000.jpg", "7139_c8_f0131000.jpg"),
    "query": ("0005_c2_f0046985.jpg", "0045_c10_f1.jpg"),
    "bounding_box_test": ("0005_c5_f0051781.jpg", "0045_c1_f0057740.jpg", "2035_c1_f0044158.jpg"),
}


def official(root):
    for part, names in FILES.items():
        folder = root / "DukeMTMC-reID" / part
        folder.mkdir(parents=True)
        for name in (*names, "Thumbs.db"):
            (folder / name).touch()
    return root


def test_identity_and_camera_come_from_the_names(tmp_path):
    splits = load("dukemtmcreid", official(tmp_path))
    labels = [[(r.identity, r.camera) for r in part] for part in (splits.train, splits.query, splits.gallery)]
    assert labels == [[(1, 2), (1, 8), (7139, 8)], [(5, 2), (45, 10)], [(5, 5), (45, 1), (2035, 1)]]
    for part, records in zip(FILES, (splits.train, splits.query, splits.gallery), strict=True):
        assert [Path(r.path) for r in records] == [tmp_path / "DukeMTMC-reID" / part / name for name in FILES[part]]


def test_nobody_is_both_trained_on_and_tested(tmp_path):
    splits = load("dukemtmcreid", official(tmp_path))
    tested = {record.identity for record in splits.query + splits.gallery}
    assert {record.identity for record in splits.train}.isdisjoint(tested)


def test_a_missing_part_is_named_beside_the_expected_tree(tmp_path):
    (official(tmp_path) / "DukeMTMC-reID" / "query").rename(tmp_path / "queries")
    with pytest.raises(ValueError, match="`root` must hold the official folder DukeMTMC-reID") as error:
        load("dukemtmcreid", tmp_path)
    assert DATASETS["dukemtmcreid"].expected_tree in str(error.value)
    missing = tmp_path / "DukeMTMC-reID" / "query"
    assert str(error.value).endswith(f"Not found: {missing}. Received: root={tmp_path}")


def test_names_that_do_not_parse_are_counted_and_the_first_three_shown(tmp_path):
    folder = official(tmp_path) / "DukeMTMC-reID" / "bounding_box_test"
    for name in ("0002_c1s1_000451_03.jpg", "a.jpg", "b.jpg", "c.jpg"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"must hold images named like 0001_c2_f0046182\.jpg") as error:
        load("dukemtmcreid", tmp_path)
    assert str(error.value).startswith(str(folder))
    assert str(error.value).endswith("Received: 7 images, 4 of other names: 0002_c1s1_000451_03.jpg, a.jpg, b.jpg, ...")


def test_the_tables_row_holds_the_papers_counts():
    row = DATASETS["dukemtmcreid"]
    assert (row.identities, row.images) == ((702, 702, 1110), (16522, 2228, 17661))


def test_the_occluded_splits_have_the_same_names_in_a_folder_of_their_own(tmp_path):
    (official(tmp_path) / "DukeMTMC-reID").rename(tmp_path / "Occluded_Duke")
    splits = load("occluded_dukemtmc", tmp_path)
    assert [(r.identity, r.camera) for r in splits.query] == [(5, 2), (45, 10)]
    row = DATASETS["occluded_dukemtmc"]
    assert (row.identities, row.images) == ((702, 519, 1110), (15618, 2210, 17661))
    with pytest.raises(ValueError, match="`root` must hold the official folder DukeMTMC-reID"):
        load("dukemtmcreid", tmp_path)
