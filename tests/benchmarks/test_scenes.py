"""The people of a rendered scene, as benchmarks read them."""

import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.scripts import in_a_process_of_its_own, load

SCENES = load("benchmarks/scenes.py")
BOXES = {("1", 0, "7"): (2, 1, 12, 31), ("1", 1, "7"): (4, 1, 14, 31), ("2", 1, "8"): (20, 3, 30, 33)}
EXTRACTOR = SimpleNamespace(crops=lambda images, boxes: [np.ones(3) for some in boxes for _ in some])


@pytest.fixture
def scene(tmp_path):
    for camera in "12":
        (tmp_path / f"c{camera}").mkdir()
        for frame in range(2):
            Image.new("RGB", (48, 40)).save(tmp_path / f"c{camera}" / f"{frame:06d}.jpg")
    with open(tmp_path / "ground_truth.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("camera", "frame", "identity", "left", "top", "right", "bottom", "visible"))
        table.writerows((*key, *box, 1.0) for key, box in BOXES.items())
    (tmp_path / "settings.json").write_text(json.dumps({"rate": 6.0}))
    return tmp_path


@pytest.mark.parametrize("tracked", [True, False])
def test_a_scene_has_the_boxes_of_its_people_with_their_tracks_or_those_of_bytetrack(scene, tracked):
    if not tracked:
        pytest.importorskip("trackers", reason="needs trackers")
    sightings, truth, rate = SCENES.people_of(scene, EXTRACTOR, tracked)
    found = {
        (camera[1:], frame - 1, next(name for name, edges in truth[camera][frame] if edges == box)): box
        for camera, seen in sightings.items()
        for frame, box in zip(seen.frames, seen.boxes, strict=True)
    }
    assert (found, rate) == (BOXES, 6)
    tracks = [track for seen in sightings.values() for track in seen.tracks]
    assert (tracks == ["7", "7", "8"]) == tracked
    assert tracks[0] == tracks[1]


def test_thresholds_are_measured_also_where_a_camera_sees_nobody(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "scenes", SCENES)  # as Python finds it beside the script
    (scene / "c3").mkdir()
    Image.new("RGB", (48, 40)).save(scene / "c3" / "000000.jpg")
    features, tracks = load("benchmarks/thresholds.py").boxes_of(scene, EXTRACTOR)
    np.testing.assert_allclose(features, np.full((3, 3), 3**-0.5))
    assert tracks.tolist() == [["c1", "7"], ["c1", "7"], ["c2", "8"]]


def test_thresholds_need_more_people_than_are_enrolled(scene, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scenes", SCENES)
    benchmark, few = load("benchmarks/thresholds.py"), tmp_path / "few"
    (scene / "identities.csv").write_text("identity," + ",".join(benchmark.BODY) + "\n")
    with pytest.raises(SystemExit, match=r"error: `scenes` must show more than 10 people\. Received: 2"):
        benchmark.measure_scenes([scene], EXTRACTOR, camera_means=False)
    few.mkdir()
    for name in ("0001_c1.jpg", "0002_c1.jpg", "0002_c2.jpg", "-1_c1.jpg"):
        Image.new("RGB", (8, 16)).save(few / name)
    with pytest.raises(SystemExit, match=r"error: `images` must show more than 50 people\. Received: 2"):
        benchmark.measure_images([few], EXTRACTOR)


def test_the_table_of_weights_of_images_has_its_own_columns(scene):
    for package in ("tensorflow", "trackers", "cv2", "motmetrics"):
        pytest.importorskip(package)
    with open(scene / "ground_truth.csv", "a", newline="") as file:
        csv.writer(file).writerow(("2", 1, "7", 2, 1, 12, 31, 1.0))
    done = in_a_process_of_its_own("benchmarks/identities.py", "--scenes", scene, "--pooling")
    head, line, *rows = [text.strip("|").split("|") for text in done.stdout.splitlines()[1:]]
    assert [cell.strip() for cell in head] == ["scene", "tracks", "weights", "R1", "mAP"], done.stderr
    assert len(line) == 5
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [("3", "none"), ("3", "height"), ("3", "sharpness")]
