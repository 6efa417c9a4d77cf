"""A user's own images: a folder per identity, or a CSV file that lists them.

Names of identities are sorted by code point ("10" before "2") and numbered from 1. 0 is reserved for distractors.
`identity_names` returns the names. Cameras are numbered in the same way; `Splits.camera_names` has their names. Two
Unicode forms of a name (NFC and NFD) are one name. The values in `MISSING`, which programs write for missing cells, are
not names.
"""

from collections import Counter
from hashlib import sha256
from unicodedata import normalize

from keras_osnet.data.csv_list import PARTS, Entry, csv_entries
from keras_osnet.data.images import first_three
from keras_osnet.data.listing import require_utf8, scan_flat
from keras_osnet.data.records import Record, Splits
from keras_osnet.files import path_of

MISSING = frozenset(("", "NaN", "nan", "None", "null", "NULL", "NA", "N/A", "<NA>", "NaT"))
SEED = 0
FOLDER_TREE = """\
(the data folder itself)
    Anna/  any-name.jpg ...                a folder per identity with image files in it; or, split:
    train/Anna/ ...   query/Ben/ ...   gallery/Ben/ ...        exactly these three folders
"""


def load_folder(root):
    """Reads a folder per identity. All cameras are unknown.

    If `root` holds exactly the folders train, query and gallery, each with a folder per identity, these are the parts.
    Otherwise `divide` makes the parts. Hidden files are ignored. Other files, and folders within an identity's folder,
    are listed in `Splits.passed_over`.

    Args:
        root: the folder of folders.

    Returns:
        `Splits`, in the order of the paths. Every camera is None.

    Raises:
        ValueError: if a folder holds no image, or the images are too few for training or for a match.
    """
    return _splits(*_folder_entries(path_of("root", root)), root)


def load_csv(root):
    """Reads a CSV file with the columns path and identity. The columns camera and split are optional.

    Identity and camera are any text that is not in `MISSING`. An empty or missing camera is unknown. Spaces around
    cells and further columns are ignored. Without the column split `divide` makes the parts.

    Args:
        root: the file, or a folder with this .csv file only.

    Returns:
        `Splits`, in the order of the paths.

    Raises:
        ValueError: if columns, cells or files are missing, a path occurs twice, an identity is both in train and in
            query or gallery, or the images are too few for training or for a match.
    """
    return _splits(*csv_entries(path_of("root", root)), root)


def identity_names(row, root):
    """Returns the names of the identities: a dict of `Record.identity` to name.

    Args:
        row: "folder" or "csv".
        root: as for `load_folder` or `load_csv`.
    """
    root = path_of("root", root)
    if row not in [*READERS]:
        raise ValueError(f"`row` must be one of {sorted(READERS)}. Received: row={row!r}")
    return {number: name for name, number in _numbers(e.identity for e in READERS[row](root)[0]).items()}


def divide(records, names):
    """Divides the identities into two halves, for training and for testing.

    An identity can be tested if one of its images has a match: another image, under another camera if cameras are
    known. All other identities are for training. Of a tested identity, the first image of each camera is a query (only
    the first image if no camera is known), unless a query of this identity would then have no match. Its other images
    are in the gallery.

    The half depends on the name and `SEED` alone. A new identity moves at most one other identity to the other half.

    Args:
        records: tuple of `Record`.
        names: dict of identity to name.

    Returns:
        dict of "train", "query" and "gallery" to lists of records, in the order of `records`.
    """
    images = {}
    for record in records:
        images.setdefault(record.identity, []).append(record)
    queries = {identity: _queries(own) for identity, own in images.items()}
    # Sorted by a digest: the generators of NumPy and Python may differ between versions.
    testable = sorted(
        (identity for identity in queries if queries[identity]),
        key=lambda identity: sha256(f"{SEED}/{names[identity]}".encode()).digest(),
    )
    tested = set(testable[: max(1, len(testable) // 2)])
    query_paths = {record.path for identity in tested for record in queries[identity]}
    parts = {part: [] for part in PARTS}
    for record in records:
        part = "train" if record.identity not in tested else "query" if record.path in query_paths else "gallery"
        parts[part].append(record)
    return parts


def _queries(records):
    """Returns the first images of the cameras of one identity, as many as leave a match for every query."""
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
    """Returns the entries of all identities' folders, and the files in them that are passed over."""
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
    for holder in dict.fromkeys([root, *parts.values()]):
        files = [file for file in holder.iterdir() if not file.is_dir() and file.name[0] != "."]
        passed_over += [f"{file} (beside the folders of identities)" for file in sorted(files)]
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
            f"Names of identities must not be {', '.join(sorted(MISSING - {''}))}: they mark missing values. "
            f"Received: {len(unnamed)} images with such names: {first_three(unnamed)}, root={root}"
        )
    require_utf8([entry.path for entry in entries], f", root={root}")
    identities = _numbers(e.identity for e in entries)
    cameras = _numbers(e.camera for e in entries if e.camera not in MISSING)
    records = tuple(Record(e.path, identities[e.identity], cameras.get(e.camera)) for e in entries)
    if len(identities) < 2 or max(Counter(r.identity for r in records).values()) < 2:
        raise ValueError(
            "`root` must hold at least 2 identities, and one with at least 2 images. "
            f"Received: {len(identities)} identities, {len(records)} images, root={root}"
        )
    names = {number: name for name, number in identities.items()}
    if entries[0].part:
        parts = {part: [r for r, e in zip(records, entries, strict=True) if e.part == part] for part in PARTS}
    else:
        parts = divide(records, names)
    _validate(parts, names, root, drawn=not entries[0].part)
    own = {part: tuple(records) for part, records in parts.items()}
    return Splits(**own, passed_over=passed_over, camera_names=tuple(cameras))


def _validate(parts, names, root, *, drawn):
    train, test = Counter(r.identity for r in parts["train"]), parts["query"] + parts["gallery"]
    both = sorted(names[identity] for identity in train.keys() & {r.identity for r in test})
    if both:
        raise ValueError(
            "An identity must be either in train or in query and gallery. "
            f"Received: {len(both)} in both: {first_three(both)}, root={root}"
        )
    # A dataset may be for training only, or for testing only.
    if train and (len(train) < 2 or max(train.values()) < 2):
        raise ValueError(
            "train must have at least 2 identities, and one with at least 2 images. "
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
            "At least one query must have a match: a gallery image of its identity, under another camera if cameras "
            f"are known. Received: {len(parts['query'])} queries, {len(parts['gallery'])} gallery images, root={root}"
        )
