"""ImageNet, and any set of pictures in a folder per class."""

from dataclasses import dataclass
from pathlib import Path

from keras_osnet.data.images import SUFFIXES

EXPECTED_TREE = """train/<class>/<any>.JPEG
val/<class>/<any>.JPEG     (or test/)
"""


@dataclass(frozen=True)
class ClassSplits:
    """(path, label) pairs of two parts, and the classes' names, sorted; a label counts them from 0."""

    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]


def load(folder):
    """Reads the names in `folder`/train and `folder`/val (or test), a folder per class. Hidden files are left out.

    Args:
        folder: e.g. the one that holds ImageNet's train and val.

    Returns:
        `ClassSplits`.

    Raises:
        ValueError: if a part or a class is missing, or a class folder is empty.

    Reference: Russakovsky et al., ImageNet (2015); paper, Section 4.1 (pre-training).
    """
    folder = Path(folder)
    parts = [folder / "train", next((folder / name for name in ("val", "test") if (folder / name).is_dir()), folder)]
    if not parts[0].is_dir() or parts[1] == folder:
        raise ValueError(f"`folder` must hold\n{EXPECTED_TREE}Received: folder={folder}")
    names = [sorted(path.name for path in part.iterdir() if path.is_dir() and path.name[0] != ".") for part in parts]
    if not names[0] or names[0] != names[1]:
        odd = sorted(set(names[0]) ^ set(names[1]))
        raise ValueError(
            f"{folder} must hold the same classes in both parts. Received: {len(names[0])} and {len(names[1])}"
            f"{', of which in one only: ' if odd else ''}{', '.join(odd[:3])}"
        )
    return ClassSplits(*(_part(part, names[0]) for part in parts), tuple(names[0]))


def _part(part, classes):
    found = []
    for label, name in enumerate(classes):
        files = sorted(
            path for path in (part / name).iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."
        )
        if not files:
            raise ValueError(f"{part / name} must hold pictures ({', '.join(sorted(SUFFIXES))}). Received: none")
        found += [(str(path), label) for path in files]
    return tuple(found)
