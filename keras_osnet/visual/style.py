"""Sheets with a layout in inches, colours, and checks of arguments, for all figures."""

import re
from html import escape
from io import BytesIO, StringIO

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, TransformedBbox

from keras_osnet.metrics.arguments import as_array
from keras_osnet.visual.marks import QUERY, RIGHT, WRONG

TEXT, SMALL = 9, 8  # points
MARGIN, GAP, LINE = 0.15, 0.09, 0.17  # inches
INK, FAINT, GRID = "#222222", "#767676", "#e4e4e4"
# Colours of curves and points (after Okabe and Ito), with their dashes and markers.
COLOURS = (QUERY.colour, WRONG.colour, RIGHT.colour, "#b05f9b", "#8a7400", FAINT, "#3a9bd9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
# CSS variables by which an HTML page may set colours, so that a figure is readable on light and dark backgrounds.
THEME = {INK: "ink", FAINT: "soft", GRID: "rule", QUERY.colour: "accent", RIGHT.colour: "match",
         WRONG.colour: "impostor"}  # fmt: skip
SVG = {"svg.fonttype": "none", "svg.hashsalt": "keras_osnet"}  # text stays text; the same figure, the same file


class Sheet(Figure):
    """A Matplotlib figure with a size in inches, without pyplot. A notebook displays it."""

    def __init__(self, width, height):
        super().__init__(figsize=(width, height), facecolor="white")

    def _repr_png_(self):
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()

    def svg(self, alt):
        """Returns an <svg> element for an HTML page, with the colours of `THEME` as CSS variables.

        Args:
            alt: text alternative.
        """
        file = StringIO()
        with matplotlib.rc_context(SVG):
            self.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        text = file.getvalue()
        drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
        drawing = re.sub(r'<g id="[^"]*"', "<g", drawing[drawing.index(">", drawing.index("<svg")) + 1 :])
        drawing = re.sub("|".join(THEME), lambda found: f"var(--{THEME[found[0]]}, {found[0]})", drawing)
        box = re.search('viewBox="([^"]*)"', text)[1]
        drawing = re.sub(r"\s*\n\s*", " ", drawing.replace("xlink:href", "href"))
        return f'<svg viewBox="{box}" role="img" aria-label="{escape(alt)}">{drawing}'

    def area(self, left, top, width, height):
        """Adds axes, in inches from the upper left corner."""
        wide, high = self.get_size_inches()
        axes = self.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
        axes.tick_params(labelsize=SMALL, colors=INK)
        return axes

    def write(self, left, top, text, **options):
        """Adds text at a position in inches, by default of its upper left corner."""
        wide, high = self.get_size_inches()
        options = {"ha": "left", "va": "top", "fontsize": SMALL, "color": INK} | options
        return self.text(left / wide, 1 - top / high, text, parse_math=False, **options)

    def image(self, image, left, top, width, height, *, mark=None, below=""):
        """Adds an image in a box in inches. With a `Mark` as its frame it fills the box, otherwise it fits into it.

        It has no axes, because a hundred axes take seconds. `below` is a text below the image.
        """
        wide, high = self.get_size_inches()
        ratio = image.shape[1] / image.shape[0]
        w, h = (width, height) if mark else (min(width, height * ratio), min(height, width / ratio))
        corner = (left + (width - w) / 2) / wide, 1 - (top + (height + h) / 2) / high
        drawn = BboxImage(TransformedBbox(Bbox.from_bounds(*corner, w / wide, h / high), self.transFigure))
        drawn.set_data(image)
        self.add_artist(drawn)
        if mark:
            # Around the image, so that no part of it is hidden.
            edge = Rectangle(corner, w / wide, h / high, transform=self.transFigure, fill=False)
            edge.set(edgecolor=mark.colour, linestyle=mark.dashes, linewidth=2.2)
            self.add_artist(edge)
        if below:
            self.write(left + width / 2, top + height + 0.055, below, ha="center", color=mark.colour if mark else INK)

    def plot(self, left, top, width, height, *, title, x, y):
        """Adds axes for curves, in inches, with a title and labels of x and y."""
        axes = self.area(left, top, width, height)
        axes.tick_params(labelsize=TEXT)
        axes.set_title(title, loc="left", fontsize=TEXT + 1, fontweight="bold", color=INK)
        axes.set_xlabel(x, fontsize=TEXT, color=INK)
        axes.set_ylabel(y, fontsize=TEXT, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(FAINT)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        return axes


def checked_images(name, images, count=None):
    """Returns the images as a list of arrays.

    Raises:
        ValueError: if an image is not (H, W, 3) uint8, or there are not `count` of them, or none.
    """
    images = [as_array(name, image) for image in checked_list(name, images)]
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"`{name}` must be (H, W, 3) arrays of uint8. "
                f"Received: number {number} (from 0) of shape {image.shape} and type {image.dtype}"
            )
    if not images or len(images) != (count or len(images)):
        raise ValueError(f"`{name}` must be {count or 'one or more'} images. Received: {len(images)}")
    return images


def checked_array(name, values, shape, *, fractions=False):
    """Returns the values as an array of a shape. None in the shape is any length.

    Raises:
        ValueError: if the array has another shape, or values that are not finite real numbers, or not `fractions` of
            0..1 where these are asked for.
    """
    values = as_array(name, values)
    fits = values.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, values.shape, strict=True))
    if not fits or values.dtype.kind not in "fiub" or 0 in values.shape:
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ValueError(
            f"`{name}` must be an array of numbers of shape ({wanted}). "
            f"Received: {name} of shape {values.shape} and type {values.dtype}"
        )
    wrong = ~np.isfinite(values) | (((values < 0) | (values > 1)) if fractions else False)
    if wrong.any():
        rule = "in 0 .. 1" if fractions else "finite"
        raise ValueError(f"`{name}` must be {rule}. Received: {values[wrong][0]}, the first of {wrong.sum()}")
    return values


def checked_dict(name, values):
    """Returns the values, which have names.

    Raises:
        ValueError: if they are no dict.
    """
    if not isinstance(values, dict):
        raise ValueError(f"`{name}` must be a dict of name to values. Received: {type(values).__name__}")
    return values


def checked_list(name, values, count=None):
    """Returns the values as a list.

    Raises:
        ValueError: if they are no list, as a text, which would be its letters, or not `count` values.
    """
    if isinstance(values, str) or not np.iterable(values):
        raise ValueError(f"`{name}` must be a list. Received: {name}={values!r}")
    values = list(values)
    if count is not None and len(values) != count:
        raise ValueError(f"`{name}` must have {count} entries. Received: {len(values)}")
    return values


def line_style(number):
    """Returns colour, dashes and marker of curve `number`, from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def plain(text):
    """Returns a text as a label that Matplotlib shows as it is: it reads $ as a formula, and hides a leading _."""
    return " " * text.startswith("_") + text.replace("$", r"\$")


def legend_of(axes, size=SMALL, **options):
    """Adds a legend without a frame, in small print."""
    return axes.legend(frameon=False, fontsize=size, labelcolor=INK, **options)


def cell_of(image, height):
    """Returns width and height in inches of the images of a figure, from its first image."""
    return height * min(image.shape[1] / image.shape[0], 2), height


def short_numbers(values):
    """Returns numbers as texts of three significant digits."""
    return np.vectorize(lambda value: f"{value:#.3g}".rstrip("."), otypes=[object])(values)
