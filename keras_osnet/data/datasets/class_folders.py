"""ImageNet, and other datasets with a folder of images per class."""

from dataclasses import dataclass

from keras_osnet.data.images import SUFFIXES, first_three
from keras_osnet.data.listing import scan_flat, warn_of
from keras_osnet.files import path_of

EXPECTED_TREE = """train/<class>/<any>.JPEG
val/<class>/<any>.JPEG     (or test/)
"""


@dataclass(frozen=True)
class ClassSplits:
    """(path, label) pairs of two parts, and the sorted names of the classes. A label is the index of its name.

    `passed_over` lists files and folders in the classes' folders that are not images or cannot be read.
    """

    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


def load(folder):
    """Reads the file names below `folder`/train and `folder`/val (or test), a folder per class, without hidden ones.

    A warning names what may be images and is passed over: nested folders, broken links, other formats.

    Args:
        folder: folder that holds the two parts.

    Returns:
        `ClassSplits`.

    Raises:
        ValueError: if a part or a class is missing, or a class folder is empty.

    Reference: Russakovsky et al., ImageNet (2015); paper, Section 4.1 (pre-training).
    """
    folder = path_of("folder", folder)
    parts = [folder / "train", next((folder / name for name in ("val", "test") if (folder / name).is_dir()), folder)]
    if not parts[0].is_dir() or parts[1] == folder:
        raise ValueError(f"`folder` must hold\n{EXPECTED_TREE}Received: folder={folder}")
    names = [sorted(path.name for path in part.iterdir() if path.is_dir() and path.name[0] != ".") for part in parts]
    if not names[0] or names[0] != names[1]:
        odd = sorted(set(names[0]) ^ set(names[1]))
        raise ValueError(
            f"{folder} must hold the same classes in both parts. Received: {len(names[0])} and {len(names[1])}"
            f"{', of which in one only: ' * bool(odd)}{first_three(odd)}"
        )
    passed_over = []
    found = [_part(part, names[0], passed_over) for part in parts]
    warn_of(passed_over)
    return ClassSplits(*found, tuple(names[0]), tuple(passed_over))


def _part(part, classes, passed_over):
    found = []
    for label, name in enumerate(classes):
        images, others = scan_flat(part / name)
        if not images:
            raise ValueError(f"{part / name} must hold images ({', '.join(sorted(SUFFIXES))}). Received: none")
        found += [(str(path), label) for path in images]
        passed_over += others
    return tuple(found)
