"""PETA: 19,000 images with attributes, from its official annotation."""

from pathlib import Path

from keras_osnet.data.datasets.attribute_lists import attribute_names, attribute_records, indices, texts
from keras_osnet.data.datasets.official import require
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import AttributeSplits

FOLDER = "PETA"
ANNOTATION, IMAGES = f"{FOLDER}/PETA.mat", f"{FOLDER}/images"
EXPECTED_TREE = f"""{FOLDER}/
    PETA.mat    labels, names of the attributes, five random partitions
    images/     00001.png ...
"""
SCORED = 35  # attributes; the others are colours, or too few images have them
BEFORE = 4  # columns before those of the attributes


def load(root):
    """Reads `root`/PETA with its 35 usual attributes and the first of its five partitions: 9,500, 1,900 and 7,600.

    Images of one person are in several parts. Images are opened later, but must exist now.

    Args:
        root: folder that holds the official folder.

    Returns:
        `AttributeSplits`.

    Raises:
        ValueError: if the folder or images are missing, PETA.mat is damaged or of another layout, or labels are not 0
            or 1.

    Reference: Deng et al., Pedestrian Attribute Recognition at Far Distance (ACM MM 2014).
    """
    require(root, "PETA's official folder", EXPECTED_TREE, (ANNOTATION, IMAGES))
    path, folder = Path(root) / ANNOTATION, Path(root) / IMAGES
    peta = read_variables(path, ("peta",))["peta"]
    try:  # fields by their position: labels, names, a selection, partitions
        labels, names, _, partitions = list(peta.values())[:4]
        labels = labels[:, BEFORE : BEFORE + SCORED]
        train, val, test = (part[:, 0] for part in list(partitions.ravel()[0].values())[:3])
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold a struct `peta` of labels, names, a selection and partitions. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    names = attribute_names(texts(names, path, "peta")[:SCORED], path)
    parts = []
    for part, numbers in (("train", train), ("val", val), ("test", test)):
        rows = indices(numbers, len(labels), path, part)
        files = [f"{row + 1:05d}.png" for row in rows]
        parts.append(attribute_records(files, labels[rows], names, folder, path, part))
    return AttributeSplits(*parts, names)
