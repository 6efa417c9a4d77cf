"""MARS's official folder, written here in small; its images stay empty, as only names and lists are read."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from keras_osnet.data import DATASETS, load

# Identity, camera, number of frames of each tracklet, in the order of the lists.
TRACKS = {
    "train": ((1, 1, 3), (1, 4, 1), (7, 2, 2)),
    "test": ((-1, 1, 2), (0, 2, 1), (2, 1, 3), (2, 5, 2), (4, 6, 1), (4, 1, 1)),
}
QUERIES = (3, 5)  # numbers from 1


def names_of(side):
    names, tracks = [], []
    for number, (identity, camera, frames) in enumerate(TRACKS[side], 1):
        person = f"{identity:04d}" if identity >= 0 else "00-1"
        tracks.append([len(names) + 1, len(names) + frames, identity, camera])
        names += [f"{person}C{camera}T{number:04d}F{frame:03d}.jpg" for frame in range(1, frames + 1)]
    return names, np.array(tracks, float)


def official(root, **changed):
    info = root / "mars" / "info"
    info.mkdir(parents=True)
    for side in TRACKS:
        names, tracks = names_of(side)
        for name in names:
            path = root / "mars" / f"bbox_{side}" / name[:4] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (info / f"{side}_name.txt").write_text("\n".join(names) + "\n")
        savemat(info / f"tracks_{side}_info.mat", {f"track_{side}_info": changed.get(side, tracks)})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([changed.get("queries", QUERIES)], "uint16")})
    return root


def rows(records):
    return [(r.identity, r.camera, [Path(frame).name for frame in r.paths]) for r in records]


def test_tracklets_are_queries_and_gallery_and_training_images_are_single_ones(tmp_path):
    splits = load("mars", official(tmp_path))
    train, test = names_of("train")[0], names_of("test")[0]
    labels = [(1, 1), (1, 1), (1, 1), (1, 4), (7, 2), (7, 2)]
    assert rows(splits.train) == [(*label, [name]) for label, name in zip(labels, train, strict=True)]
    assert rows(splits.query) == [(2, 1, test[3:6]), (4, 6, test[8:9])]
    assert rows(splits.gallery) == [(0, 2, test[2:3]), (2, 5, test[6:8]), (4, 1, test[9:])]
    assert all(Path(path).is_file() for r in splits.train + splits.query + splits.gallery for path in r.paths)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": np.array([[1, 99, 2, 1.0]])}, r"tracks_test_info\.mat .*Received: 1 \.\. 99 of 10 names"),
        ({"test": np.array([[0, 1, 2, 1.0]])}, r"Received: 0 \.\. 1 of 10 names"),
        ({"train": np.array([[1, 3, 1, 2.0]])}, r"names like 0001C2T.* in train_name\.txt.*identity 1, camera 2"),
        ({"train": np.array([[1, 4, 1, 1.0]])}, r"names like 0001C1T"),
        ({"train": np.ones((2, 3))}, r"rows of first, last, identity, camera\. Received: shape \(2, 3\)"),
        ({"queries": (3, 7)}, r"query_IDX\.mat must hold numbers from 1 to 6 in `query_IDX`"),
    ],
)
def test_lists_that_contradict_each_other_are_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        load("mars", official(tmp_path, **changed))


def test_images_that_are_listed_but_not_there_are_named(tmp_path):
    folder = official(tmp_path) / "mars" / "bbox_test"
    for path in (folder / "00-1").iterdir():
        path.unlink()
    assert load("mars", tmp_path).query  # junk is not used
    (folder / "0002" / "0002C1T0003F002.jpg").unlink()
    with pytest.raises(ValueError, match=r"test_name\.txt names\. Received: 1 of them are missing: 0002/"):
        load("mars", tmp_path)


def test_the_counts_are_those_of_the_evaluation():
    """Counted in the official lists: 620 people and 0000, without junk, which torchreid counts as an identity too."""
    assert DATASETS["mars"].identities == (625, 626, 621)
    assert DATASETS["mars"].images == (509914, 1980, 9330)
