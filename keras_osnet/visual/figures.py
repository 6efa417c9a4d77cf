"""All figures. This module draws the figures of images: triplets, rankings and activation maps.

Functions of arrays return a `matplotlib.figure.Figure`, without pyplot and its global state. Sizes are in inches.
"""

from textwrap import fill

import numpy as np

from keras_osnet.visual.bars import attributes_figure, exponents_figure, gates_figure
from keras_osnet.visual.curves import (
    cmc_figure,
    comparison_figure,
    distances_figure,
    feature_map_figure,
    roc_figure,
    rounds_figure,
    training_figure,
    training_panels,
)
from keras_osnet.visual.gates import overlay
from keras_osnet.visual.marks import MARKS, QUERY, RIGHT, WRONG
from keras_osnet.visual.style import (
    FAINT,
    GAP,
    LINE,
    MARGIN,
    Sheet,
    cell_of,
    checked_array,
    checked_images,
    checked_list,
    short_numbers,
)

__all__ = [
    "activations_figure",
    "attributes_figure",
    "cmc_figure",
    "comparison_figure",
    "distances_figure",
    "exponents_figure",
    "feature_map_figure",
    "gates_figure",
    "ranking_figure",
    "roc_figure",
    "rounds_figure",
    "training_figure",
    "training_panels",
    "triplets_figure",
]


def triplets_figure(query, match, impostor, distances=None):
    """Draws triplets of query, true match and impostor (paper, Figure 1), four per row.

    Args:
        query, match, impostor: N images each, (H, W, 3) uint8.
        distances: (N, 2), of match and impostor from the query. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    query = checked_images("query", query)
    sides = query, checked_images("match", match, len(query)), checked_images("impostor", impostor, len(query))
    texts = np.full((len(query), 3), "", object)
    if distances is not None:
        texts[:, 1:] = short_numbers(checked_array("distances", distances, (len(query), 2)))
    width, height = cell_of(query[0], 1.5)
    group, columns = 3 * (width + GAP) + 2 * GAP, min(4, len(query))
    lines = 2 * LINE
    rows = -(-len(query) // columns)
    sheet = Sheet(2 * MARGIN + columns * group - 3 * GAP, 2 * MARGIN + rows * (height + lines) + LINE)
    for number, images in enumerate(zip(*sides, strict=True)):
        top = MARGIN + LINE + number // columns * (height + lines)
        for place, (image, mark) in enumerate(zip(images, (QUERY, RIGHT, WRONG), strict=True)):
            left = MARGIN + number % columns * group + place * (width + GAP)
            below = f"{mark.sign} {texts[number, place]}".strip()
            sheet.image(image, left, top, width, height, mark=mark, below=below)
            if number < columns:
                name = ("query", "match", "impostor")[place]
                sheet.write(left + width / 2, top - 0.06, name, ha="center", va="bottom", color=mark.colour)
    return sheet


def ranking_figure(queries, gallery, kinds, distances=None, titles=None):
    """Draws a row of the nearest gallery images for each query.

    Args:
        queries: Q images, (H, W, 3) uint8.
        gallery: Q lists of `top` images.
        kinds: (Q, top) integers, indices into `PAIR_KINDS`.
        distances: (Q, top). Default: none.
        titles: Q texts below the queries. Default: none.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    queries = checked_images("queries", queries)
    kinds = checked_array("kinds", kinds, (len(queries), None))
    if kinds.dtype.kind not in "iu" or kinds.min() < 0 or kinds.max() >= len(MARKS):
        raise ValueError(f"`kinds` must be indices into {tuple(MARKS)}. Received: {np.unique(kinds).tolist()}")
    marks, top = tuple(MARKS.values()), kinds.shape[1]
    gallery = [checked_images("gallery", row, top) for row in checked_list("gallery", gallery, len(queries))]
    texts = np.full(kinds.shape, "")
    if distances is not None:
        texts = short_numbers(checked_array("distances", distances, kinds.shape))
    titles = [""] * len(queries) if titles is None else checked_list("titles", titles, len(queries))
    width, height = cell_of(queries[0], 1.3)
    width = max(width, 0.52)  # for the number below
    wide = 2 * MARGIN + width + 2 * GAP + top * (width + GAP)
    sheet = Sheet(max(wide, 4), 2 * MARGIN + len(queries) * (height + 2 * LINE) + 2.5 * LINE)
    lefts = MARGIN + width + 3 * GAP + np.arange(top) * (width + GAP)
    for left, name in zip([MARGIN, *lefts], ["query", *range(1, top + 1)], strict=True):
        sheet.write(left + width / 2, MARGIN + LINE - 0.06, name, ha="center", va="bottom", color=FAINT)
    for row, query in enumerate(queries):
        above = MARGIN + LINE + row * (height + 2 * LINE)
        sheet.image(query, MARGIN, above, width, height, mark=QUERY, below=titles[row])
        for left, image, kind, text in zip(lefts, gallery[row], kinds[row], texts[row], strict=True):
            mark = marks[kind]
            sheet.image(image, left, above, width, height, mark=mark, below=f"{mark.sign} {text}".strip())
    names = (f"{mark.sign} {name}" for name, mark in MARKS.items())
    bottom = MARGIN + LINE + len(queries) * (height + 2 * LINE) + 0.06
    sheet.write(MARGIN, bottom, "     ".join(names) + ", not scored", color=FAINT)
    return sheet


def activations_figure(images, maps, other=None, names=("this network", "other")):
    """Draws activation maps of a network, and of a second network beside them (paper, Figure 6).

    Args:
        images: N images, (H, W, 3) uint8.
        maps: (N, h, w), the result of `keras_osnet.inference.activations.activation_maps`.
        other: (N, h2, w2), maps of the second network. Default: none.
        names: names of the two networks.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    images = checked_images("images", images)
    sides = [("maps", maps)] + ([] if other is None else [("other", other)])
    maps = [checked_array(name, values, (len(images), None, None)) for name, values in sides]
    heads = ["image", *map(_folded, checked_list("names", names, 2)[: len(maps)])]
    width, height = cell_of(images[0], 1.5)
    width = max(width, 0.7)
    group = len(heads) * (width + 0.04) + 3 * GAP
    columns = min(len(images), int(10 / group))
    rows, head = -(-len(images) // columns), LINE * (1 + max(text.count("\n") for text in heads))
    sheet = Sheet(2 * MARGIN + columns * group - 3 * GAP, 2 * MARGIN + head + rows * (height + GAP))
    for number, image in enumerate(images):
        top = MARGIN + head + number // columns * (height + GAP)
        seen = [image, *(overlay(image, values[number]) for values in maps)]
        for place, (shown, text) in enumerate(zip(seen, heads, strict=True)):
            left = MARGIN + number % columns * group + place * (width + 0.04)
            sheet.image(shown, left, top, width, height)
            if number < columns:
                sheet.write(left + width / 2, top - 0.04, text, ha="center", va="bottom", color=FAINT)
    return sheet


def _folded(name):
    """Breaks a name into lines that fit above an image, also after underscores."""
    return fill(str(name).replace("_", "_ "), 14, break_long_words=False).replace("_ ", "_")
