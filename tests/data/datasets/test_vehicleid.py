"""VehicleID's official folder, written here in small; its images stay empty, as only names and lists are read."""

from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load, load_splits

LISTS = {
    "train_list": {1: (1, 2, 3), 5: (4, 5)},
    "test_list_800": {7: (6, 7, 8, 9), 9: (10, 11, 12), 2: (13, 14)},
    "test_list_1600": {7: (6, 7, 8, 9), 9: (10, 11, 12), 2: (13, 14), 3: (15, 16)},
    "test_list_2400": {3: (15, 16)},
}


def official(root):
    folder = root / "VehicleID_V1.0"
    for part in ("image", "train_test_split"):
        (folder / part).mkdir(parents=True)
    for name, vehicles in LISTS.items():
        lines = [(image, vehicle) for vehicle, images in vehicles.items() for image in images]
        for image, _ in lines:
            (folder / "image" / f"{image:07d}.jpg").touch()
        text = "".join(f"{image:07d} {vehicle}\n" for image, vehicle in lines)
        (folder / "train_test_split" / f"{name}.txt").write_text(text)
    return root


def numbers(records):
    return [(int(Path(record.path).stem), record.identity) for record in records]


@pytest.mark.parametrize("name", ["vehicleid_800", "vehicleid_1600", "vehicleid_2400"])
def test_one_image_of_each_test_vehicle_is_the_gallery_and_the_others_are_queries(tmp_path, name):
    splits = load(name, official(tmp_path), 3)
    assert numbers(splits.train) == [(1, 1), (2, 1), (3, 1), (4, 5), (5, 5)]
    vehicles = LISTS[name.replace("vehicleid", "test_list")]
    assert sorted(vehicle for _, vehicle in numbers(splits.gallery)) == sorted(vehicles)
    assert sorted(numbers(splits.query + splits.gallery)) == sorted((i, v) for v in vehicles for i in vehicles[v])
    assert {record.camera for record in splits.query + splits.gallery} == {None}


def test_the_ten_draws_differ_and_are_repeatable(tmp_path):
    draws = load_splits("vehicleid_800", official(tmp_path))
    assert len(draws) == 10
    assert draws == load_splits("vehicleid_800", tmp_path)
    drawn = {tuple(image for image, _ in numbers(draw.gallery)) for draw in draws}
    assert len(drawn) > 5  # of 4 x 3 x 2 possible galleries
    assert {gallery[-1] for gallery in drawn} == {13, 14}
    assert {draw.train for draw in draws} == {draws[0].train}


def test_a_list_that_names_missing_images_is_refused(tmp_path):
    folder = official(tmp_path) / "VehicleID_V1.0" / "image"
    for image in (1, 4):
        (folder / f"{image:07d}.jpg").unlink()
    with pytest.raises(ValueError, match=r"train_list\.txt names\. Received: 2 of them are missing: 0000001\.jpg, 000"):
        load("vehicleid_800", tmp_path)


def test_lines_of_another_form_are_refused(tmp_path):
    (official(tmp_path) / "VehicleID_V1.0" / "train_test_split" / "test_list_800.txt").write_text("0000006 7\n6,7\n")
    with pytest.raises(ValueError, match=r"lines like `0000001 42`.*Received: 2 lines, 1 of another form: 6,7"):
        load("vehicleid_800", tmp_path)


def test_a_list_that_is_not_there_is_named(tmp_path):
    (official(tmp_path) / "VehicleID_V1.0" / "train_test_split" / "test_list_2400.txt").unlink()
    assert load("vehicleid_800", tmp_path).query
    with pytest.raises(ValueError, match=r"Not found: .*test_list_2400\.txt"):
        load("vehicleid_2400", tmp_path)


def test_the_counts_are_those_of_the_lists():
    assert DATASETS["vehicleid_800"].images == (113346, 5693, 800)
    assert DATASETS["vehicleid_2400"].images == (113346, 17377, 2400)
