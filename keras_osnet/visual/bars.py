"""Figures of images and bars: exponents that gates prefer, attributes that a network predicts."""

import numpy as np

from keras_osnet.metrics.arguments import as_array, check_number, is_number
from keras_osnet.visual.marks import QUERY, RIGHT, WRONG
from keras_osnet.visual.style import (
    FAINT,
    INK,
    LINE,
    MARGIN,
    SMALL,
    Sheet,
    cell_of,
    checked_array,
    checked_dict,
    checked_images,
    checked_list,
    legend_of,
    plain,
)

# Light to dark, in the order of the exponents, which is visible without colours too.
SHADES = (("#cfe3f3", INK), ("#8dbfe3", INK), ("#2f7fbd", "white"), ("#0a3d6b", "white"), ("#000000", "white"))


def gates_figure(images, clusters, exponents=None):
    """Draws the images of each cluster of gates and the exponents that it prefers (paper, Figure 5).

    Args:
        images: a list per cluster: the images of `clusters.nearest`, (H, W, 3) uint8.
        clusters: `GateClusters`.
        exponents: t of each of the T streams, of `gated_blocks`. Streams with equal t are named by their numbers.
            Default: 1 to T.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    rows = checked_list("images", images, len(clusters.sizes))
    names = _stream_names(exponents, np.shape(clusters.exponents)[1])
    images = [checked_images("images", row) if len(row) else row for row in rows]  # equal gates leave clusters empty
    first = next((row[0] for row in images if len(row)), None)
    if first is None:
        raise ValueError(f"`images` must hold an image. Received: {len(images)} empty lists")
    width, height = cell_of(first, 1.0)
    label, bars, step = 0.85, 1.5, height + 1.5 * LINE
    right = MARGIN + label + max(map(len, images)) * (width + 0.04) + 0.65
    sheet = Sheet(right + bars + 0.35 + MARGIN, 2 * MARGIN + 1.5 * LINE + len(images) * step)
    sheet.write(right - 0.3, MARGIN - 0.02, "channels that prefer each stream, %", color=FAINT)
    for k, row in enumerate(images):
        top = MARGIN + 1.5 * LINE + k * step
        text = f"cluster {k + 1}\n{clusters.sizes[k]} image{'' if clusters.sizes[k] == 1 else 's'}"
        sheet.write(MARGIN, top + height / 2, text, va="center")
        for place, image in enumerate(row):
            sheet.image(image, MARGIN + label + place * (width + 0.04), top, width, height)
        _fractions(sheet.area(right, top, bars, height), names, 100 * clusters.exponents[k])
    return sheet


def exponents_figure(fractions, exponents=None):
    """Draws the exponents that the gates of each block, or of each cluster of images, prefer.

    Args:
        fractions: dict of name to (T,), or to (K, T) for K clusters. Fractions sum to 1 over T.
        exponents: as for `gates_figure`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if it is empty or no dict, a value is no fraction, or the number of streams differs, also from that
            of `exponents`.
    """
    rows = []
    for name, values in checked_dict("fractions", fractions).items():
        values = as_array(f"fractions[{name!r}]", values)
        several = values.ndim == 2
        values = checked_array(f"fractions[{name!r}]", np.atleast_2d(values), (None, None), fractions=True)
        for k, row in enumerate(values):
            rows.append((f"{name}, cluster {k + 1}" if several else str(name), row))
    streams = {len(row) for _, row in rows}
    if len(streams) != 1 or max(streams) > len(SHADES):
        raise ValueError(
            f"`fractions` must have the same number of streams, 1 to {len(SHADES)}. Received: {sorted(streams)}"
        )
    names = _stream_names(exponents, *streams)
    label = 0.075 * max(len(name) for name, _ in rows) + 0.2
    sheet = Sheet(label + 5.4, 0.32 * len(rows) + 0.95)
    below = "% of channels in which a stream has the largest gate"
    axes = sheet.plot(label, 0.4, 5.1, 0.32 * len(rows), title="", x=below, y="")
    for place, (_, row) in enumerate(rows):
        for t, (fraction, start) in enumerate(zip(row, np.cumsum(row) - row, strict=True)):
            colour, ink = SHADES[t]
            text = "" if place else names[t]  # once in the legend
            axes.barh(place, 100 * fraction, left=100 * start, color=colour, height=0.74, label=text)
            if fraction > 0.05:
                style = {"ha": "center", "va": "center", "color": ink, "fontsize": SMALL}
                axes.text(100 * (start + fraction / 2), place, f"{100 * fraction:.0f}", **style)
    axes.set_yticks(range(len(rows)), [plain(name) for name, _ in rows])
    axes.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    legend_of(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(SHADES), handlelength=1.2, borderaxespad=0.2)
    return sheet


def attributes_figure(images, names, probabilities, labels, threshold=0.5):
    """Draws the probabilities of the true and of the wrongly predicted attributes (paper, Figure 7).

    Args:
        images: N images, (H, W, 3) uint8.
        names: names of the A attributes.
        probabilities: (N, A), 0..1.
        labels: (N, A) of 0 and 1.
        threshold: an attribute is predicted if its probability is at least this. Default 0.5.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    check_number("threshold", threshold, "a number", is_number)
    images, names = checked_images("images", images), [str(name) for name in checked_list("names", names)]
    probabilities = checked_array("probabilities", probabilities, (len(images), len(names)), fractions=True)
    labels = checked_array("labels", labels, probabilities.shape, fractions=True)
    if not np.isin(labels, (0, 1)).all():  # such as probabilities
        raise ValueError(f"`labels` must be 0 or 1. Received: {labels[~np.isin(labels, (0, 1))][0]}")
    labels = labels.astype(bool)
    predicted = probabilities >= threshold
    shown = [np.flatnonzero(row) for row in labels | predicted]
    width, height = cell_of(images[0], 1.6)
    names = [name.replace("_", " ") for name in names]
    # A letter in small print is about .065 inches wide.
    label = min(0.065 * max((len(names[j]) for row in shown for j in row), default=0) + 0.35, 2.5)
    bars, columns = 1.1, min(3 if label < 1.6 else 2, len(images))
    group, rows = width + label + bars + 0.55, -(-len(images) // columns)
    step = max(height, LINE * max(map(len, shown))) + 2 * LINE
    sheet = Sheet(2 * MARGIN + columns * group - 0.2, 2 * MARGIN + rows * step + LINE)
    for number, (image, row) in enumerate(zip(images, shown, strict=True)):
        left, top = MARGIN + number % columns * group, MARGIN + number // columns * step
        sheet.image(image, left, top, width, height)
        if len(row):
            axes = sheet.area(left + width + label, top, bars, LINE * len(row))
            _probabilities(axes, [names[j] for j in row], probabilities[number, row], labels[number, row],
                         predicted[number, row], threshold)  # fmt: skip
    legend = (
        f"{RIGHT.sign} true and predicted     {WRONG.sign} true and missed     {WRONG.sign} hatched: predicted, "
        f"not true     dashes: threshold {threshold:g}"
    )
    sheet.write(MARGIN, MARGIN + rows * step - 0.02, legend, color=FAINT)
    return sheet


def _probabilities(axes, names, probabilities, labels, predicted, threshold):
    for place, (name, p, true, found) in enumerate(zip(names, probabilities, labels, predicted, strict=True)):
        mark = RIGHT if true == found else WRONG
        style = {"color": mark.colour} if true else {"facecolor": "white", "edgecolor": mark.colour, "hatch": "/////"}
        axes.barh(place, p, height=0.7, **style)
        style = {"ha": "right", "va": "center", "fontsize": SMALL, "color": mark.colour}
        axes.text(-0.03, place, f"{name} {mark.sign}", parse_math=False, **style)
        axes.text(p + 0.03, place, f"{100 * p:.0f}", va="center", fontsize=SMALL - 1, color=INK)
    axes.axvline(threshold, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    axes.set_axis_off()


def _stream_names(exponents, streams):
    exponents = checked_list("exponents", range(1, streams + 1) if exponents is None else exponents, streams)
    unique = len(set(exponents)) == streams
    return [f"t = {t}" if unique else f"stream {s}" for s, t in enumerate(exponents, 1)]


def _fractions(axes, names, percents):
    streams = range(1, len(percents) + 1)
    axes.barh(streams, percents, color=QUERY.colour, height=0.7)
    for t, name, percent in zip(streams, names, percents, strict=True):
        axes.text(-3, t, name, ha="right", va="center", fontsize=SMALL, color=INK)
        axes.text(percent + 3, t, f"{percent:.0f}", va="center", fontsize=SMALL, color=INK)
    axes.set(xlim=(0, 100), ylim=(len(percents) + 0.5, 0.5))
    axes.set_axis_off()
