"""Draws the images of augmentation.md: what a training batch of synthetic people looks like.

    python docs/augmentation.py

Each strip is one batch of `training_batches`, put back in order, with one augmentation always on.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from keras_osnet.data.augment import Augmentation
from keras_osnet.data.drawn.synthetic import render
from keras_osnet.data.pipeline import training_batches
from keras_osnet.preprocessing import MEAN, STD

FOLDER = Path(__file__).with_suffix("")
SIZE, GAP, SEED = (192, 96), 6, 3
PEOPLE = ((1, 1), (2, 3), (3, 4), (4, 2), (5, 3), (6, 1), (7, 2), (8, 4))  # identity, camera

STRIPS = {
    "original": Augmentation(flip=0),
    "flip": Augmentation(flip=1),
    "crop": Augmentation(flip=0, crop=1),
    "patch": Augmentation(flip=0, patch=1),
    "jitter": Augmentation(flip=0, jitter=1),
    "augmix": Augmentation(flip=0, augmix=1),
    "grey": Augmentation(flip=0, grey=1),
    "erase_torchreid": Augmentation(flip=0, erase=1),
    "erase_mean": Augmentation(flip=0, erase=1, erase_fill="mean"),
    "all": Augmentation(flip=0.5, crop=0.5, patch=0.5, jitter=1, erase=0.5),
}


def strip(paths, augmentation):
    """The images of one batch, in the order of the paths, side by side: PIL image."""
    batch = training_batches(
        paths, range(len(paths)), size=SIZE, batch_size=len(paths), augmentation=augmentation, seed=SEED, epochs=1
    )
    images, labels = next(batch.as_numpy_iterator())
    levels = np.rint((images[np.argsort(labels)] * STD + MEAN) * 255).clip(0, 255).astype(np.uint8)
    gap = np.full((SIZE[0], GAP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for image in levels for part in (image, gap)][:-1], axis=1))


def main():
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{identity}.png" for identity, _ in PEOPLE]
        for path, (identity, camera) in zip(paths, PEOPLE, strict=True):
            render(identity, camera, 0).save(path)
        for name, augmentation in STRIPS.items():
            strip(paths, augmentation).save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
