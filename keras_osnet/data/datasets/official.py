"""Checks of official folders, and the names of their files."""

from pathlib import Path

from keras_osnet.data.images import SUFFIXES, first_three
from keras_osnet.data.records import Record

LARGEST_NUMBER = 2**63 - 1  # of identities and cameras, which become int64


def require(root, what, expected_tree, paths):
    """Refuses a root that lacks one of `paths`. A path with a suffix must be a file, any other a folder."""
    paths = [Path(root) / path for path in paths]
    missing = [str(path) for path in paths if not (path.is_file() if path.suffix else path.is_dir())]
    if missing:
        raise ValueError(
            f"`root` must hold {what}:\n{expected_tree}Not found: {', '.join(missing)}. Received: root={root}"
        )


def parsed(folder, name, example):
    """Returns the image files of a folder with their parsed names. Hidden files are ignored.

    Args:
        folder: `Path`.
        name: regular expression that every file name must match.
        example: example of a name, for the error message.

    Returns:
        list of (path, match), sorted by path.

    Raises:
        ValueError: if there is no image, or one of another name.
    """
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    matches = [(path, name.fullmatch(path.name)) for path in sorted(files)]
    bad = [path.name for path, match in matches if match is None or not _in_range(match)]
    if bad or not matches:
        raise ValueError(
            f"{folder} must hold images named like {example}. "
            f"Received: {len(matches)} images, {len(bad)} of other names{': ' * bool(bad)}{first_three(bad)}"
        )
    return matches


def records_of(folder, name, example):
    """Returns the records of a folder's images. The groups of `name` are identity (-1: junk) and camera."""
    matches = parsed(folder, name, example)
    return tuple(Record(str(path), int(m[1]), int(m[2])) for path, m in matches if int(m[1]) != -1)


def _in_range(match):
    return all(abs(int(group)) <= LARGEST_NUMBER for group in match.groups() if group and group.lstrip("-").isdigit())
