"""A drawn set for classification: shapes and patterns in random colours, positions and sizes, on noise."""

import numpy as np
from PIL import Image, ImageDraw

from keras_osnet.data.records import ClassArrays

SIDE = 32
SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "rows", "columns", "checks", "dots")


def draw(seed=0, train=2000, test=500):
    """Draws the set, of CIFAR's size.

    Args:
        seed: seed of all images.
        train, test: numbers of images.

    Returns:
        `ClassArrays`.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for count in (train, test):
        labels = rng.integers(0, len(SHAPES), count).astype("int32")
        sides += [np.stack([_image(SHAPES[label], rng) for label in labels]), labels]
    return ClassArrays(*sides, SHAPES)


def _image(shape, rng):
    ground, colour = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    if np.abs(ground - colour).sum() < 200:  # too similar
        colour = 255 - ground if np.abs(255 - 2 * ground).sum() >= 200 else (ground + 128) % 256
    image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, ground)))
    pen, ink, r = ImageDraw.Draw(image), tuple(map(int, colour)), int(rng.integers(5, 13))
    x, y = (int(v) for v in rng.integers(r + 1, SIDE - r - 1, 2))
    box, period, start = (x - r, y - r, x + r, y + r), int(rng.integers(4, 9)), int(rng.integers(0, 4))
    grid = range(start - period, SIDE, period)
    strokes = {
        "disc": lambda: pen.ellipse(box, fill=ink),
        "ring": lambda: pen.ellipse(box, outline=ink, width=2),
        "square": lambda: pen.rectangle(box, fill=ink),
        "frame": lambda: pen.rectangle(box, outline=ink, width=2),
        "triangle": lambda: pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink),
        "cross": lambda: [pen.line(b, ink, 3) for b in ((x - r, y, x + r, y), (x, y - r, x, y + r))],
        "rows": lambda: [pen.rectangle((0, k, SIDE, k + period // 2 - 1), fill=ink) for k in grid],
        "columns": lambda: [pen.rectangle((k, 0, k + period // 2 - 1, SIDE), fill=ink) for k in grid],
        "checks": lambda: [
            pen.rectangle((a, b, a + period - 1, b + period - 1), fill=ink)
            for i, a in enumerate(grid)
            for j, b in enumerate(grid)
            if (i + j) % 2
        ],
        "dots": lambda: [pen.ellipse((a, b, a + 2, b + 2), fill=ink) for a in grid for b in grid],
    }
    strokes[shape]()
    return np.clip(np.asarray(image) + rng.normal(0, 12, (SIDE, SIDE, 1)), 0, 255).astype("uint8")
