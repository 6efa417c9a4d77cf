"""The people of a rendered scene, as benchmarks read them."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.scripts import load

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
