"""VIPeR's official folder, written here in small; its files stay empty, as only their names are read."""

from collections import Counter
from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load

IDENTITIES = (0, 1, 2, 5, 46, 91, 300, 301, 550, 872, 873)
SPLITS = range(DATASETS["viper"].splits)


def official(root, identities=IDENTITIES):
    for camera, angle in (("cam_a", 45), ("cam_b", 180)):
        folder = root / "VIPeR" / camera
        folder.mkdir(parents=True)
        for identity in identities:
            (folder / f"{identity:03d}_{angle * (identity % 2)}.bmp").touch()
    return root


def people(records):
    return [record.identity for record in records]


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_people_train_with_both_images_and_the_others_are_searched_once(tmp_path, split):
    splits = load("viper", official(tmp_path), split)
    assert set(Counter(people(splits.train)).values()) == {2}
    assert len(set(people(splits.train))) == 5  # of 11
    assert people(splits.query) == people(splits.gallery)
    assert sorted(people(splits.query) + list(set(people(splits.train)))) == list(IDENTITIES)


def test_even_splits_search_camera_b_for_those_of_camera_a_and_odd_ones_the_other_way_round(tmp_path):
    official(tmp_path)
    for even in SPLITS[::2]:
        there, back = load("viper", tmp_path, even), load("viper", tmp_path, even + 1)
        assert there.train == back.train
        assert (there.query, there.gallery) == (back.gallery, back.query)
        for records, camera, folder in ((there.query, 1, "cam_a"), (there.gallery, 2, "cam_b")):
            assert {(r.camera, Path(r.path).parent.name) for r in records} == {(camera, folder)}
            assert all(int(Path(r.path).name[:3]) == r.identity for r in records)


def test_the_ten_draws_differ_and_are_the_same_again(tmp_path):
    official(tmp_path, range(40))
    draws = [load("viper", tmp_path, split) for split in SPLITS[::2]]
    assert len({frozenset(people(draw.train)) for draw in draws}) == 10
    assert draws == [load("viper", tmp_path, split) for split in SPLITS[::2]]
    # A draw that favours some people would test the others in all ten.
    assert all(0 < sum(identity in people(draw.train) for draw in draws) < 10 for identity in range(40))


def test_people_without_just_one_image_of_each_camera_are_counted_and_the_first_three_shown(tmp_path):
    folder = official(tmp_path) / "VIPeR"
    (folder / "cam_a" / "002_0.bmp").unlink()
    for extra in ("cam_a/873_90.bmp", "cam_b/004_90.bmp", "cam_b/200_90.bmp"):
        (folder / extra).touch()
    with pytest.raises(ValueError, match="one image of each identity in cam_a and one in cam_b") as error:
        load("viper", tmp_path)
    assert str(error.value).startswith(str(folder))
    assert str(error.value).endswith("Received: 4 identities with more or fewer: 002, 004, 200")


def test_names_that_do_not_parse_are_counted_and_the_first_three_shown(tmp_path):
    folder = official(tmp_path) / "VIPeR" / "cam_b"
    for name in ("d.bmp", "b.bmp", "c.bmp", "a_45.bmp", "Thumbs.db"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"must hold images named like 000_45\.bmp") as error:
        load("viper", tmp_path)
    assert str(error.value).startswith(str(folder))
    assert str(error.value).endswith("Received: 15 images, 4 of other names: a_45.bmp, b.bmp, c.bmp, ...")


def test_a_missing_folder_shows_the_expected_tree(tmp_path):
    with pytest.raises(ValueError, match="`root` must hold VIPeR's official folder") as error:
        load("viper", tmp_path)
    assert DATASETS["viper"].expected_tree in str(error.value)
    missing = ", ".join(str(tmp_path / "VIPeR" / camera) for camera in ("cam_a", "cam_b"))
    assert str(error.value).endswith(f"Not found: {missing}. Received: root={tmp_path}")


def test_the_tables_row_holds_the_papers_counts():
    row = DATASETS["viper"]
    assert (row.identities, row.images, row.splits) == ((316, 316, 316), (632, 316, 316), 20)
