"""RAPv2: 84,928 images with attributes, from its official annotation."""

from pathlib import Path

from keras_osnet.data.datasets.attribute_lists import attribute_names, attribute_records, indices, texts
from keras_osnet.data.datasets.official import require
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import AttributeSplits

FOLDER = "RAPv2"
ANNOTATION, IMAGES = f"{FOLDER}/RAP_annotation/RAP_annotation.mat", f"{FOLDER}/RAP_dataset"
EXPECTED_TREE = f"""{FOLDER}/
    RAP_annotation/RAP_annotation.mat    name, attribute, data, selected_attribute, partition_attribute
    RAP_dataset/                         CAM01-2014-02-15-20140215161032-20140215162620-tarid0-frame218-line1.png ...
"""
PARTS = ("train", "val", "test")
LARGEST = 2**28  # bytes: 84,928 x 152 labels as doubles are 103 MB


def load(root):
    """Reads `root`/RAPv2 with its 54 selected attributes and the first of its five partitions: 50,957, 16,986, 16,985.

    Images are opened later, but must exist now. A label 2 is read as 0, as by Jia et al.

    Args:
        root: folder that holds the folders of the official archives.

    Returns:
        `AttributeSplits`.

    Raises:
        ValueError: if a folder or images are missing, RAP_annotation.mat is damaged or of another layout, or labels are
            not 0, 1 or 2.

    Reference: Li et al., A Richly Annotated Pedestrian Dataset for Person Retrieval in Real Surveillance Scenarios
    (IEEE TIP 2019); Jia et al., Rethinking of Pedestrian Attribute Recognition (2021), whose code reads 2 as 0.
    """
    require(root, "RAPv2's official folders", EXPECTED_TREE, (ANNOTATION, IMAGES))
    path, folder = Path(root) / ANNOTATION, Path(root) / IMAGES
    found = read_variables(path, ("RAP_annotation",), largest=LARGEST)["RAP_annotation"]
    try:
        files, names = (texts(found[field], path, field) for field in ("name", "attribute"))
        chosen = indices(found["selected_attribute"], len(names), path, "selected_attribute")
        labels, partition = found["data"][:, chosen], found["partition_attribute"].ravel()[0]
        labels[labels == 2] = 0
        rows = {part: indices(partition[f"{part}_index"], len(files), path, f"{part}_index") for part in PARTS}
        labels = {part: labels[rows[part]] for part in PARTS}
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path} must hold the struct `RAP_annotation` with\n{EXPECTED_TREE}"
            f"Received: {type(error).__name__}: {error}"
        ) from error
    names = attribute_names([names[i] for i in chosen], path)
    parts = [
        attribute_records([files[i] for i in rows[part]], labels[part], names, folder, path, part) for part in PARTS
    ]
    return AttributeSplits(*parts, names)
