"""SoccerNet's official folder for ReID, written here in small; its files stay empty, as only names are read."""

import pytest

from keras_osnet.data import DATASETS, load

GAME = "england_epl/2014-2015/2015-02-21 - 18-00 Chelsea 1 - 1 Burnley"
# The boxes are numbered over the actions; a person is called by any text without a hyphen.
FILES = {
    "train": ("10-0-p2-1-Player_team_left-None-r001-90x40.png", "9-0-p2-0-Player_team_left-10-001-90x40.png",
              "11-1-p5-0-Main_referee-None-002-80x33.png"),
    "test/query": ("0-7-p2-0-Player_team_right-7-000-120x50.png", "1-8-x9-0-Goalkeeper_team_left-1-004-130x51.png"),
    "test/gallery": ("0-7-p2-1-Player_team_right-7-r000-70x30.png", "1-7-p1-1-Player_team_right-None-r001-70x31.png",
                     "2-8-x9-2-Goalkeeper_team_left-1-r003-71x30.png"),
    "valid/query": ("0-3-p4-0-Player_team_right-7-000-120x50.png",),
    "valid/gallery": ("0-3-p4-1-Player_team_right-7-000-120x50.png",),
}  # fmt: skip


def official(root):
    for part, names in FILES.items():
        for name in names:
            folder = root / "soccernetv3" / "reid" / part / GAME / name.split("-")[1]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return root


def labels(records):
    return [(record.identity, record.camera, record.group) for record in records]


def test_actions_are_groups_and_people_of_test_and_training_differ(tmp_path):
    splits = load("soccernet", official(tmp_path))
    # Sorted by box: p2, p2, p5 of training are 0, 0, 1; p1, p2, x9 of the test are 2, 3, 4.
    assert labels(splits.train) == [(0, None, 0), (0, None, 0), (1, None, 1)]
    assert labels(splits.query) == [(3, None, 7), (4, None, 8)]
    assert labels(splits.gallery) == [(3, None, 7), (2, None, 7), (4, None, 8)]
    assert splits.grouped


def test_the_validation_part_is_a_row_of_its_own(tmp_path):
    splits = load("soccernet_valid", official(tmp_path))
    assert labels(splits.query) == labels(splits.gallery) == [(2, None, 3)]


def test_names_without_labels_as_in_the_challenge_set_are_refused(tmp_path):
    (official(tmp_path) / "soccernetv3" / "reid" / "test" / "query" / "2-8-70x30.png").touch()
    with pytest.raises(ValueError, match=r"named like 0-7-42-0.*3 images, 1 of other names: 2-8-70x30\.png"):
        load("soccernet", tmp_path)


def test_the_counts_are_those_of_the_challenge():
    assert DATASETS["soccernet"].images == (248234, 11777, 34989)
    assert DATASETS["soccernet_valid"].images == (248234, 11638, 34355)


def test_an_image_behind_a_broken_link_is_named(tmp_path):
    folder = official(tmp_path) / "soccernetv3" / "reid" / "test" / "gallery" / GAME / "7"
    gone = folder / "3-7-p2-2-Player_team_right-7-r002-70x30.png"
    gone.symlink_to(tmp_path / "unmounted.png")
    splits = load("soccernet", tmp_path)
    assert len(splits.gallery) == 3
    assert splits.passed_over == (f"{gone} (broken link)",)
