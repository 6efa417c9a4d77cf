"""People's own pictures: a folder per identity, or a CSV file that lists them.

Names of identities are numbered from 1 in sorted order, by code point ("10" before "2"); 0 stays free for
distractors. `identity_names` gives the names back. Names of cameras are numbered likewise.
"""

import csv
import os
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from keras_osnet.data.images import SUFFIXES, first_three
from keras_osnet.data.records import Record, Splits

PARTS = ("train", "query", "gallery")
REQUIRED, OPTIONAL = ("path", "identity"), ("camera", "split")
SEED = 0
FOLDER_TREE = """\
(the data folder itself)
    Anna/  any-name.jpg ...                a folder per identity with image files in it; or, split:
    train/Anna/ ...   query/Ben/ ...   gallery/Ben/ ...        exactly these three folders
"""
CSV_TREE = """\
(the CSV file itself, or the folder that holds it alone)
    path,identity,camera,split             UTF-8 and commas; camera and split may be left out
    pictures/1.jpg,Anna,door,train         paths from the file's folder on, or absolute
    pictures/2.jpg,Ben,yard,query          split: train, query or gallery
"""


class _Entry(NamedTuple):
    path: str
    identity: str
    camera: str = ""
    part: str = ""


def load_folder(root):
    """Reads a folder per identity; no camera is known.

    Where `root` holds exactly the folders train, query and gallery, each with a folder per identity, they are the
    parts. Else the identities are divided as `divide` tells. Hidden and other files are passed over.

    Args:
        root: the folder of folders.

    Returns:
        `Splits`, in the order of the paths; every camera is None.

    Raises:
        ValueError: if a folder holds no picture, or if nothing could be learnt or matched.
    """
    return _splits(_folder_entries(Path(root)), root)


def load_csv(root):
    """Reads a CSV file with the columns path and identity and, where wanted, camera and split; others are ignored.

    Identity and camera are any text; an empty camera is unknown. Spaces around a cell do not count. Without the
    column split the identities are divided as `divide` tells.

    Args:
        root: the file, or the folder that holds no other .csv file.

    Returns:
        `Splits`, in the order of the paths.

    Raises:
        ValueError: if columns, cells or files are missing, a path comes twice, an identity is both in train and in
            query or gallery, or if nothing could be learnt or matched.
    """
    return _splits(_csv_entries(Path(root)), root)


def identity_names(row, root):
    """Names of the identities: {number in `Record.identity`: name}.

    Args:
        row: "folder" or "csv".
        root: as for `load_folder` or `load_csv`.
    """
    if row not in READERS:
        raise ValueError(f"`row` must be one of {sorted(READERS)}. Received: row={row!r}")
    return {number: name for name, number in _numbers(e.identity for e in READERS[row](Path(root))).items()}


