"""People's own images: a folder per identity, or a CSV file that lists them.

Names of identities are numbered from 1 in sorted order, by code point ("10" before "2"); 0 stays free for distractors.
`identity_names` returns the names. Names of cameras are numbered likewise. Names that Unicode writes in two ways (NFC
and NFD) are one name. `MISSING` values, which programs write for missing cells, are no names.
"""

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

from keras_osnet.data.csv_list import PARTS, Entry, csv_entries
from keras_osnet.data.images import first_three
from keras_osnet.data.listing import scan_flat
from keras_osnet.data.records import Record, Splits

MISSING = frozenset(("", "NaN", "nan", "None", "null", "NULL", "NA", "N/A", "<NA>", "NaT"))
SEED = 0
FOLDER_TREE = """\
(the data folder itself)
    Anna/  any-name.jpg ...                a folder per identity with image files in it; or, split:
    train/Anna/ ...   query/Ben/ ...   gallery/Ben/ ...        exactly these three folders
"""


def load_folder(root):
    """Reads a folder per identity; no camera is known.

    Where `root` holds exactly the folders train, query and gallery, each with a folder per identity, they are the
    parts. Else the identities are divided by `divide`. Hidden files are left out. Other files, and folders within an
    identity's folder, are listed in `Splits.passed_over`.

    Args:
        root: the folder of folders.

    Returns:
        `Splits`, in the order of the paths; every camera is None.

    Raises:
        ValueError: if a folder holds no image, or if nothing could be learnt or matched.
    """
    return _splits(*_folder_entries(Path(root)), root)


def load_csv(root):
    """Reads a CSV file with the columns path and identity and, where wanted, camera and split; others are ignored.

    Identity and camera are any text but `MISSING`; a missing camera is unknown. Spaces around a cell do not count.
    Without the column split the identities are divided by `divide`.

    Args:
        root: the file, or the folder that holds no other .csv file.

    Returns:
        `Splits`, in the order of the paths.

    Raises:
        ValueError: if columns, cells or files are missing, a path comes twice, an identity is both in train and in
            query or gallery, or if nothing could be learnt or matched.
    """
    return _splits(*csv_entries(Path(root)), root)


def identity_names(row, root):
    """Returns the names of the identities: {number in `Record.identity`: name}.

    Args:
        row: "folder" or "csv".
        root: as for `load_folder` or `load_csv`.
    """
    if row not in READERS:
        raise ValueError(f"`row` must be one of {sorted(READERS)}. Received: row={row!r}")
    return {number: name for name, number in _numbers(e.identity for e in READERS[row](Path(root))[0]).items()}


def divide(records, names):
    """Halves the identities: one half trains, the other is tested.

    Only those can be tested of whom a query has a match: two images, and under two cameras where cameras are known.
    All others train, and so does the odd one. Of a tested identity the first image of each camera (just the first,
    where no camera is known) is a query, unless a query of this identity would then have no match; the rest is gallery.

    The half follows from the name and `SEED` alone: a new identity moves at most one other to the other half.

    Args:
        records: tuple of `Record`.
        names: {identity: name}.

    Returns:
        {"train": ..., "query": ..., "gallery": ...}, in the order of `records`.
    """
    images = {}
    for record in records:
        images.setdefault(record.identity, []).append(record)
    queries = {identity: _queries(own) for identity, own in images.items()}
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
    """The first image of each camera of one identity, as long as every query keeps a match in what is left."""
    left, firsts, queries = Counter(record.camera for record in records), {}, []
    for record in records:
        firsts.setdefault(record.camera, record)
    for record in firsts.values():
        rest = left - Counter([record.camera])
        if all(None in rest or rest.keys() - {query.camera} for query in (*queries, record)):
            left, queries = rest, [*queries, record]
    return queries


def _numbers(names):
    return {name: number for number, name in enumerate(sorted({normalize("NFC", name) for name in names}), 1)}


def _folder_entries(root):
    """Entries of all identities' folders, and what is passed over in them."""
    parts = {folder.name: folder for folder in _folders(root)}
    parts = parts if set(parts) == set(PARTS) else {"": root}
    entries, empty, passed_over = [], [str(folder) for folder in parts.values() if not _folders(folder)], []
    for part, holder in parts.items():
        for folder in _folders(holder):
            images, others = scan_flat(folder)
            passed_over += others
            entries += [Entry(str(image), folder.name, part=part) for image in images]
            empty += [str(folder)] * (not images)
    if empty:
        raise ValueError(
            f"`root` must hold a folder per identity with images in it:\n{FOLDER_TREE}"
            f"Received: root={root} with {len(empty)} folders that hold none: {first_three(empty)}"
        )
    return entries, tuple(passed_over)


def _folders(folder):
    return sorted(f for f in folder.iterdir() if f.is_dir() and f.name[0] != ".") if folder.is_dir() else []


READERS = {"folder": _folder_entries, "csv": csv_entries}


def _splits(entries, passed_over, root):
    entries = sorted(
        e._replace(identity=normalize("NFC", e.identity), camera=normalize("NFC", e.camera)) for e in entries
    )
    unnamed = [entry.path for entry in entries if entry.identity in MISSING]
    if unnamed:
        raise ValueError(
            f"Names of identities must be none of {', '.join(sorted(MISSING - {''}))}, which stand for missing values. "
            f"Received: {len(unnamed)} images of such: {first_three(unnamed)}, root={root}"
        )
    unwritable = [os.fsencode(e.path) for e in entries if os.fsencode(e.path) != e.path.encode(errors="replace")]
    if unwritable:
        raise ValueError(
            f"File names must be UTF-8. Received: {len(unwritable)} others: {first_three(unwritable)}, root={root}"
        )
    identities, cameras = (
        _numbers(e.identity for e in entries),
        _numbers(e.camera for e in entries if e.camera not in MISSING),
    )
    records = tuple(Record(e.path, identities[e.identity], cameras.get(e.camera)) for e in entries)
    if len(identities) < 2 or max(Counter(r.identity for r in records).values()) < 2:
        raise ValueError(
            "`root` must hold at least 2 identities, and some with at least 2 images: else nothing could be learnt "
            f"or matched. Received: {len(identities)} identities, {len(records)} images, root={root}"
        )
    names = {number: name for name, number in identities.items()}
    if entries[0].part:
        parts = {part: [r for r, e in zip(records, entries, strict=True) if e.part == part] for part in PARTS}
    else:
        parts = divide(records, names)
    _validate(parts, names, root, drawn=not entries[0].part)
    return Splits(**{part: tuple(own) for part, own in parts.items()}, passed_over=passed_over)


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
            "train must have at least 2 identities, and some with at least 2 images: else nothing could be learnt. "
            f"Received: {len(train)} identities, {train.total()} images in train, {len(names)} identities in all, "
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
            "Some identity must have a query and, in the gallery, another image, under another camera where cameras "
            "are known: else nothing could be matched. "
            f"Received: {len(parts['query'])} queries, {len(parts['gallery'])} gallery images, none of them a match, "
            f"root={root}"
        )
