"""What is in the set of rendered people, in the layout of Market-1501."""

import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from keras_osnet.data import DATASETS, load
from keras_osnet.data.rendered.dataset import (
    COLUMNS,
    FOLDER,
    SPLITS,
    TRAIN,
    VALIDATION,
    PeopleSettings,
    people_of,
    shots,
    variant_of,
)
from keras_osnet.data.rendered.sequence import SequenceSettings

SETTINGS = PeopleSettings(
    seed=3, identities=20, images=7, cameras=12, validation_identities=6, validation_cameras=5, distractors=5
)


def every_shot(settings):
    return [shot for side, number in people_of(settings) for shot in shots(settings, side, number)]


def test_the_counts_are_those_of_the_settings():
    found = every_shot(SETTINGS)
    counts = Counter(shot.file.split("/")[0] for shot in found)
    assert counts == {"bounding_box_train": 20 * 7, "query": 6 * 4, "bounding_box_test": 6 * 12 + 5}
    assert len({shot.file for shot in found}) == len(found)


def test_folders_that_were_made_before_parts_could_be_left_out_are_complete_still():
    assert "without" not in SETTINGS.stamp
    assert replace(SETTINGS, without=("sensor",)).stamp["without"] == ["sensor"]
    with pytest.raises(ValueError, match="`without` must be of"):
        replace(SETTINGS, without=("sun",))


def test_names_parse_as_market1501s_and_say_identity_and_camera():
    for shot in every_shot(SETTINGS):
        match = re.fullmatch(r"(\d+)_c(\d+)s1_(\d+)_00\.jpg", shot.file.split("/")[1])
        assert (int(match[1]), int(match[2])) == (shot.identity, shot.camera)


def test_no_identity_of_the_training_side_is_in_query_or_gallery():
    identities = defaultdict(set)
    for shot in every_shot(SETTINGS):
        identities[shot.file.split("/")[0]].add(shot.identity)
    assert identities["bounding_box_train"].isdisjoint(identities["query"] | identities["bounding_box_test"])
    assert identities["query"] == identities["bounding_box_test"] - {0}


def test_every_query_has_a_gallery_image_from_another_camera():
    seen = defaultdict(set)
    for shot in every_shot(SETTINGS):
        if shot.file.startswith("bounding_box_test"):
            seen[shot.identity].add(shot.camera)
    queries = [shot for shot in every_shot(SETTINGS) if shot.file.startswith("query")]
    assert queries
    assert all(seen[shot.identity] - {shot.camera} for shot in queries)


def test_training_people_are_seen_by_many_cameras():
    for number in range(20):
        cameras = [shot.camera for shot in shots(SETTINGS, TRAIN, number)]
        assert len(set(cameras)) == 4
        assert set(cameras) <= set(range(1, 13))


def test_what_is_taken_of_a_person_does_not_depend_on_the_number_of_people():
    more = replace(SETTINGS, identities=40, validation_identities=9)
    assert shots(SETTINGS, TRAIN, 5) == shots(more, TRAIN, 5)
    assert shots(SETTINGS, VALIDATION, 2) == shots(more, VALIDATION, 2)
    assert shots(SETTINGS, TRAIN, 5) != shots(replace(SETTINGS, seed=4), TRAIN, 5)


@pytest.mark.parametrize(("changes", "low", "high"), [(0.0, 0, 0), (1.0, 1, 1), (0.5, 0.3, 0.7)])
def test_changes_say_how_many_images_show_another_variant(changes, low, high):
    found = every_shot(replace(SETTINGS, changes=changes))
    for count in (2, 4):
        variants = [variant_of(shot, count) for shot in found]
        assert low <= sum(variant > 0 for variant in variants) / len(found) <= high
        assert set(variants) <= set(range(count))
    assert {variant_of(shot, 1) for shot in found} == {0}  # nothing that could be left out


def test_a_set_with_changes_is_not_resumed_on_one_of_the_version_that_changed_fewer():
    assert SETTINGS.stamp["version"] == 1
    assert replace(SETTINGS, changes=0.5).stamp["version"] == 2


@pytest.mark.parametrize(
    "settings",
    [
        PeopleSettings(seed=np.int64(3), twins=np.float32(0.5), changes=np.float32(0.25)),
        SequenceSettings(seed=np.int64(3), seconds=np.float32(1.5)),
    ],
)
def test_settings_may_be_numbers_of_numpy_and_are_written_as_json(settings):
    assert json.loads(json.dumps(settings.stamp))["seed"] == 3


