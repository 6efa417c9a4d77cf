"""Figures of curves and points: maps of features, CMC, ROC, distances of pairs, training."""

from numbers import Real

import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from keras_osnet.metrics.arguments import check_number
from keras_osnet.metrics.significance import Estimate
from keras_osnet.visual.marks import RIGHT, WRONG
from keras_osnet.visual.style import (
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    TEXT,
    Sheet,
    checked_array,
    checked_dict,
    checked_list,
    legend_of,
    line_style,
    plain,
)

# Size of the sheet, and the area of the plot in it, in inches. The text is readable on a phone.
SHEET, PLOT = (3.9, 2.75), (0.62, 0.34, 3.14, 1.98)
NAMED = 12  # largest number of labels in a legend
# Keys of a line of metrics.jsonl that are no scores.
NO_SCORES = ("epoch", "loss", "learning_rate", "images_per_second", "seconds", "waiting")
# Attribute of a state of an adaptation -> its name in the legend.
ROUNDS = {"clustered": "fraction of images in clusters", "silhouette": "silhouette", "agreement": "agreement"}
# Panels of a training: title -> function that chooses its values by name, their factor, the scale of the axis.
TRAINING = {
    "Loss": (lambda name: name == "loss", 1, "linear"),
    "Learning rate": (lambda name: name == "learning_rate", 1, "log"),
    "Scores, %": (lambda name: name not in NO_SCORES, 100, "linear"),
}


def feature_map_figure(points, labels, names=None):
    """Draws a map of features. Lines join the points of one label with their mean.

    Args:
        points: (N, 2), 0..1, as `feature_map` returns them.
        labels: (N,) integers. Up to 12 labels have a legend. More labels repeat colours and markers.
        names: dict of label to text. Default: the labels themselves.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument is not as described.
    """
    points = checked_array("points", points, (None, 2), fractions=True)
    labels = checked_array("labels", labels, (len(points),))
    present, names = np.unique(labels), checked_dict("names", {} if names is None else names)
    named = len(present) <= NAMED
    sheet = Sheet(6.4 if named else 5.2, 5.3)
    axes = sheet.area(0.15, 0.15, 4.9, 4.75)
    for number, label in enumerate(present):
        own = points[labels == label]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        middle = own.mean(axis=0)
        # One line per label, interrupted by NaN, instead of one per point.
        spokes = np.stack([own, np.broadcast_to(middle, own.shape), np.full(own.shape, np.nan)], axis=1).reshape(-1, 2)
        axes.plot(*spokes.T, color=colour, linewidth=0.6, alpha=0.35, zorder=1)
        axes.scatter(*own.T, s=16, color=colour, marker=marker, linewidths=0, zorder=2,
                     label=plain(str(names.get(label, label))))  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_color("#cccccc")
    if named:
        legend_of(axes, loc="upper left", bbox_to_anchor=(1, 1))
    text = f"{len(points)} images of {len(present)} labels; lines join each with the mean of its label"
    sheet.write(0.15, 5.0, text, color=FAINT)
    return sheet


