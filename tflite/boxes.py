"""Boxes of people in the frames of a video, from a CSV file."""

import csv
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

COLUMNS = ("frame", "left", "top", "right", "bottom")
DELIMITERS = ",;\t "
LARGEST, LONGEST = 2**28, 200  # characters of a file, and of it in an error
PERSON = 1  # class of MOTChallenge's ground truth, whose rows have 9 columns


@dataclass(frozen=True)
class Box:
    """A row of a file of boxes.

    Args:
        where: file and row, for errors.
        frame: number, from 1.
        track: as the file has it, or None.
        edges: left, top, right, bottom in pixels; right and bottom are the first outside.
    """

    where: str
    frame: int
    track: str | None
    edges: tuple[float, float, float, float]

    def pixels(self, width, height):
        """The edges in whole pixels, clipped to the frame; None if no pixel of the box is in the frame."""
        left, top, right, bottom = (round(edge) for edge in self.edges)
        inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


def read_boxes(path):
    """Boxes of every frame, from either kind of CSV. Values are separated by commas, semicolons, tabs or spaces.

    - columns frame, left, top, right, bottom and maybe track, named in the first row; others are not read
    - those of MOTChallenge, without names: frame, track or -1, left, top, width, height, ...; pixels from 1. In
      ground truth, rows that are flagged to be ignored or are of another class than people are skipped: it has 9
      columns, or, in 2015, 10 like results, with flags 0 and 1 in place of confidences

    Returns:
        (boxes, skipped): lists of `Box` by frame number, and a `Counter` of reasons.

    Raises:
        ValueError: naming the row, if a value is no number, a box is empty, or a track is missing or twice in a frame.
    """
    rows = _rows(path)
    names = [name.strip().lower() for name in rows[0][1]]
    named = not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", names[0])
    missing = [column for column in COLUMNS if column not in names]
    if named and missing:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}. It lacks {', '.join(missing)}")
    if named and len(set(names)) < len(names):
        raise ValueError(f"{path} must have each column once. Received: {', '.join(names)[:LONGEST]}")
    boxes, tracks, skipped = {}, set(), Counter()
    flags = {(len(row), *row[6:7]) for _, row in rows} == {(10, "0"), (10, "1")}
    for number, row in rows[named:]:
        where = f"{path}, row {number}"
        reason = None if named else _ignored(where, row, flags)
        if reason:
            skipped[reason] += 1
            continue
        box = _named(where, dict(zip(names, row, strict=False))) if named else _mot(where, row)
        if box.track is not None and (box.frame, box.track) in tracks:
            raise ValueError(f"{where}: track {box.track} is twice in frame {box.frame}")
        tracks.add((box.frame, box.track))
        boxes.setdefault(box.frame, []).append(box)
    if not boxes:
        raise ValueError(f"{path} must hold boxes of people. Received: {skipped.total()} rows that are skipped")
    of_none = [box for of_frame in boxes.values() for box in of_frame if box.track is None]
    if of_none and len(of_none) < sum(map(len, boxes.values())):
        raise ValueError(f"{of_none[0].where}: where some boxes have a track, all must")
    return boxes, skipped


def _rows(path):
    """Number and values of every row that is not blank."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = file.read(LARGEST + 1)
        if len(lines) > LARGEST:
            raise csv.Error(f"more than {LARGEST:,} characters")
        lines = lines.splitlines()
        first = next((line for line in lines if line.strip()), "")
        delimiter = next((one for one in DELIMITERS if one in first.strip()), ",")
        lines = [re.sub(r" +", " ", line.strip()) if delimiter == " " else line for line in lines]
        rows = enumerate(csv.reader(lines, delimiter=delimiter), start=1)
        rows = [(number, row) for number, row in rows if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file: {error}") from error
    if not rows:
        raise ValueError(f"{path} must hold boxes of people. Received: no row")
    return rows


def _ignored(where, row, flags):
    """Why a row of MOTChallenge is skipped, or None. Detections and results have 6, 7 or 10 columns.

    Args:
        flags: whether the seventh of 10 columns holds flags.
    """
    if flags and row[6] == "0":
        return "flagged to be ignored"
    if len(row) != 9:
        return None
    flag, kind = _numbers(where, row[6:8])
    if flag == 0:
        return "flagged to be ignored"
    return None if kind in (PERSON, -1) else f"of class {kind:g}"


def _named(where, row):
    frame, *edges = _numbers(where, [row.get(column, "") for column in COLUMNS])
    return _box(where, frame, row.get("track", "").strip() or None, edges)


def _mot(where, row):
    frame, track, left, top, width, height = _numbers(where, (row + [""] * 6)[:6])
    edges = left - 1, top - 1, left - 1 + width, top - 1 + height
    return _box(where, frame, None if track < 0 else f"{track:.0f}", edges)


def _numbers(where, values):
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        raise ValueError(f"{where}: must hold numbers. {error}") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where}: must hold finite numbers. Received: {numbers}")
    return numbers


def _box(where, frame, track, edges):
    if not 1 <= frame <= 2**31 or frame != int(frame):
        raise ValueError(f"{where}: frames are numbered 1, 2, 3, ... Received: {frame:g}")
    left, top, right, bottom = edges
    if right <= left or bottom <= top:
        raise ValueError(f"{where}: the box {tuple(edges)} of frame {frame:.0f} is empty")
    return Box(where, int(frame), track, tuple(edges))