@pytest.mark.parametrize(
    "change",
    [{"identities": 0}, {"images": 1}, {"seed": -1}, {"twins": 1.5}, {"changes": -0.1}, {"height": 31}, {"height": 65},
     {"validation_identities": 0}, {"validation_cameras": 2}, {"distractors": -1}, {"cameras": 1}, {"images": 2.5},
     {"images": float("nan")}, {"images": float("inf")}, {"identities": 900_001}, {"images": 10**12},
     {"distractors": 10**12}, {"height": 20_000}, {"seed": "1"}, {"twins": "1"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(change):
    with pytest.raises(ValueError, match=rf"`{next(iter(change))}` must be .* Received: {next(iter(change))}="):
        replace(SETTINGS, **change)


def write_set(root, *, complete=True):
    folder = root / FOLDER
    rows = [
        ("bounding_box_train/00001_c002s1_0000000_00.jpg", 1, 2, 1, 0),
        ("query/00001_c001s1_0000000_00.jpg", 1, 1, 0, 1),
        ("bounding_box_test/00001_c003s1_0000001_00.jpg", 1, 3, 0, 1),
        ("bounding_box_test/00000_c003s1_0000100_00.jpg", 0, 3, 1, 1),
    ]
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow((*COLUMNS, "hat", "bag"))
        for name, identity, camera, hat, bag in rows:
            (folder / name).write_bytes(b"image")
            table.writerow((name, identity, camera, 0, 0, 64, 128, 1.0, 0, hat, bag))
    (folder / "settings.json").write_text(json.dumps({"complete": complete}))


def test_the_row_people_loads_the_folder_with_attributes(tmp_path):
    write_set(tmp_path)
    splits = load("people", tmp_path)
    assert [len(part) for part in (splits.train, splits.query, splits.gallery)] == [1, 1, 2]
    assert splits.attribute_names == ("hat", "bag")
    assert (splits.train[0].identity, splits.train[0].camera, splits.train[0].attributes) == (1, 2, (1, 0))
    assert {record.identity: record.attributes for record in splits.gallery} == {0: (), 1: (0, 1)}


def test_a_set_that_was_interrupted_is_refused(tmp_path):
    write_set(tmp_path, complete=False)
    with pytest.raises(ValueError, match=r"must be complete\. Run the same command again"):
        load("people", tmp_path)


def test_a_set_that_lacks_an_image_is_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / FOLDER / "bounding_box_test" / "00000_c003s1_0000100_00.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"an image for every row of labels\.csv\. Received: 1 rows without: .*00000_c003"
    ):
        load("people", tmp_path)


def test_a_missing_set_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"python recipes/people\.py --output ROOT"):
        load("people", tmp_path)
    assert "labels.csv" in DATASETS["people"].expected_tree


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("settings.json", "[]"),
        ("settings.json", "{"),
        ("labels.csv", ""),
        ("labels.csv", "file,identity\n"),
        ("labels.csv", ",".join((*COLUMNS, "hat")) + "\nquery/x.jpg,1\n"),
        ("labels.csv", ",".join((*COLUMNS, "hat")) + "\n" + "x," * len(COLUMNS) + "two\n"),
        ("labels.csv", ",".join((*COLUMNS, "hat")) + "\n" + "x," * len(COLUMNS) + "2\n"),
        ("labels.csv", ",".join((*COLUMNS, "hat")) + "\n"),
        ("labels.csv", "\0"),
    ],
)
def test_a_damaged_table_or_settings_are_one_error_that_names_the_file(tmp_path, name, content):
    write_set(tmp_path)
    (tmp_path / FOLDER / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{FOLDER}/{name}"):
        load("people", tmp_path)


def test_cameras_of_the_validation_set_are_others_than_those_of_training(tmp_path):
    write_set(tmp_path)  # cameras 2; 1; 3 and 3
    splits = load("people", tmp_path)
    cameras = [[record.camera for record in part] for part in (splits.train, splits.query, splits.gallery)]
    assert cameras == [[2], [3], [5, 5]]


@pytest.mark.parametrize(("records", "remedy"), [(True, "Run the same command again"), (False, "copy the set again")])
def test_the_remedy_for_a_missing_image_is_one_that_helps(tmp_path, records, remedy):
    write_set(tmp_path)
    (tmp_path / FOLDER / "bounding_box_test" / "00000_c003s1_0000100_00.jpg").unlink()
    if records:
        (tmp_path / FOLDER / ".records").mkdir()
    with pytest.raises(ValueError, match=remedy):
        load("people", tmp_path)
