"""PA-100K, from its official folder."""

from pathlib import Path

from keras_osnet.data.datasets.attribute_lists import attribute_names, attribute_records, texts
from keras_osnet.data.datasets.official import require
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import AttributeSplits

FOLDER = "PA-100K"
EXPECTED_TREE = f"""{FOLDER}/
    annotation.mat       {{train,val,test}}_images_name, {{train,val,test}}_label, attributes
    release_data/        000001.jpg ... (or release_data/release_data/)
"""
ANNOTATION = f"{FOLDER}/annotation.mat"
IMAGES = f"{FOLDER}/release_data"
PARTS = ("train", "val", "test")


def load(root):
    """Reads `root`/PA-100K: 80,000 training, 10,000 validation and 10,000 test images with 26 attributes.

    Images are opened later, but must exist now. No identity is known.

    Args:
        root: folder that holds the official folder.

    Returns:
        `AttributeSplits`.

    Raises:
        ValueError: if the folder or images are missing, annotation.mat is damaged or of another layout, names and
            labels differ in number, the name of an attribute repeats, or labels are not 0 or 1.

    Reference: Liu et al., HydraPlus-Net (ICCV 2017); paper, Section 4.2.
    """
    require(root, "PA-100K's official folder", EXPECTED_TREE, (ANNOTATION, IMAGES))
    path, folder = Path(root) / ANNOTATION, Path(root) / IMAGES
    nested = folder / "release_data"
    folder = nested if nested.is_dir() else folder
    keys = [f"{part}_{what}" for part in PARTS for what in ("images_name", "label")]
    arrays = read_variables(path, [*keys, "attributes"])
    names = attribute_names(texts(arrays["attributes"], path, "attributes"), path)
    parts = []
    for part in PARTS:
        files = texts(arrays[f"{part}_images_name"], path, f"{part}_images_name")
        parts.append(attribute_records(files, arrays[f"{part}_label"], names, folder, path, part))
    return AttributeSplits(*parts, names)
