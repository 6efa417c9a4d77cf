"""Market-1501's official folder, written here in small; its files stay empty, as only their names are read."""

from collections import Counter
from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load
from keras_osnet.data.datasets.market1501 import EXPECTED_TREE, FOLDER

FILES = {
    "bounding_box_train": ("0002_c1s1_000451_03.jpg", "0007_c6s3_077392_01.jpg", "0002_c2s1_000551_01.jpg"),
    "query": ("0001_c1s1_001051_00.jpg", "2002_c1s0_016620005_00.jpg", "2382_c4s1_123456789_00.jpg"),
    "bounding_box_test": (
        "0000_c1s1_000151_01.jpg",
        "-1_c1s1_000401_03.jpg",
        "-1_c3s2_000101_00.jpg",
        "0001_c2s1_001076_02.jpg",
        "0000_c5s3_000151_12.jpg",
        "2002_c3s0_016620030_10.jpg",
    ),
    "gt_query": ("0001_c1s1_001051_00_good.mat",),
}


def official(root, files=FILES):
    for part, names in files.items():
        folder = root / FOLDER / part
        folder.mkdir(parents=True)
        for name in (*names, "Thumbs.db"):  # the official folder holds one in each part
            (folder / name).touch()
    (root / FOLDER / "readme.txt").touch()
    return root


def labels(records):
    return [(record.identity, record.camera) for record in records]


def test_the_three_parts_are_read_in_the_order_of_their_names(tmp_path):
    splits = load("market1501", official(tmp_path))
    assert labels(splits.train) == [(2, 1), (2, 2), (7, 6)]
    for records, part in ((splits.train, "bounding_box_train"), (splits.query, "query")):
        assert [Path(record.path) for record in records] == [
            tmp_path / FOLDER / part / name for name in sorted(FILES[part])
        ]


def test_identities_above_2000_with_long_frame_numbers_are_read(tmp_path):
    assert labels(load("market1501", official(tmp_path)).query) == [(1, 1), (2002, 1), (2382, 4)]


def test_junk_is_dropped_and_distractors_stay_in_the_gallery(tmp_path):
    gallery = load("market1501", official(tmp_path)).gallery
    assert labels(gallery) == [(0, 1), (0, 5), (1, 2), (2002, 3)]
    assert Counter(record.identity for record in gallery)[0] == 2


def test_a_path_may_be_a_string(tmp_path):
    assert load("market1501", str(official(tmp_path))) == load("market1501", tmp_path)


def test_people_without_attributes_have_none(tmp_path):
    splits = load("market1501", official(tmp_path))
    assert splits.attribute_names == ()
    assert {record.attributes for record in (*splits.train, *splits.query, *splits.gallery)} == {()}


def test_a_doubled_suffix_as_the_official_gallery_has_once_is_read(tmp_path):
    official(tmp_path)
    (tmp_path / FOLDER / "bounding_box_test" / "1488_c1s6_023021_00.jpg.jpg").touch()
    assert (1488, 1) in labels(load("market1501", tmp_path).gallery)


def test_a_missing_folder_shows_the_expected_tree_and_every_path_looked_for(tmp_path):
    with pytest.raises(ValueError, match="`root` must hold Market-1501's official folder") as error:
        load("market1501", tmp_path)
    message = str(error.value)
    assert EXPECTED_TREE in message
    assert message.endswith(f"Received: root={tmp_path}")
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        assert part in EXPECTED_TREE
        assert str(tmp_path / FOLDER / part) in message


def test_the_official_folder_itself_as_root_is_refused_with_the_expected_tree(tmp_path):
    root = official(tmp_path) / FOLDER
    with pytest.raises(ValueError) as error:
        load("market1501", root)
    assert EXPECTED_TREE in str(error.value)
    assert str(root / FOLDER / "query") in str(error.value)


def test_a_folder_without_one_part_names_that_part_alone(tmp_path):
    official(tmp_path)
    (tmp_path / FOLDER / "query").rename(tmp_path / FOLDER / "queries")
    with pytest.raises(ValueError) as error:
        load("market1501", tmp_path)
    not_found = str(error.value).split("Not found: ")[1]
    assert str(tmp_path / FOLDER / "query") in not_found
    assert "bounding_box" not in not_found


def test_names_that_do_not_parse_are_counted_and_the_first_three_shown(tmp_path):
    official(tmp_path)
    folder = tmp_path / FOLDER / "bounding_box_train"
    for name in ("d_person.jpg", "a_0002_c1.jpg", "c.jpg", "b_0002_c1s1.jpg"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"must hold images named like 0002_c1s1_000451_03\.jpg") as error:
        load("market1501", tmp_path)
    message = str(error.value)
    assert str(folder) in message
    assert "7 images, 4 of other names: a_0002_c1.jpg, b_0002_c1s1.jpg, c.jpg" in message
    assert "d_person" not in message


def test_a_part_without_images_is_refused(tmp_path):
    official(tmp_path, {**FILES, "query": ()})
    with pytest.raises(ValueError, match=r"Received: 0 images"):
        load("market1501", tmp_path)


def test_an_unknown_dataset_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError) as error:
        load("market-1501", tmp_path)
    message = str(error.value)
    assert message.startswith("`name` must be one of ")
    assert message.endswith("Received: name='market-1501'")
    assert all(repr(name) in message for name, row in DATASETS.items() if "retrieval" in row.tasks)


def test_the_tables_row_holds_the_papers_counts():
    row = DATASETS["market1501"]
    assert row.identities[:2] == (751, 750)
    assert row.images == (12936, 3368, 15913)
    assert row.expected_tree == EXPECTED_TREE
