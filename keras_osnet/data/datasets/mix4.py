"""Mix4: the training sets of Market-1501, CUHK03, DukeMTMC-reID and MSMT17 as one, for training only."""

from dataclasses import replace

from keras_osnet.data.datasets import cuhk03, dukemtmcreid, market1501, msmt17
from keras_osnet.data.datasets.official import require
from keras_osnet.data.records import Splits

SETS = (market1501, cuhk03, dukemtmcreid, msmt17)
EXPECTED_TREE = "".join(dataset.EXPECTED_TREE for dataset in SETS)


def load(root):
    """Reads the four training sets, CUHK03's of the 767/700 split with detected boxes.

    Args:
        root: folder that holds the four official folders.

    Returns:
        `Splits` whose query and gallery are empty. Identities and cameras of each dataset are numbered after those of
        the datasets before it.

    Raises:
        ValueError: naming all folders that are missing; and as the four readers.

    Reference: paper, Section 4.1, Datasets and Settings: pre-training for VIPeR and GRID.
    """
    paths = (*market1501.REQUIRED, *cuhk03.required("detected"), *dukemtmcreid.REQUIRED, *msmt17.required(root))
    require(root, "the four official folders that Mix4 merges", EXPECTED_TREE, paths)
    merged, identities, cameras = [], 0, 0
    for dataset in SETS:
        train = dataset.load(root).train
        merged += [replace(r, identity=r.identity + identities, camera=r.camera + cameras) for r in train]
        identities = 1 + max(record.identity for record in merged)
        cameras = 1 + max(record.camera for record in merged)
    return Splits(tuple(merged), (), ())
