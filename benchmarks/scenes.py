"""The people of a scene of `recipes/people.py --scene`, by the boxes of its ground truth."""

import sys
from pathlib import Path

from keras_osnet.files import read_json

sys.path.append(str(Path(__file__).resolve().parents[1] / "recipes"))


def people_of(folder, extractor, tracked):
    """Reads a scene.

    Args:
        folder: of the scene.
        extractor: `FeatureExtractor`.
        tracked: whether each person is a track; else ByteTrack makes the tracks.

    Returns:
        ({camera: `Sightings`}, ground truth as of `read_ground_truth`, frames per second).
    """
    from footage import Frames, read_ground_truth
    from sightings import sightings_of

    cameras = sorted(path.name for path in folder.glob("c[0-9]*") if path.is_dir())
    truth, rate = read_ground_truth(folder / "ground_truth.csv", cameras), read_json(folder / "settings.json")["rate"]
    sightings = {}
    for camera in cameras:
        boxes = {n: [(box, person if tracked else None) for person, box in some] for n, some in truth[camera].items()}
        sightings[camera] = sightings_of(camera, Frames(folder / camera, fps=rate), boxes, extractor, rate=rate)
    return sightings, truth, rate