def cmc_figure(curves):
    """Draws the fraction of queries with a match among the first k images.

    Args:
        curves: dict of name to (R,) fractions for k = 1 .. R.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no curve, one is empty, a value is no fraction, or `curves` is no dict.
    """
    if not checked_dict("curves", curves):
        raise ValueError("`curves` must not be empty.")
    sheet = Sheet(*SHEET)
    axes = sheet.plot(*PLOT, title="Cumulative matches (CMC)", x="rank k", y="% with a match up to rank k")
    for number, (name, values) in enumerate(curves.items()):
        values = 100 * checked_array(f"curves[{name!r}]", values, (None,), fractions=True)
        text = plain(f"{name}: {values[0]:.1f} at rank 1")
        axes.plot(np.arange(1, len(values) + 1), values, markevery=[0], label=text, **line_style(number))
    last = max(map(len, curves.values()))
    axes.set_xticks([1, *range(max(5, last // 50 * 10), last + 1, max(5, last // 50 * 10))])
    axes.margins(x=0.02)
    axes.set_ylim(top=101)
    legend_of(axes, TEXT, loc="lower right")
    return sheet


def roc_figure(scores, *, far=1e-3):
    """Draws the true accept rate over the false accept rate, and an operating point with its threshold.

    Args:
        scores: `VerificationScores`.
        far: false accept rate of the operating point, which is the nearest one of `scores.far`. Default 1e-3.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if `far` is not positive.
    """
    check_number("far", far, "positive", lambda value: value > 0)
    with np.errstate(divide="ignore"):
        at = int(np.argmin(np.abs(np.log(scores.far / far))))
    rate, accepted, threshold = scores.far[at], scores.tar[at], scores.threshold[at]
    sheet = Sheet(*SHEET)
    texts = {"x": "% of impostor pairs accepted", "y": "% of true pairs accepted"}
    axes = sheet.plot(*PLOT, title="Same person or not (ROC)", **texts)
    axes.semilogx(100 * scores.curve[:, 0], 100 * scores.curve[:, 1], color=COLOURS[0], linewidth=1.8)
    place = 100 * max(rate, scores.curve[0, 0])
    axes.plot(place, 100 * accepted, "o", color=WRONG.colour, markersize=7)
    limit = f"distance {threshold:.4g}" if np.isfinite(threshold) else "no distance"
    text = f"● {limit} accepts\n{100 * accepted:.1f} % of true pairs,\nat most {100 * rate:.3g} % of impostors"
    style = {"transform": axes.transAxes, "ha": "right", "fontsize": TEXT}  # the lower right is below any curve
    axes.text(0.98, 0.14, text, color=WRONG.colour, **style)
    axes.text(0.98, 0.04, f"area under the curve {scores.auc:.4f}", color=INK, **style)
    axes.set_ylim(-2, 102)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return sheet


def comparison_figure(rows, *, x="milliseconds an image", score="mAP"):
    """Draws scores of networks over their time or size, with intervals.

    Args:
        rows: dict of name -> (x, `Estimate` of a fraction).
        x: what x is.
        score: name of the score.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no row, an x is below 0, or `rows` is not as described.
    """
    if not checked_dict("rows", rows):
        raise ValueError("`rows` must not be empty.")
    for name, row in rows.items():
        if not (isinstance(row, tuple) and len(row) == 2 and isinstance(row[1], Estimate)):
            raise ValueError(f"`rows` must be a dict of name to (x, Estimate). Received: {name!r}: {row!r:.200}")
        check_number(f"rows[{name!r}][0]", row[0], "at least 0", lambda value: value >= 0)
    sheet = Sheet(*SHEET)
    axes = sheet.plot(*PLOT, title=f"{score} and what it costs", x=x, y=f"{score}, %")
    for number, (name, (place, found)) in enumerate(rows.items()):
        # By rounding, the interval of equal scores may end a little before their mean.
        ends = [[100 * max(found.value - found.low, 0)], [100 * max(found.high - found.value, 0)]]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        axes.errorbar(place, 100 * found.value, ends, fmt=marker, color=colour, capsize=3, label=plain(name))
    axes.set_xlim(0, 1.1 * max(place for place, _ in rows.values()))
    legend_of(axes, TEXT, loc="best")
    return sheet


def distances_figure(pairs, threshold=None):
    """Draws histograms of the distances of matches and impostors.

    Args:
        pairs: `PairDistances`.
        threshold: distance to mark. Default: none.

    Returns:
        `matplotlib.figure.Figure`.
    """
    sheet = Sheet(*SHEET)
    axes = sheet.plot(*PLOT, title="Distances of pairs", x="distance", y=f"% of the pairs in {len(pairs.matches)} bins")
    for name, counts, mark in (("matches", pairs.matches, RIGHT), ("impostors", pairs.impostors, WRONG)):
        percents, text = 100 * counts / max(counts.sum(), 1), f"{counts.sum():,} {name}"
        axes.stairs(percents, pairs.edges, fill=True, color=mark.colour, alpha=0.2)
        axes.stairs(percents, pairs.edges, color=mark.colour, linestyle=mark.dashes, linewidth=1.4, label=text)
    if threshold is not None:
        text = f"threshold {threshold:.4g}"
        axes.axvline(threshold, ymax=0.74, color=INK, linewidth=1.2, linestyle=DASHES[2], label=text)
    axes.set_xlim(0, pairs.edges[-1])
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend above the bars
    legend_of(axes, TEXT, loc="upper right", borderaxespad=0.1, labelspacing=0.3)
    return sheet


def training_figure(lines, panel=None):
    """Draws loss, learning rate and scores over the epochs.

    Args:
        lines: dicts, one per epoch, as `training.train` returns them. Values of some lines only, such as scores, are
            drawn at these epochs.
        panel: one of `training_panels(lines)`. Default: all of them, side by side.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no line, a line is no dict or has no epoch, there is nothing to draw, no such panel, or
            a value to draw or its epoch is no number.
    """
    lines = checked_list("lines", lines)
    if not lines or any(not isinstance(line, dict) or "epoch" not in line for line in lines):
        kinds = "".join(f" of type {kind}" for kind in sorted({type(line).__name__ for line in lines}))
        raise ValueError(f"`lines` must be one or more dicts with an epoch. Received: {len(lines)} lines{kinds}")
    panels = training_panels(lines)
    if not panels:
        names = ", ".join(dict.fromkeys(name for line in lines for name in line))
        raise ValueError(f"`lines` must hold a loss, a learning rate or scores to draw. Received: {names}")
    if panel not in (None, *panels):
        raise ValueError(f"`panel` must be one of {', '.join(map(repr, panels))}. Received: panel={panel!r}")
    panels = panels if panel is None else {panel: panels[panel]}
    (width, height), (left, *place) = SHEET, PLOT
    sheet = Sheet(width * len(panels), height)
    for number, (title, names) in enumerate(panels.items()):
        _, factor, scale = TRAINING[title]
        axes = sheet.plot(left + number * width, *place, title=title, x="epoch", y="")
        for line_number, name in enumerate(names):
            points = [(line["epoch"], line[name]) for line in lines if name in line]
            if wrong := [point for point in points if not all(isinstance(value, Real) for value in point)]:
                raise ValueError(f"`lines` must hold numbers. Received: epoch={wrong[0][0]!r}, {name}={wrong[0][1]!r}")
            x, y = zip(*[(epoch, factor * value) for epoch, value in points], strict=True)
            axes.plot(x, y, markersize=3 if len(x) < 60 else 0, label=plain(name), **line_style(line_number))
        axes.set_yscale(scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(names) > 1:
            legend_of(axes, TEXT, loc="best")
    return sheet


def rounds_figure(states):
    """Draws the measures without labels after each round of an adaptation.

    Args:
        states: one or more `keras_osnet.adaptation.settings.State`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no state.
    """
    states = checked_list("states", states)
    if not states:
        raise ValueError("`states` must not be empty.")
    sheet = Sheet(*SHEET)
    axes = sheet.plot(*PLOT, title="After each round", x="round", y="")
    for number, (name, label) in enumerate(ROUNDS.items()):
        known = [(state.round, getattr(state, name)) for state in states if getattr(state, name) is not None]
        axes.plot(*np.reshape(known, (-1, 2)).T, markersize=3, label=label, **line_style(number))
    axes.set_yticks(np.linspace(0, 1, 6))
    lowest = min(min(line.get_ydata(), default=0) for line in axes.lines)
    axes.set_ylim(min(0, lowest) - 0.02, 1.5)  # room for the legend above the curves
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_of(axes, TEXT, loc="upper left", borderaxespad=0.1, labelspacing=0.3)
    return sheet


def training_panels(lines):
    """Returns the panels of `training_figure` for these lines: a dict of title to names of the values in it."""
    numbers = [name for line in lines for name, value in line.items() if isinstance(value, Real)]
    names = list(dict.fromkeys(numbers))
    panels = {title: [name for name in names if chosen(name)] for title, (chosen, *_) in TRAINING.items()}
    return {title: chosen for title, chosen in panels.items() if chosen}
