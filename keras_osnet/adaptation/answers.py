"""The files of pairs and answers in the folder of an adaptation: rounds/NN/pairs.json and answers.csv."""

import csv
import io
import json
import os
from pathlib import Path

from keras_osnet.adaptation.links import Links
from keras_osnet.files import read_bounded, read_json, write_atomically

ANSWERS, PAIRS, LARGEST = "answers.csv", "pairs.json", 2**24  # bytes
HEADER = ["first", "second", "same"]
SAME = {"yes": True, "no": False, "unsure": None}


def read_answers(path, images=None):
    """Reads a CSV file of answers with the columns first, second (images) and same: yes, no or unsure.

    Args:
        path: the file. None there has no answers.
        images: the image files that an answer may name. The folder that holds them all may have moved since: a path
            that ends as one of theirs within it is that file. Default: any.

    Returns:
        list of (first, second, same) with same True, False or None; first and second as `images` has them.

    Raises:
        ValueError: if a line is not as described, or contradicts the lines before it.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return []
    answers, links, line = [], Links(), 1
    find = str if images is None else finder(images)
    try:
        reader = csv.reader(io.StringIO(read_bounded(path, LARGEST).decode("utf-8-sig"), newline=""), strict=True)
        for row in reader:
            line = reader.line_num
            if line == 1 and row != HEADER:
                raise ValueError(f"the header must be {','.join(HEADER)}. Received: {','.join(row)}")
            if line == 1 or not row:
                continue
            if len(row) != len(HEADER):
                raise ValueError(f"a line must have {len(HEADER)} values. Received: {','.join(row)}")
            *files, same = row
            if same not in SAME:
                raise ValueError(f"`same` must be one of {list(SAME)}. Received: {same!r}")
            first, second = map(find, files)
            strange = [file for file, image in zip(files, (first, second), strict=True) if image is None]
            if strange:
                raise ValueError(f"an image must be one that is adapted to. Received: {strange[0]}")
            if SAME[same] is not None:
                links.add(first, second, SAME[same])
            answers.append((first, second, SAME[same]))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}, line {line}: {error}") from error
    return answers


def finder(images):
    """Returns a function of a path that returns the one of the image files that it names, or None.

    A path names a file if it is the file's path, or ends with its path below the folder that holds all files.
    """
    images, below = dict.fromkeys(map(str, images)), {}

    def find(path):
        if path in images:
            return path
        if not below and images:
            files = list(map(os.path.abspath, images))
            root = os.path.commonpath(list(map(os.path.dirname, files)))
            below.update(zip((Path(file).relative_to(root).parts for file in files), images, strict=True))
        parts = Path(path).parts
        return next((below[parts[start:]] for start in range(len(parts)) if parts[start:] in below), None)

    return find


def write_answers(path, answers):
    """Writes answers as `read_answers` returns them. Raises OSError if the file cannot be written."""
    words, file = {same: word for word, same in SAME.items()}, io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows([HEADER, *((a, b, words[same]) for a, b, same in answers)])
    write_atomically(path, file.getvalue().encode())


def links_of(answers):
    """Returns the `Links` of answers."""
    return Links(answer for answer in answers if answer[2] is not None)


def write_pairs(folder, pairs):
    """Writes the pairs that a round asks about: lists of two dicts with the keys path and camera."""
    write_atomically(Path(folder) / PAIRS, json.dumps(pairs, indent=1).encode())


def newest_pairs(work_dir):
    """Returns (round, pairs) of the newest round that has written its pairs, or (None, []).

    Raises:
        ValueError: if the file is not of that form.
        OSError: if it cannot be read.
    """
    found = [path for path in Path(work_dir).glob(f"rounds/*/{PAIRS}") if path.parent.name.isdigit()]
    if not found:
        return None, []
    path = max(found, key=lambda path: int(path.parent.name))
    pairs = read_json(path)
    if not _is_pairs(pairs):
        raise ValueError(f"{path} must be a file that an adaptation wrote.")
    return int(path.parent.name), pairs


def _is_pairs(value):
    return isinstance(value, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(image, dict) and isinstance(image.get("path"), str) and "camera" in image for image in pair)
        for pair in value
    )


def unanswered(pairs, answers):
    """Returns the numbers of the pairs that no answer is about, and whose answer does not follow from others."""
    links, seen = links_of(answers), {frozenset(answer[:2]) for answer in answers}
    names = [(first["path"], second["path"]) for first, second in pairs]
    return [row for row, two in enumerate(names) if links.known(*two) is None and frozenset(two) not in seen]
