"""Training sequences of MOT17 and DanceTrack, written here in small, and the crops that are cut out of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data import images, load

SIZE = (60, 90)
# Track, box, flag, class, visibility. Each of tracks 3 to 7 breaks one rule.
BOXES = (
    (1, (10, 5, 20, 40), 1, 1, 1.0),
    (2, (-8, -4, 30, 50), 1, 1, 0.3),  # beyond the left and the upper edge
    (3, (10, 5, 20, 40), 0, 1, 1.0),
    (4, (10, 5, 20, 40), 1, 7, 1.0),
    (5, (10, 5, 20, 40), 1, 1, 0.29),
    (6, (10, 5, 15, 40), 1, 1, 1.0),
    (7, (200, 5, 20, 40), 1, 1, 1.0),  # outside of the frame
)


def frame_of(sequence, frame):
    """Smooth, so that JPEG changes little."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([2 * x, 3 * y, np.full_like(x, 40 * sequence + frame)], axis=-1).astype("uint8")


def sequence(folder, number, digits, frames=7):
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    lines = []
    for frame in range(1, frames + 1):
        Image.fromarray(frame_of(number, frame)).save(folder / "img1" / f"{frame:0{digits}d}.jpg", quality=95)
        for track, box, flag, kind, visible in BOXES:
            lines.append(",".join(map(str, (frame, track, *box, flag, kind, visible))))
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    (folder / "seqinfo.ini").write_text("[Sequence]\n")


@pytest.fixture
def mot17(tmp_path):
    for name, number in (("MOT17-02-DPM", 2), ("MOT17-02-SDP", 2), ("MOT17-13-FRCNN", 3)):
        sequence(tmp_path / "MOT17" / "train" / name, number, 6)
    return tmp_path


def labels(records):
    return [(Path(record.path).name, record.identity, record.camera) for record in records]


def test_every_fifth_frame_of_each_sequence_is_cut_by_the_boxes_of_visible_pedestrians(mot17):
    splits = load("mot17", mot17)
    assert (splits.query, splits.gallery) == ((), ())
    assert labels(splits.train) == [
        (f"{number}_{track}_{frame}.jpg", 1_000_000 * number + track, number)
        for number in (13, 2)
        for track in (1, 2)
        for frame in (1, 6)
    ]
    paths = {Path(record.path).name: record.path for record in splits.train}
    for track, (rows, columns) in {1: ((5, 45), (10, 30)), 2: ((0, 46), (0, 22))}.items():
        expected = frame_of(2, 6)[slice(*rows), slice(*columns)]
        found = images.read(paths[f"2_{track}_6.jpg"])
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= 8


def test_dancetrack_has_longer_names_and_spaces_in_its_lists(tmp_path):
    folder = tmp_path / "dancetrack" / "train" / "dancetrack0012"
    sequence(folder, 1, 8)
    file = folder / "gt" / "gt.txt"
    file.write_text(file.read_text().replace(",", ", "))
    records = load("dancetrack", tmp_path).train
    assert [(record.identity, record.camera) for record in records] == [(12_000_001, 12)] * 2 + [(12_000_002, 12)] * 2


def test_crops_are_cut_out_only_once(mot17):
    first = load("mot17", mot17)
    for path in (mot17 / "MOT17" / "train").rglob("*.jpg"):
        path.unlink()
    assert load("mot17", mot17) == first


def test_a_sequence_that_comes_later_is_named(mot17):
    load("mot17", mot17)
    sequence(mot17 / "MOT17" / "train" / "MOT17-04-FRCNN", 4, 6)
    with pytest.raises(ValueError, match=r"crops must have the people of all sequences.*without MOT17-04-FRCNN"):
        load("mot17", mot17)
    shutil.rmtree(mot17 / "MOT17" / "crops")
    assert {record.camera for record in load("mot17", mot17).train} == {2, 4, 13}


def without_frame(root):
    (root / "MOT17" / "train" / "MOT17-13-FRCNN" / "img1" / "000006.jpg").unlink()


def with_a_damaged_frame(root):
    (root / "MOT17" / "train" / "MOT17-13-FRCNN" / "img1" / "000006.jpg").write_bytes(b"no image")


def without_list(root):
    (root / "MOT17" / "train" / "MOT17-13-FRCNN" / "gt" / "gt.txt").unlink()


def with_a_line_cut_short(root):
    with (root / "MOT17" / "train" / "MOT17-13-FRCNN" / "gt" / "gt.txt").open("a") as file:
        file.write("8,1,10\n")


def without_sequences(root):
    for path in (root / "MOT17" / "train").iterdir():
        path.rename(path.with_name(path.name.replace("MOT17-", "MOT16-")))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_frame, r"img1 must hold the frames that gt\.txt names\. Received: 1 of 2 are missing, first frame 6"),
        (with_a_damaged_frame, r"000006\.jpg cannot be read as an image"),
        (without_list, r"must hold gt/gt\.txt and img1/\. Not found"),
        (with_a_line_cut_short, r"lines like `1,1,912.* 1 of another form: 8,1,10"),
        (without_sequences, r"(?s)must hold sequences:.*Received: none"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_no_crops(mot17, spoil, message):
    spoil(mot17)
    with pytest.raises(ValueError, match=message):
        load("mot17", mot17)
    assert not (mot17 / "MOT17" / "crops").exists()
