"""Checks every image and label of a dataset before hours of training."""

import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

from keras_osnet.data import images
from keras_osnet.data.csv_list import PARTS
from keras_osnet.data.images import first_three

TINY = 8  # pixels: a shorter side shows nothing of a person
NAMED = 20  # unreadable files in the text; `Report.unreadable` has all
CHUNK = 1024  # images per call of the threads, so that memory does not grow with the dataset
CAMERAS_UNKNOWN = "cameras unknown: no pair is excluded"


@dataclass(frozen=True)
class Part:
    """Counts of train, query or gallery. `cameras` counts the known ones; `published` is (identities, images)."""

    name: str
    identities: int
    cameras: int
    images: int
    published: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Report:
    """Result of `check`.

    Attributes:
        parts: a `Part` each for train, query and gallery.
        problems: lines of text about errors, which have to be corrected.
        remarks: lines of text about possible errors.
        unreadable: (path, reason) of every image that cannot be read.
        unknown_cameras: a line of text if cameras are unknown, else None.
    """

    parts: tuple[Part, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    unknown_cameras: str | None = None

    def lines(self):
        """Returns the report as a list of lines: a table, the problems, the remarks."""
        known = any(count is not None for part in self.parts for count in part.published)
        table = [("", "identities", "cameras", "images") + ("published:", "identities", "images") * known]
        for part in self.parts:
            published = ("", *("-" if count is None else count for count in part.published)) * known
            table.append((part.name, part.identities, part.cameras or "-", part.images, *published))
        lines = ["".join(f"{_cell(cell):{'<8' if i == 0 else '>12'}}" for i, cell in enumerate(row)) for row in table]
        lines += [self.unknown_cameras] * bool(self.unknown_cameras)
        lines += [f"wrong: {problem}" for problem in self.problems] or ["nothing wrong found"]
        lines += [f"    {path} ({why})" for path, why in self.unreadable[:NAMED]]
        lines += [f"    ... and {len(self.unreadable) - NAMED:,} more"] * (len(self.unreadable) > NAMED)
        return lines + [f"remark: {remark}" for remark in self.remarks]

    def __str__(self):
        return "\n".join(self.lines())


def _cell(value):
    return f"{value:,}" if isinstance(value, int) else value


class _File(NamedTuple):
    """One file: the reason why it cannot be read, or its shorter side, Pillow's mode, and its content's digest."""

    fault: str | None = None
    side: int | None = None
    mode: str | None = None
    digest: bytes | None = None


def check(splits, dataset=None, *, progress=None):
    """Counts identities, cameras and images, reads every image as training does, and compares labels and contents.

    Problems are: images that cannot be read; queries without a match under another camera; identities in train and in
    query or gallery; the same bytes in two parts or under two identities. A query and a gallery image of one identity
    and camera may have the same bytes, because such pairs are excluded. Remarks are: files that are passed over; the
    same bytes twice under one identity and camera; a side below 8 pixels; images that are not RGB; training identities
    with one image; counts that differ from the published ones.

    Args:
        splits: `Splits`.
        dataset: row of `DATASETS`, as DATASETS["market1501"], with the published counts (mostly those of the paper's
            Table 2). Gallery images of identity 0 are distractors if no query has this identity. They count as one
            identity, as in Market-1501, or as one each if only this equals the published count, as in GRID; without a
            published count as none.
        progress: function of (files done, files in all), called after every file.

    Returns:
        `Report`.

    Raises:
        ValueError: if `dataset` is the name of a row.

    Reference: paper, Table 2.
    """
    if not hasattr(dataset, "identities") and dataset is not None:
        raise ValueError(f"`dataset` must be a row of `DATASETS`, not its name. Received: dataset={dataset!r}")
    parts = {name: getattr(splits, name) for name in PARTS}
    files = list(dict.fromkeys(path for records in parts.values() for record in records for path in record.paths))
    looks = _read_all(files, progress)
    unreadable = tuple((path, look.fault) for path, look in looks.items() if look.fault)
    counts = _counts(parts, dataset)
    problems = (
        _unmatched(parts),
        _on_both_sides(parts),
        _duplicates(parts, looks),
        # Last, because `Report.lines` continues with the names.
        _line("images that cannot be read", len(unreadable), of=len(files)),
    )
    remarks = (
        _line("files or folders that are passed over", len(splits.passed_over), splits.passed_over),
        _repeated(parts, looks),
        *_odd_images(looks),
        _single(parts),
        _other_than_published(counts),
    )
    return Report(
        counts, tuple(filter(None, problems)), tuple(filter(None, remarks)), unreadable, _unknown_cameras(parts)
    )


def _read_all(files, progress):
    looks = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            for path, look in zip(chunk, pool.map(_read, chunk), strict=True):
                looks[path] = look
                if progress:
                    progress(len(looks), len(files))
    return looks


def _read(path):
    try:
        content = images.read_bytes(path)
        mode = images.mode_of(content, path)
        decode = images.decode_as_training if "tensorflow" in sys.modules else images.decode
        height, width, _ = decode(content, path).shape
    except ValueError as error:
        return _File(str(error).partition(f"{images.UNREADABLE}: ")[2])
    return _File(None, min(height, width), mode, blake2b(content, digest_size=16).digest())


def _counts(parts, dataset):
    unknown = (None,) * len(PARTS)
    identities, images_ = (dataset.identities or unknown, dataset.images or unknown) if dataset else (unknown,) * 2
    asked = {record.identity for record in parts["query"]}
    counts = []
    for (name, records), *published in zip(parts.items(), identities, images_, strict=True):
        people = Counter(record.identity for record in records)
        distractors = people.pop(0, 0) if name == "gallery" and 0 not in asked else 0
        if distractors and published[0] is not None:
            found = len(people) + (distractors if len(people) + distractors == published[0] else 1)
        else:
            found = len(people)
        cameras = {record.camera for record in records} - {None}
        counts.append(Part(name, found, len(cameras), len(records), tuple(published)))
    return tuple(counts)


def _line(what, count, examples=(), of=None):
    """Returns a line of text with a count, or None if the count is 0."""
    total = "" if of is None else f" of {of:,}"
    return f"{what}: {count:,}{total}{f' ({first_three(examples)})' if examples else ''}" if count else None


def _unknown_cameras(parts):
    cameras = [record.camera for records in parts.values() for record in records]
    unknown = cameras.count(None)
    if unknown == len(cameras):
        return CAMERAS_UNKNOWN if cameras else None
    return f"{CAMERAS_UNKNOWN} for {unknown:,} of {len(cameras):,} images" if unknown else None


def _unmatched(parts):
    cameras = defaultdict(set)
    for record in parts["gallery"]:
        cameras[record.identity].add(record.camera)
    alone = [
        query.path
        for query in parts["query"]
        if None not in cameras[query.identity] and not cameras[query.identity] - {query.camera}
    ]
    return _line("queries without a match under another camera", len(alone), alone, len(parts["query"]))


def _on_both_sides(parts):
    tested = {record.identity for record in (*parts["query"], *parts["gallery"])}
    both = sorted({record.identity for record in parts["train"]} & tested)
    return _line("identities both in train and in query or gallery", len(both), both)


def _duplicates(parts, looks):
    owners = defaultdict(dict)
    for name, records in parts.items():
        for record in records:
            label = (name, record.identity, record.camera)
            for path in record.paths:
                if looks[path].digest:
                    owners[looks[path].digest].setdefault(label, path)
    found = []
    for own in owners.values():
        clashes = (f"{own[a]} = {own[b]}" for a, b in combinations(own, 2) if _clash(a, b))
        found += [clash for clash in [next(clashes, None)] if clash]
    return _line("the same content in two parts or under two identities", len(found), found)


def _repeated(parts, looks):
    """Returns a line about equal files in the same part, identity and camera: each match counts twice."""
    first, found = {}, []
    for name, records in parts.items():
        for record in records:
            for path in record.paths:
                content = (name, record.identity, record.camera, looks[path].digest)
                if content[-1] and first.setdefault(content, path) != path:
                    found.append(f"{first[content]} = {path}")
    return _line("the same content twice under one identity and camera", len(found), found)


def _clash(one, other):
    (part, *label), (other_part, *other_label) = one, other
    if {part, other_part} == {"query", "gallery"} and label == other_label:
        return label[1] is None  # pairs with a known camera are excluded
    return part != other_part or label[0] != other_label[0]


def _odd_images(looks):
    tiny = [path for path, look in looks.items() if look.side is not None and look.side < TINY]
    modes = Counter(look.mode for look in looks.values() if look.mode not in (None, "RGB"))
    kinds = [f"{mode} {count:,}" for mode, count in modes.most_common()]
    return (
        _line(f"images with a side of less than {TINY} pixels", len(tiny), tiny),
        _line("images that are not RGB (read as RGB, without transparency)", modes.total(), kinds),
    )


def _single(parts):
    images_of = Counter(record.identity for record in parts["train"])
    single = sorted(identity for identity, count in images_of.items() if count == 1)
    return _line("training identities with one image", len(single), single)


def _other_than_published(counts):
    other = [
        part.name
        for part in counts
        for count, published in zip((part.identities, part.images), part.published, strict=True)
        if published not in (None, count)
    ]
    return f"counts differ from the published ones: {', '.join(dict.fromkeys(other))}" if other else None
