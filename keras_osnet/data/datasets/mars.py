"""MARS: tracklets of people, from its official folder with the lists of its evaluation."""

import re
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.attribute_lists import indices
from keras_osnet.data.datasets.official import listed, require, require_images
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import Record, Splits

FOLDER = "mars"
SIDES = ("train", "test")
EXPECTED_TREE = f"""{FOLDER}/
    bbox_train/   0001/0001C1T0001F001.jpg ...
    bbox_test/    0000/0000C1T0001F001.jpg, 00-1/00-1C1T0001F001.jpg ...
    info/         train_name.txt, test_name.txt, tracks_train_info.mat, tracks_test_info.mat, query_IDX.mat
"""
NAME = re.compile(r"(.{4})C\d+T\d+F\d+\.jpg")
EXAMPLE = "`0001C1T0001F001.jpg` (identity, camera, tracklet, frame)"
JUNK = -1


def load(root):
    """Reads the lists below `root`/mars. Query and gallery are tracklets, training images are single ones.

    The gallery has the test tracklets that are no queries, without junk (identity -1), as in torchreid. 0000 are
    distractors. Tracklets with the same identity and camera as the query are excluded.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` with the identities and cameras of the lists. A test record holds the frames of a tracklet.

    Raises:
        ValueError: if the folder is missing or differently laid out, if lists do not parse or contradict each other, or
            name images that do not exist.

    Reference: Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-identification (ECCV 2016).
    """
    lists = [f"{FOLDER}/info/{name}" for side in SIDES for name in (f"{side}_name.txt", f"tracks_{side}_info.mat")]
    required = (*(f"{FOLDER}/bbox_{side}" for side in SIDES), *lists, f"{FOLDER}/info/query_IDX.mat")
    require(root, "MARS's official folder", EXPECTED_TREE, required)
    folder = Path(root) / FOLDER
    train, test = (_tracklets(folder, side) for side in SIDES)
    path = folder / "info" / "query_IDX.mat"
    asked = set(indices(read_variables(path, ("query_IDX",))["query_IDX"], len(test), path, "query_IDX"))
    images = tuple(Record(path, r.identity, r.camera) for r in train if r for path in r.frames)
    query, gallery = (tuple(r for i, r in enumerate(test) if r and (i in asked) == side) for side in (True, False))
    return Splits(images, query, gallery)


def _tracklets(folder, side):
    """Returns the record of each tracklet, None for junk."""
    file, path = folder / "info" / f"{side}_name.txt", folder / "info" / f"tracks_{side}_info.mat"
    names = [f"{match[1]}/{match[0]}" for match in listed(file, NAME, EXAMPLE)]
    tracks, records = np.asarray(read_variables(path, (f"track_{side}_info",))[f"track_{side}_info"]), []
    if tracks.ndim != 2 or tracks.shape[1] != 4 or tracks.dtype.kind not in "iuf":
        raise ValueError(f"{path} must hold rows of first, last, identity, camera. Received: shape {tracks.shape}")
    for first, last, identity, camera in tracks.astype(int).tolist():
        frames, start = names[max(first, 1) - 1 : last], f"{identity:04d}/{identity:04d}C{camera}T"
        if identity == JUNK:
            records.append(None)
        elif not frames or len(frames) != last - first + 1 or not all(name.startswith(start) for name in frames):
            raise ValueError(
                f"{path} must hold ranges of names like {start.partition('/')[2]}... in {file.name}. "
                f"Received: {first} .. {last} of {len(names)} names, identity {identity}, camera {camera}"
            )
        else:
            paths = tuple(str(folder / f"bbox_{side}" / name) for name in frames)
            records.append(Record(paths[0], identity, camera, frames=paths))
    used = [name for name in names if not name.startswith("00-1/")]
    require_images(folder / f"bbox_{side}", used, file)
    return records
