"""Figures of numbers: maps of features, CMC, ROC, distances of pairs, training."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from keras_osnet.visual.style import (
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    RIGHT,
    SMALL,
    WRONG,
    Sheet,
    checked_array,
    legend_of,
    line_style,
)

SHEET, PLOT = (5.6, 3.7), (0.65, 0.4, 4.75, 2.75)  # inches, the second one within the first
NAMED = 12  # as many labels as a legend holds
# What a line of metrics.jsonl holds that is no score.
NO_SCORES = ("epoch", "loss", "learning_rate", "images_per_second", "seconds", "waiting")


def feature_map_figure(points, labels, names=None):
    """Draws a map of features; points of one label are joined with their middle.

    Args:
        points: (N, 2), as `feature_map` gives them.
        labels: (N,) integers. Up to 12 of them are named in a legend; more repeat colours and markers.
        names: dict of label -> text. Default: the labels themselves.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: where an argument does not hold to the above.
    """
    points = checked_array("points", points, (None, 2))
    labels = checked_array("labels", labels, (len(points),))
    present, names = np.unique(labels), names or {}
    named = len(present) <= NAMED
    sheet = Sheet(6.4 if named else 5.2, 5.3)
    axes = sheet.area(0.15, 0.15, 4.9, 4.75)
    for number, label in enumerate(present):
        own = points[labels == label]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        middle = own.mean(axis=0)
        # One line per label, broken by NaN, in place of one for each point.
        spokes = np.stack([own, np.broadcast_to(middle, own.shape), np.full(own.shape, np.nan)], axis=1).reshape(-1, 2)
        axes.plot(*spokes.T, color=colour, linewidth=0.6, alpha=0.35, zorder=1)
        axes.scatter(*own.T, s=16, color=colour, marker=marker, linewidths=0, zorder=2,
                     label=str(names.get(label, label)))  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_color("#cccccc")
    if named:
        legend_of(axes, loc="upper left", bbox_to_anchor=(1, 1))
    text = f"{len(points)} pictures of {len(present)} labels; lines join each with the middle of its label"
    sheet.write(0.15, 5.0, text, color=FAINT)
    return sheet


def cmc_figure(curves):
    """Draws the share of queries with a match among the first k pictures.

    Args:
        curves: dict of name -> (R,) fractions for k = 1 .. R.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no curve, or one is empty.
    """
    if not curves:
        raise ValueError("`curves` must not be empty.")
    sheet = Sheet(*SHEET)
    below = "% of queries with a match up to rank k"
    axes = sheet.plot(*PLOT, title="Cumulative matches (CMC)", x="rank k", y=below)
    for number, (name, values) in enumerate(curves.items()):
        values = 100 * checked_array(f"curves[{name!r}]", values, (None,))
        text = f"{name}: {values[0]:.1f} at rank 1"
        axes.plot(np.arange(1, len(values) + 1), values, markevery=[0], label=text, **line_style(number))
    last = max(map(len, curves.values()))
    axes.set_xticks([1, *range(max(5, last // 50 * 5), last + 1, max(5, last // 50 * 5))])
    axes.margins(x=0.02)
    axes.set_ylim(top=101)
    legend_of(axes, loc="lower right")
    return sheet


def roc_figure(scores, *, far=1e-3):
    """Draws the share of true pairs accepted over that of impostors, and the point to work at with its threshold.

    Args:
        scores: `VerificationScores`.
        far: false accept rate of the point to mark: of those in `scores.far` the nearest is taken. Default 1e-3.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if `far` is not positive.
    """
    if not far > 0:
        raise ValueError(f"`far` must be positive. Received: far={far!r}")
    with np.errstate(divide="ignore"):
        at = int(np.argmin(np.abs(np.log(scores.far / far))))
    rate, accepted, threshold = scores.far[at], scores.tar[at], scores.threshold[at]
    sheet = Sheet(*SHEET)
    texts = {"x": "% of impostor pairs accepted", "y": "% of true pairs accepted"}
    axes = sheet.plot(*PLOT, title="Same person or not (ROC)", **texts)
    axes.semilogx(100 * scores.curve[:, 0], 100 * scores.curve[:, 1], color=COLOURS[0], linewidth=1.8)
    place = 100 * max(rate, scores.curve[0, 0])
    axes.plot(place, 100 * accepted, "o", color=WRONG.colour, markersize=7)
    limit = f"distance up to {threshold:.4g}" if np.isfinite(threshold) else "no distance"
    text = f"threshold: {limit}\n{100 * accepted:.1f} % of true pairs,\n{100 * rate:.3g} % of impostors accepted"
    style = {"transform": axes.transAxes, "ha": "right", "fontsize": SMALL}
    axes.text(0.97, 0.08, f"● {text}", color=WRONG.colour, **style)
    axes.text(0.97, 0.36, f"area under the curve {scores.auc:.4f}", color=INK, **style)
    axes.set_ylim(-2, 102)
    axes.xaxis.set_major_formatter("{x:g}")
    return sheet


def distances_figure(pairs, threshold=None):
    """Draws how far matches and impostors lie apart.

    Args:
        pairs: `PairDistances`.
        threshold: a distance to mark. Default: none.

    Returns:
        `matplotlib.figure.Figure`.
    """
    sheet = Sheet(*SHEET)
    texts = {"x": "distance", "y": f"% of the pairs, in each of {len(pairs.matches)} bins"}
    axes = sheet.plot(*PLOT, title="Distances of pairs", **texts)
    for name, counts, mark in (("matches", pairs.matches, RIGHT), ("impostors", pairs.impostors, WRONG)):
        shares = 100 * counts / max(counts.sum(), 1)
        axes.stairs(shares, pairs.edges, fill=True, facecolor=mark.colour + "33", edgecolor=mark.colour,
                    hatch=mark.hatch, linewidth=0, label=f"{counts.sum():,} {name}")  # fmt: skip
        axes.stairs(shares, pairs.edges, color=mark.colour, linewidth=1.4)
    if threshold is not None:
        text = f"threshold {threshold:.4g}"
        axes.axvline(threshold, ymax=0.87, color=INK, linewidth=1.2, linestyle=DASHES[1], label=text)
    axes.set_xlim(0, pairs.edges[-1])
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend above the bars
    legend_of(axes, loc="upper center", ncols=3)
    return sheet


def training_figure(lines):
    """Draws loss, learning rate and scores over the epochs.

    Args:
        lines: dicts, one an epoch, as `training.train` gives them and metrics.jsonl holds them. What is in some lines
            only, as scores, is drawn at those.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no line, or one has no epoch.
    """
    lines = list(lines)
    if not lines or any("epoch" not in line for line in lines):
        raise ValueError(f"`lines` must be one or more dicts with an epoch. Received: {len(lines)} lines")
    keys = list(dict.fromkeys(key for line in lines for key in line))
    panels = [
        ("Loss", ["loss"], 1, "linear"),
        ("Learning rate", ["learning_rate"], 1, "log"),
        ("Scores, %", [key for key in keys if key not in NO_SCORES], 100, "linear"),
    ]
    panels = [(title, [key for key in names if key in keys], *rest) for title, names, *rest in panels]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        raise ValueError(f"`lines` must hold a loss, a learning rate or scores. Received: {', '.join(keys)}")
    sheet = Sheet(0.2 + 3.3 * len(panels), 2.9)
    for place, (title, names, factor, scale) in enumerate(panels):
        axes = sheet.plot(0.6 + 3.3 * place, 0.4, 2.55, 1.95, title=title, x="epoch", y="")
        for number, name in enumerate(names):
            x, y = zip(*[(line["epoch"], factor * line[name]) for line in lines if name in line], strict=True)
            axes.plot(x, y, markersize=3 if len(x) < 60 else 0, label=name, **line_style(number))
        axes.set_yscale(scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(names) > 1:
            legend_of(axes, loc="best")
    return sheet
