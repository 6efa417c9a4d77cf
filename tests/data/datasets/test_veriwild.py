"""VERI-Wild's official folder, written here in small; its images stay empty, as only names and lists are read."""

from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load

CAMERAS = {"00001/000001": 3, "00001/000002": 174, "00020/000007": 5, "00020/000008": 6, "00021/000009": 5}
LISTS = {
    "train_list": ("00001/000001", "00001/000002"),
    **{f"test_{size}_query": ("00020/000007",) for size in (3000, 5000, 10000)},
    **{f"test_{size}": ("00020/000008", "00021/000009") for size in (3000, 5000, 10000)},
}
LATER = {"train_list": "train_list_start0", "test_3000_query": "test_3000_id_query", "test_3000": "test_3000_id"}


def official(root, end="", names=None):
    folder = root / "VERI-Wild"
    (folder / "train_test_split").mkdir(parents=True)
    for image in CAMERAS:
        path = folder / "images" / f"{image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, images in LISTS.items():
        path = folder / "train_test_split" / f"{(names or {}).get(name, name)}.txt"
        path.write_text("".join(f"{image}{end}\n" for image in images))
    info = "".join(f"{image};{camera};2018-03-11 00:00:04;Audi;SUV;white\n" for image, camera in CAMERAS.items())
    (folder / "train_test_split" / "vehicle_info.txt").write_text(f"id/image;Camera ID;Time;Model;Type;Color\n{info}")
    return root


def labels(splits):
    return [[(r.identity, r.camera) for r in part] for part in (splits.train, splits.query, splits.gallery)]


EXPECTED = [[(1, 3), (1, 174)], [(20, 5)], [(20, 6), (21, 5)]]


@pytest.mark.parametrize("name", ["veriwild_3000", "veriwild_5000", "veriwild_10000"])
@pytest.mark.parametrize("end", ["", ".jpg"])
def test_vehicles_come_from_the_lists_and_cameras_from_the_table(tmp_path, name, end):
    splits = load(name, official(tmp_path, end))
    assert labels(splits) == EXPECTED
    assert all(Path(record.path).is_file() for record in splits.train + splits.query + splits.gallery)


def test_lists_under_their_later_names_are_read(tmp_path):
    assert labels(load("veriwild_3000", official(tmp_path, ".jpg 0", LATER))) == EXPECTED


def test_images_that_are_listed_but_not_there_are_named(tmp_path):
    (official(tmp_path) / "VERI-Wild" / "images" / "00021" / "000009.jpg").unlink()
    with pytest.raises(ValueError, match=r"test_3000\.txt names\. Received: 1 of them are missing: 00021/000009\.jpg"):
        load("veriwild_3000", tmp_path)


def test_an_image_without_a_camera_is_named(tmp_path):
    path = official(tmp_path) / "VERI-Wild" / "train_test_split" / "vehicle_info.txt"
    path.write_text(path.read_text().replace("00020/000007;", "00020/000017;"))
    with pytest.raises(ValueError, match=r"camera of each image of test_3000_query\.txt.*1 of 1 without: 00020/000007"):
        load("veriwild_3000", tmp_path)


def test_the_counts_are_those_of_the_paper():
    assert DATASETS["veriwild_3000"].images == (277797, 3000, 38861)
