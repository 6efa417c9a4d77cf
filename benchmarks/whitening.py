"""What whitening of features gives without training, with and without the camera means.

    python benchmarks/whitening.py --weights osnet_x0_25_msmt17 --data-dir D     Market-1501

The principal components are those of the dataset's training images, whose identities are not read. Each one is divided
by its standard deviation ("whitened") or by the root of it ("half").
"""

from pathlib import Path

import numpy as np
import tyro

from keras_osnet import FeatureExtractor
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.adaptation.cameras import unit_rows
from keras_osnet.data import load_splits
from keras_osnet.inference.scores import score_features


def main(weights: str, data_dir: Path, dataset: str = "market1501") -> None:
    """Print Rank-1 / mAP by cosine, in per cent.

    Args:
        weights: argument of `FeatureExtractor`.
        data_dir: folder that holds the dataset's official folder.
        dataset: row of keras_osnet.DATASETS with training images and cameras.
    """
    splits = load_splits(dataset, data_dir)[0]
    sides = splits.train, splits.query, splits.gallery
    extractor = FeatureExtractor(weights)
    plain = [unit_rows(extractor([record.path for record in side])) for side in sides]
    cameras = [splits.cameras_of(side) for side in sides]
    normalizer = CameraNormalizer().fit(plain[0], cameras[0])
    removed = [normalizer.transform(*side) for side in zip(plain, cameras, strict=True)]

    def show(title, query, gallery):
        found = score_features(query, gallery, splits, metric="cosine")
        print(f"{title}: {100 * found['rank1']:.2f} / {100 * found['mAP']:.2f}")

    for name, (train, *scored) in (("as they are", plain), ("camera means removed", removed)):
        show(name, *scored)
        mean = train.mean(axis=0)
        deviations, components = np.linalg.svd(train - mean, full_matrices=False)[1:]
        for change, power in (("half", 0.5), ("whitened", 1)):
            show(f"{name}, {change}", *((side - mean) @ (components.T / deviations**power) for side in scored))


if __name__ == "__main__":
    tyro.cli(main)
