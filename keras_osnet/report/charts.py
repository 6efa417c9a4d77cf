"""Curves as lines of an inline SVG: numbers in, the coordinates that the page's template draws out."""

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

# Small enough that the text stays readable on a phone, where the drawing is about as wide as this in CSS pixels.
WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40


@dataclass(frozen=True)
class Chart:
    """What the template draws. Positions are in the drawing's own units, WIDTH x HEIGHT.

    Attributes:
        title, x_label, y_label, alt: text.
        x_ticks, y_ticks: ((position, text), ...).
        lines: ((name, "x,y x,y ..."), ...), in the order of their colours and dashes.
        areas: whether the lines are filled down to the axis.
        marks: ((x, y, text), ...), single points with their text; where y is None, the whole height.
    """

    title: str
    x_label: str
    y_label: str
    alt: str
    x_ticks: tuple
    y_ticks: tuple
    lines: tuple
    areas: bool = False
    marks: tuple = ()


def chart(title, curves, *, labels, alt, y_range=None, log_x=False, log_y=False, areas=False, marks=(), whole_x=False):
    """Places curves in a drawing.

    Args:
        title: of the chart.
        curves: dict name -> (x, y), two (N,) arrays.
        labels: what is along x, and along y.
        alt: what a reader who does not see the chart is told.
        y_range: (least, most). Default: as the curves have it.
        log_x, log_y: logarithmic axes.
        areas: fill the curves.
        marks: ((x, y, text), ...) to point out; y may be None.
        whole_x: ticks along x at whole numbers only.

    Returns:
        `Chart`.
    """
    xs, ys = (np.concatenate([np.asarray(curve[i], float) for curve in curves.values()]) for i in (0, 1))
    x_of, x_ticks = _axis(xs.min(), xs.max(), LEFT, WIDTH - RIGHT, log_x, whole=whole_x)
    y_of, y_ticks = _axis(*(y_range or (ys.min(), ys.max())), HEIGHT - BOTTOM, TOP, log_y)
    # A line from a point to itself is drawn as a dot, a single point not at all.
    curves = {name: np.repeat(curve, 2, axis=1) if len(curve[0]) == 1 else curve for name, curve in curves.items()}
    lines = tuple(
        (name, " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x_of(x), y_of(y), strict=True)))
        for name, (x, y) in curves.items()
    )
    placed = tuple((float(x_of(x)), None if y is None else float(y_of(y)), text) for x, y, text in marks)
    return Chart(title, *labels, alt, x_ticks, y_ticks, lines, areas, placed)


def steps(edges, counts):
    """The outline of a histogram: (x, y) that go along every bin, up and down between them."""
    return np.repeat(edges, 2)[1:-1], np.repeat(counts, 2)


def _axis(least, most, start, end, log, whole=False):
    """Function from values to positions, and ((position, text), ...) of the ticks within."""
    scale = np.log10 if log else np.asarray
    low, high = float(scale(least)), float(scale(most))
    if high - low < 1e-9:  # a single value, put in the middle
        low, high = low - 0.5, high + 0.5

    def position(values):
        return start + (scale(np.asarray(values, float)) - low) / (high - low) * (end - start)

    if log:
        values = 10.0 ** np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
        values = values if len(values) > 1 else np.array([least, most])
    else:
        values = MaxNLocator(5, integer=whole, min_n_ticks=1, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        values = values[(values >= low - 1e-9) & (values <= high + 1e-9)]
    return position, tuple((float(position(value)), f"{value:.4g}") for value in values)
