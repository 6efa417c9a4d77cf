"""Image files below folders, found by their suffix, and the files that are passed over."""

import mimetypes
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_osnet.data.images import BYTES, SUFFIXES, first_three


def scan(folder):
    """Finds the image files below a folder. Links to folders are followed. Each folder is read once, so that loops end.

    Args:
        folder: path of the folder. Hidden files and folders in it are ignored.

    Returns:
        (images, passed_over): sorted list of `Path`, and a dict of path to reason for other files, broken links and
        folders that cannot be read.
    """
    images, passed_over, seen, waiting, links = [], {}, set(), [os.fspath(folder)], []
    while waiting or links:  # folders before links to folders
        here = waiting.pop() if waiting else links.pop(0)
        try:
            found = os.stat(here)
            entries = [] if (found.st_dev, found.st_ino) in seen else sorted(os.scandir(here), key=lambda e: e.name)
        except OSError as error:
            passed_over[here] = error.strerror
            continue
        seen.add((found.st_dev, found.st_ino))
        for entry in entries:
            link = entry.is_symlink()
            if entry.name[0] == ".":
                continue
            if os.path.isdir(entry.path) if link else entry.is_dir():
                (links if link else waiting).append(entry.path)
            elif Path(entry.name).suffix.lower() not in SUFFIXES:
                passed_over[entry.path] = "not an image suffix"
            elif os.path.isfile(entry.path) if link else entry.is_file():
                images.append(Path(entry.path))
            else:
                passed_over[entry.path] = "broken link" if link else "not a regular file"
    return sorted(images), passed_over


def scan_flat(folder):
    """Finds the image files of a folder, as `scan`, but passes over folders within it.

    Returns:
        (images, passed_over): sorted list of `Path`, and lines of text.
    """
    images, passed_over = scan(folder)
    passed_over |= {str(path): "in a nested folder" for path in images if path.parent != Path(folder)}
    lines = [f"{path} ({reason})" for path, reason in sorted(passed_over.items())]
    return [path for path in images if str(path) not in passed_over], lines


def list_images(folder):
    """Returns the image files below a folder, sorted by path. See `scan`.

    A warning names what may be images and is passed over: folders that cannot be read, broken links, other formats.

    Raises:
        ValueError: if it is not a folder, or holds no image.
    """
    if not (isinstance(folder, (str, os.PathLike)) and os.path.isdir(folder)):
        raise ValueError(f"{str(folder)!r} must be a folder.")
    images, passed_over = scan(folder)
    lines = [f"{path} ({reason})" for path, reason in sorted(passed_over.items())]
    if not images:
        raise ValueError(
            f"{str(folder)!r} must hold images ({', '.join(sorted(SUFFIXES))}). Received: {len(lines)} other files and "
            f"folders{': ' * bool(lines)}{first_three(lines)}"
        )
    warn_of(lines)
    return images


def warn_of(lines):
    """Warns the caller's caller of what may be images and is passed over, of lines as those of `scan_flat`."""
    missed = [
        line
        for line in lines
        if "not an image suffix" not in line or "image/" in str(mimetypes.guess_type(line.rpartition(" (")[0]))
    ]
    if missed:
        warnings.warn(f"{len(missed)} files or folders are passed over: {first_three(missed)}", stacklevel=3)


def names_of(paths):
    """Returns image files as text. A ValueError refuses a single path, whose letters would count, and what is none."""
    several = hasattr(paths, "__iter__") and not isinstance(paths, str | os.PathLike)
    names = list(paths) if several else [None]
    if not all(isinstance(name, str | bytes | os.PathLike) for name in names):
        raise ValueError(f"`paths` must be a list of image files, see `list_images`. Received: paths={paths!r:.200}")
    return [os.fspath(name) for name in names]


def require_utf8(paths, where=""):
    """Checks that names of files are UTF-8, as TensorFlow's readers need. A ValueError names the others."""
    names = [(os.fsencode(path), os.fsdecode(path).encode(errors="replace")) for path in paths]
    others = [name for name, as_utf8 in names if name != as_utf8]
    if others:
        raise ValueError(f"File names must be UTF-8. Received: {len(others)} others: {first_three(others)}{where}")


def require_files(paths):
    """Checks that files exist and have 1 to `BYTES` bytes, without opening them. A ValueError names the others."""

    def fault(path):
        size = os.stat(path).st_size if os.path.isfile(path) else None
        return f"{path} ({'missing' if size is None else f'{size:,} bytes'})" * (size is None or not 0 < size <= BYTES)

    with ThreadPoolExecutor() as pool:
        faults = list(filter(None, pool.map(fault, paths)))
    if faults:
        raise ValueError(
            f"Image files must exist and have 1 .. {BYTES:,} bytes. "
            f"Received: {len(faults)} of {len(paths)} others: {first_three(faults)}"
        )
