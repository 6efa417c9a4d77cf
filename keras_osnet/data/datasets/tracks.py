"""Crops of the tracks of MOT17 and DanceTrack, cut out on first use, for training only."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from keras_osnet.data import images
from keras_osnet.data.datasets.official import listed, parsed, require
from keras_osnet.data.generated import make_folder
from keras_osnet.data.records import Record, Splits

# Neighbouring frames are nearly the same. Of a person that is mostly hidden, the box shows others.
EVERY, LEAST_VISIBLE, SMALLEST = 5, 0.3, 16  # frames, fraction, pixels of a side
PERSON = 1  # class of pedestrians
QUALITY = 95
TRACKS = 10**6  # more than a sequence has
NUMBER = r" *(-?\d+(?:\.\d*)?(?:e-?\d\d?)?)"
LINE = re.compile(r"(\d+), *(\d+)," + ",".join([NUMBER] * 7))
EXAMPLE = "`1,1,912,484,97,109,1,1,1` (frame, track, left, top, width, height, flag, class, visibility)"
NAME = re.compile(r"(\d+)_(\d+)_\d+\.jpg")


@dataclass(frozen=True)
class Layout:
    """Layout of a dataset: its folder, the names of its sequences, whose group is the number, and the expected tree."""

    folder: str
    sequence: re.Pattern
    expected_tree: str


LAYOUTS = {
    "mot17": Layout(
        "MOT17",
        re.compile(r"MOT17-(\d+)(?:-\w+)?"),
        """MOT17/
    train/    MOT17-02-FRCNN/img1/000001.jpg ..., MOT17-02-FRCNN/gt/gt.txt ...
    crops/    (cut out on first use) 2_1_1.jpg ...
""",
    ),
    "dancetrack": Layout(
        "dancetrack",
        re.compile(r"dancetrack(\d+)"),
        """dancetrack/
    train/    dancetrack0001/img1/00000001.jpg ..., dancetrack0001/gt/gt.txt ...
    crops/    (cut out on first use) 1_1_1.jpg ...
""",
    ),
}


SEQUENCES = ".sequences"  # numbers of the sequences whose people are in crops/


def load(name, root):
    """Reads the crops of a dataset's training sequences, after cutting them out on first use.

    A crop is taken from every fifth frame if the box is of a pedestrian, not flagged to be ignored, visible by 0.3 or
    more, and at least 16 pixels wide and high. MOT17 has each sequence once for each of three detectors. The first of
    the three is read.

    Args:
        name: "mot17" or "dancetrack".
        root: folder that holds the official folder. It must be writable the first time.

    Returns:
        `Splits` whose query and gallery are empty. A track is an identity, a sequence is a camera.

    Raises:
        ValueError: if the folder is missing or differently laid out, lines of a gt.txt do not parse, frames are missing
            or unreadable, or the crops cannot be written.

    Reference: Milan et al., MOT16: A Benchmark for Multi-Object Tracking (2016), for MOT17 too; Sun et al., DanceTrack:
    Multi-Object Tracking in Uniform Appearance and Diverse Motion (CVPR 2022).
    """
    layout = LAYOUTS[name]
    require(root, f"the official folder {layout.folder}", layout.expected_tree, [f"{layout.folder}/train"])
    folder = Path(root) / layout.folder

    def write(crops):
        for number, sequence in _sequences(folder / "train", layout):
            _cut(sequence, number, crops)
        (crops / SEQUENCES).write_text("\n".join(str(number) for number, _ in _sequences(folder / "train", layout)))

    try:
        make_folder(folder / "crops", write)
    except OSError as error:
        raise ValueError(
            f"`root` must be writable the first time: crops are written to {folder / 'crops'}. Received: {error}"
        ) from error
    if (folder / "crops" / SEQUENCES).exists():
        cut = set((folder / "crops" / SEQUENCES).read_text().split())
        later = [path.name for number, path in _sequences(folder / "train", layout) if str(number) not in cut]
        if later:
            raise ValueError(
                f"{folder / 'crops'} must have the people of all sequences: delete it, and they are cut again. "
                f"Received: a folder without {', '.join(later)}"
            )
    found = parsed(folder / "crops", NAME, "2_1_1.jpg (sequence, track, frame)")
    return Splits(tuple(Record(str(path), TRACKS * int(m[1]) + int(m[2]), int(m[1])) for path, m in found), (), ())


def _sequences(folder, layout):
    """Returns (number, `Path`) of each sequence, the first of those with the same number."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = layout.sequence.fullmatch(path.name)
        if match and path.is_dir():
            found.setdefault(int(match[1]), path)
    if not found:
        raise ValueError(f"{folder} must hold sequences:\n{layout.expected_tree}Received: none")
    return found.items()


def _cut(sequence, number, crops):
    """Writes the crops of a sequence."""
    file, boxes = sequence / "gt" / "gt.txt", defaultdict(list)
    if not file.is_file():
        raise ValueError(f"{sequence} must hold gt/gt.txt and img1/. Not found: {file}")
    for match in listed(file, LINE, EXAMPLE):
        frame, track, (*box, flag, kind, visible) = int(match[1]), int(match[2]), map(float, match.groups()[2:])
        if (frame - 1) % EVERY == 0 and flag == 1 and kind == PERSON and visible >= LEAST_VISIBLE:
            boxes[frame].append((track, *box))
    frames = {int(path.stem): path for path in (sequence / "img1").glob("*.jpg") if path.stem.isdigit()}
    missing = sorted(set(boxes) - set(frames))
    if missing:
        raise ValueError(
            f"{sequence / 'img1'} must hold the frames that gt.txt names. "
            f"Received: {len(missing)} of {len(boxes)} are missing, first frame {missing[0]}"
        )
    for frame in sorted(boxes):
        image = images.read(frames[frame])
        for track, left, top, width, height in boxes[frame]:
            x, y = max(round(left), 0), max(round(top), 0)
            crop = image[y : max(round(top + height), 0), x : max(round(left + width), 0)]
            if min(crop.shape[:2]) >= SMALLEST:
                Image.fromarray(crop).save(crops / f"{number}_{track}_{frame}.jpg", quality=QUALITY)