def divide(records, names):
    """Halves the identities: one half trains, the other is tested.

    Only those can be tested of whom a query has a match: two pictures, and under two cameras where cameras are known.
    All others train, and so does the odd one. Of a tested identity the first picture of each camera (just the first,
    where no camera is known) is a query, unless a query of this identity would then have no match; the rest is gallery.

    Which half is a matter of the name and `SEED` alone: a new identity moves at most one other to the other half.

    Args:
        records: tuple of `Record`.
        names: {identity: name}.

    Returns:
        {"train": ..., "query": ..., "gallery": ...}, in the order of `records`.
    """
    pictures = {}
    for record in records:
        pictures.setdefault(record.identity, []).append(record)
    queries = {identity: _queries(own) for identity, own in pictures.items()}
    # A digest, because NumPy's and Python's generators may shuffle otherwise in another version.
    able = sorted(
        (identity for identity in queries if queries[identity]),
        key=lambda identity: sha256(f"{SEED}/{names[identity]}".encode()).digest(),
    )
    tested = set(able[: max(1, len(able) // 2)])
    asked = {record.path for identity in tested for record in queries[identity]}
    parts = {part: [] for part in PARTS}
    for record in records:
        part = "train" if record.identity not in tested else "query" if record.path in asked else "gallery"
        parts[part].append(record)
    return parts


def _queries(records):
    """The first picture of each camera of one identity, as long as every query keeps a match in what is left."""
    left, firsts, queries = Counter(record.camera for record in records), {}, []
    for record in records:
        firsts.setdefault(record.camera, record)
    for record in firsts.values():
        rest = left - Counter([record.camera])
        if all(None in rest or rest.keys() - {query.camera} for query in (*queries, record)):
            left, queries = rest, [*queries, record]
    return queries


def _numbers(names):
    return {name: number for number, name in enumerate(sorted(set(names)), 1)}


def _folder_entries(root):
    parts = {folder.name: folder for folder in _folders(root)}
    parts = parts if set(parts) == set(PARTS) else {"": root}
    entries, empty = [], [str(folder) for folder in parts.values() if not _folders(folder)]
    for part, holder in parts.items():
        for folder in _folders(holder):
            files = [f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.name[0] != "." and f.is_file()]
            entries += [_Entry(str(file), folder.name, part=part) for file in files]
            empty += [str(folder)] * (not files)
    if empty:
        raise ValueError(
            f"`root` must hold a folder per identity with pictures in it:\n{FOLDER_TREE}"
            f"Received: root={root} with {len(empty)} folders that hold none: {first_three(empty)}"
        )
    return entries


def _folders(folder):
    return sorted(f for f in folder.iterdir() if f.is_dir() and f.name[0] != ".") if folder.is_dir() else []


def _csv_entries(root):
    file = _csv_file(root)
    header, rows = _csv_rows(file)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    entries = [
        _Entry(os.path.normpath(file.parent / c["path"]), c["identity"], c.get("camera", ""), c.get("split", ""))
        for c in cells
    ]
    times = Counter(os.path.abspath(entry.path) for entry in entries)
    unknown = {repr(entry.part) for entry in entries if entry.part not in PARTS} if "split" in header else ()
    rules = (
        ("name files that are there", "not found", [e.path for e in entries if not os.path.isfile(e.path)]),
        ("name each file once", "named again", [path for path, count in times.items() if count > 1]),
        (f"have {', '.join(PARTS)} in the column split", "other values", sorted(unknown)),
    )
    for rule, name, wrong in rules:
        if wrong:
            raise ValueError(f"{file} must {rule}. Received: {len(wrong)} {name}: {first_three(wrong)}")
    return entries


def _csv_file(root):
    if root.is_file():
        return root
    files = sorted(root.iterdir()) if root.is_dir() else ()
    found = [f for f in files if f.suffix.lower() == ".csv" and f.name[0] != "."]
    if len(found) != 1:
        raise ValueError(
            f"`root` must be a CSV file, or a folder with exactly one:\n{CSV_TREE}"
            f"Received: {len(found)} of them{': ' * bool(found)}{first_three([f.name for f in found])}, root={root}"
        )
    return found[0]


def _csv_rows(file):
    """The header and the rows, spaces around cells cut off; every row as long as the header."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} must be a CSV file in UTF-8. Received: {error}") from error
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


READERS = {"folder": _folder_entries, "csv": _csv_entries}


def _splits(entries, root):
    entries = sorted(entries)
    unwritable = [os.fsencode(e.path) for e in entries if os.fsencode(e.path) != e.path.encode(errors="replace")]
    if unwritable:
        raise ValueError(
            f"File names must be UTF-8. Received: {len(unwritable)} others: {first_three(unwritable)}, root={root}"
        )
    identities, cameras = _numbers(e.identity for e in entries), _numbers(e.camera for e in entries if e.camera)
    records = tuple(Record(e.path, identities[e.identity], cameras.get(e.camera)) for e in entries)
    if len(identities) < 2 or max(Counter(r.identity for r in records).values()) < 2:
        raise ValueError(
            "`root` must hold at least 2 identities, and some with at least 2 pictures: else nothing could be learnt "
            f"or matched. Received: {len(identities)} identities, {len(records)} pictures, root={root}"
        )
    names = {number: name for name, number in identities.items()}
    if entries[0].part:
        parts = {part: [r for r, e in zip(records, entries, strict=True) if e.part == part] for part in PARTS}
    else:
        parts = divide(records, names)
    _validate(parts, names, root, drawn=not entries[0].part)
    return Splits(**{part: tuple(own) for part, own in parts.items()})


def _validate(parts, names, root, *, drawn):
    train, test = Counter(r.identity for r in parts["train"]), parts["query"] + parts["gallery"]
    both = sorted(names[identity] for identity in train.keys() & {r.identity for r in test})
    if both:
        raise ValueError(
            "An identity must be either in train or in query and gallery. "
            f"Received: {len(both)} in both: {first_three(both)}, root={root}"
        )
    # A part of its own may be all there is: for training only, or for testing only.
    if train and (len(train) < 2 or max(train.values()) < 2):
        raise ValueError(
            "train must have at least 2 identities, and some with at least 2 pictures: else nothing could be learnt. "
            f"Received: {len(train)} identities, {train.total()} pictures in train, {len(names)} identities in all, "
            f"root={root}"
        )
    seen = {(r.identity, r.camera) for r in parts["gallery"]}
    cameras = {camera for _, camera in seen}
    matched = any(
        (query.identity, camera) in seen and (camera is None or camera != query.camera)
        for query in parts["query"]
        for camera in cameras
    )
    if (test or drawn) and not matched:
        raise ValueError(
            "Some identity must have a query and, in the gallery, another picture, under another camera where cameras "
            "are known: else nothing could be matched. "
            f"Received: {len(parts['query'])} queries, {len(parts['gallery'])} gallery pictures, none of them a match, "
            f"root={root}"
        )
