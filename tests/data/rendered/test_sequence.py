"""Rendered sequences: where people walk, and the ground truth of what cameras see."""

import csv
import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data.rendered import cameras, scenes
from keras_osnet.data.rendered.making import make
from keras_osnet.data.rendered.sequence import Path, SequenceSettings, cameras_see, paths_of, scene_of_camera

SCENE = scenes.make_scene(np.random.default_rng(8))
SETTINGS = SequenceSettings(seed=4, people=5, cameras=4, seconds=1.5, rate=2, height=180)


@pytest.mark.parametrize(
    "change",
    [{"people": 0}, {"people": 256}, {"cameras": 1}, {"seconds": 0}, {"rate": 0}, {"height": 10}, {"cameras": 10**12},
     {"rate": 10**12}, {"height": 20_000}, {"people": "5"}, {"seconds": "1"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(change):
    with pytest.raises(ValueError, match=rf"`{next(iter(change))}` must be .* Received: {next(iter(change))}="):
        replace(SETTINGS, **change)


def test_half_of_the_cameras_share_a_scene_and_the_others_have_their_own():
    assert [scene_of_camera(replace(SETTINGS, cameras=6), camera) for camera in range(6)] == [0, 0, 0, 1, 2, 3]
    assert [scene_of_camera(replace(SETTINGS, cameras=2), camera) for camera in range(2)] == [0, 0]


def test_the_jobs_cover_every_frame_of_every_camera_once():
    settings = replace(SETTINGS, seconds=23, rate=2)
    assert cameras_see(settings) == [(camera, first) for camera in range(4) for first in (0, 20, 40)]


def test_a_walk_goes_along_its_lines_at_its_speed():
    path = Path(0, 10.0, np.array([[0.0, 0], [3, 0], [3, 4]]), 2.0)
    assert path.at(9.9) is None
    place, heading, walked = path.at(11.0)
    np.testing.assert_allclose(place, [2, 0])
    assert heading == pytest.approx(np.pi / 2)
    place, heading, walked = path.at(12.5)
    np.testing.assert_allclose(place, [3, 2])
    assert heading == pytest.approx(0)
    assert walked == pytest.approx(5)
    assert path.ends == pytest.approx(13.5)
    assert path.at(13.6) is None


def test_nobody_is_in_two_scenes_at_once():
    for number in range(30):
        paths = paths_of(SETTINGS, number, [(4, 8), (5, 9), (3, 6)])
        assert sorted(path.scene for path in paths) == [0, 1, 2]
        assert all(before.ends < after.begins for before, after in pairwise(paths))


def test_the_matrix_of_a_camera_projects_as_the_camera_does():
    camera = cameras.Camera(
        number=0, scene=0, mount="wall", position=(1.0, 2.5, -6.0), yaw=10.0, pitch=-8.0, roll=2.0, field=40.0,
        distances=(4, 15), sensor="common", rows=480, light="sun", sun_height=40.0, brightness=1.0, exposure=1.0,
        shoulder=2.0, gains=(1, 1, 1), gamma=1.0, contrast=1.0, saturation=1.0, blur=0.0, noise=0.0, quality=90,
        sharpen=0.0, tight=0.5, wet=0.0, lamps=((0, 0, 3), (1, 1, 3)),
    )  # fmt: skip
    points = np.array([[0.0, 0, 0], [1, 1.7, 2], [-2, 0.5, 5]])
    homogeneous = cameras.pixel_matrix(camera) @ np.column_stack([points, np.ones(3)]).T
    np.testing.assert_allclose((homogeneous[:2] / homogeneous[2]).T, cameras.project(camera, points)[:, :2])
    np.testing.assert_allclose(homogeneous[2], cameras.project(camera, points)[:, 2])
    # What lies ahead is at the middle of the picture; what is higher is nearer to its top.
    level = replace(camera, yaw=0.0, pitch=0.0, roll=0.0)
    ahead, above, left = cameras.project(level, [(1.0, 2.5, 4.0), (1.0, 3.0, 4.0), (2.0, 2.5, 4.0)])
    np.testing.assert_allclose(ahead[:2], [level.columns / 2, 240])
    assert above[1] < ahead[1]
    assert left[0] < ahead[0]


def test_a_part_of_the_picture_fills_the_image_that_shows_it():
    camera = cameras.draw_camera(np.random.default_rng(3), 0, 0, SCENE)
    box = np.array([100.0, 50, 300, 450])
    matrix = cameras.view_projection(camera, box)
    rays = cameras.rays(camera, box, (200, 400))
    for column, row, expected in ((0, 400, (-1, 1)), (200, 0, (1, -1)), (100, 200, (0, 0))):
        point = np.array(camera.position) + 7 * (rays[0] + column * rays[1] + row * rays[2])
        clip = matrix @ [*point, 1]
        np.testing.assert_allclose(clip[:2] / clip[3], (expected[0], expected[1]), atol=1e-9)
        assert clip[3] == pytest.approx(7)


@pytest.fixture(scope="module")
def made(cache, tmp_path_factory):
    return make(SETTINGS, tmp_path_factory.mktemp("sequence"), cache=cache, processes=2)


def ground_truth(folder):
    with open(folder / "ground_truth.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_every_camera_has_every_frame(made):
    for camera in range(1, 5):
        files = sorted((made / f"c{camera}").iterdir())
        assert [file.name for file in files] == ["000000.jpg", "000001.jpg", "000002.jpg"]
        assert {Image.open(file).size for file in files} == {(320, 180)}


def test_people_stand_where_the_matrix_of_the_camera_says(made):
    views = json.loads((made / "cameras.json").read_text())
    rows = ground_truth(made)
    assert rows
    for row in rows:
        matrix = np.array(views[f"c{int(row['camera'])}"]["matrix"])
        x, y, depth = matrix @ [row["x"], 0.0, row["z"], 1.0]
        margin = 0.5 * (row["right"] - row["left"]) + 3
        assert depth > 0
        assert row["left"] - margin < x / depth < row["right"] + margin
        assert row["top"] < y / depth < row["bottom"] + 0.25 * (row["bottom"] - row["top"])
        assert 0 < row["visible"] <= 1


def test_overlapping_cameras_agree_on_where_people_are(made):
    places = defaultdict(set)
    for row in ground_truth(made):
        if row["camera"] <= 2:
            places[row["frame"], row["identity"]].add((row["x"], row["z"]))
    assert places
    assert all(len(found) == 1 for found in places.values())


def test_one_process_gives_the_same_bytes_as_two(made, cache, tmp_path):
    again = make(SETTINGS, tmp_path, cache=cache, processes=1)
    for path in sorted(made.rglob("*")):
        if path.is_file():
            assert (again / path.relative_to(made)).read_bytes() == path.read_bytes(), path.name
