"""CSV files that list images."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from keras_osnet.data.images import first_three

PARTS = ("train", "query", "gallery")
REQUIRED, OPTIONAL = ("path", "identity"), ("camera", "split")
LARGEST = 2**28  # bytes
CSV_TREE = """\
(the CSV file itself, or the folder that holds it alone)
    path,identity,camera,split             UTF-8 and commas; camera and split may be left out
    images/1.jpg,Anna,door,train           paths relative to the file's folder, or absolute
    images/2.jpg,Ben,yard,query            split: train, query or gallery
"""


class Entry(NamedTuple):
    """One image, with the names of its identity and camera in the file. `part` is one of `PARTS` or empty."""

    path: str
    identity: str
    camera: str = ""
    part: str = ""


def csv_entries(root):
    """Returns the entries of all rows, and an empty tuple, because a list has no files to pass over."""
    file = _csv_file(root)
    header, rows = _csv_rows(file)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    paths = [os.path.join(file.parent, c["path"]) for c in cells]
    # ".." is the folder above a folder, also where that folder is a link.
    paths = [
        os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if ".." in Path(path).parts else path for path in paths
    ]  # fmt: skip
    entries = [
        Entry(os.path.normpath(path), c["identity"], c.get("camera", ""), c.get("split", ""))
        for path, c in zip(paths, cells, strict=True)
    ]
    times = Counter(os.path.abspath(entry.path) for entry in entries)
    unknown = {repr(entry.part) for entry in entries if entry.part not in PARTS} if "split" in header else ()
    rules = (
        ("name files that exist", "not found", [e.path for e in entries if not os.path.isfile(e.path)]),
        ("name each file once", "named again", [path for path, count in times.items() if count > 1]),
        (f"have {', '.join(PARTS)} in the column split", "other values", sorted(unknown)),
    )
    for rule, name, wrong in rules:
        if wrong:
            raise ValueError(f"{file} must {rule}. Received: {len(wrong)} {name}: {first_three(wrong)}")
    return entries, ()


def _csv_file(root):
    if root.is_file():
        return root
    files = sorted(root.iterdir()) if root.is_dir() else ()
    found = [f for f in files if f.suffix.lower() == ".csv" and f.name[0] != "." and f.is_file()]
    if len(found) != 1:
        raise ValueError(
            f"`root` must be a CSV file, or a folder with exactly one:\n{CSV_TREE}"
            f"Received: {len(found)} CSV files{': ' * bool(found)}{first_three([f.name for f in found])}, root={root}"
        )
    return found[0]


def _csv_rows(file):
    """Returns the header and the rows, without spaces around cells. Every row is as long as the header."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{file.stat().st_size:,} bytes")
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True, skipinitialspace=True)  # quotes after a space are quotes
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        if any("\0" in cell for _, row in rows for cell in row):
            raise ValueError("NUL bytes")
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{file} must be a CSV file in UTF-8 of at most {LARGEST:,} bytes. Received: {error}"
        ) from error
    rows = [(line, row) for line, row in rows if any(row)]
    header = rows[0][1] if rows else []
    wrong = [c for c in (*REQUIRED, *OPTIONAL) if header.count(c) > 1 or (c in REQUIRED and c not in header)]
    if wrong:
        raise ValueError(
            f"{file} must begin with a header, each column once, separated by commas:\n{CSV_TREE}"
            f"Missing or double: {', '.join(wrong)}. Received: {', '.join(header) or 'an empty file'}"
        )
    required = [header.index(c) for c in REQUIRED]
    short = [line for line, row in rows if len(row) != len(header) or not all(row[i] for i in required)]
    if short:
        raise ValueError(
            f"{file} must have {len(header)} cells in each row, path and identity filled in. "
            f"Received: {len(short)} other rows, in line {first_three(short)}"
        )
    return header, [row for _, row in rows[1:]]
