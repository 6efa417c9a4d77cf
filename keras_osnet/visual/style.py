"""What all figures share: sheets laid out in inches, colours, and checks of their arguments."""

import re
from html import escape
from io import BytesIO, StringIO

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, TransformedBbox

from keras_osnet.visual.marks import QUERY, RIGHT, WRONG

TEXT, SMALL = 9, 8  # points
MARGIN, GAP, LINE = 0.15, 0.09, 0.17  # inches
INK, FAINT, GRID = "#222222", "#767676", "#e4e4e4"
# For curves and points of many names (after Okabe and Ito), with dashes and markers of their own.
COLOURS = (QUERY.colour, WRONG.colour, RIGHT.colour, "#b05f9b", "#8a7400", FAINT, "#3a9bd9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
# Colours that an HTML page may set, as CSS variables, so that a figure reads on a light and on a dark ground.
THEME = {INK: "ink", FAINT: "soft", GRID: "rule", QUERY.colour: "accent", RIGHT.colour: "match",
         WRONG.colour: "impostor"}  # fmt: skip
SVG = {"svg.fonttype": "none", "svg.hashsalt": "keras_osnet"}  # text stays text; the same figure, the same file


class Sheet(Figure):
    """A Matplotlib figure of a size in inches, made without pyplot, that shows itself in a notebook."""

    def __init__(self, width, height):
        super().__init__(figsize=(width, height), facecolor="white")

    def _repr_png_(self):
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()

    def svg(self, alt):
        """The figure as an <svg> element for an HTML page, with the colours of `THEME` as CSS variables.

        Args:
            alt: text for readers who do not see the figure.
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
        """Adds text. Its upper left corner, unless `options` say otherwise, is at so many inches."""
        wide, high = self.get_size_inches()
        options = {"ha": "left", "va": "top", "fontsize": SMALL, "color": INK} | options
        return self.text(left / wide, 1 - top / high, text, **options)

    def image(self, image, left, top, width, height, *, mark=None, below=""):
        """Adds an image in so many inches, framed by a `Mark`, or as large as fits into them; with text below.

        It takes no axes: a hundred of these take seconds.
        """
        wide, high = self.get_size_inches()
        ratio = image.shape[1] / image.shape[0]
        w, h = (width, height) if mark else (min(width, height * ratio), min(height, width / ratio))
        corner = (left + (width - w) / 2) / wide, 1 - (top + (height + h) / 2) / high
        drawn = BboxImage(TransformedBbox(Bbox.from_bounds(*corner, w / wide, h / high), self.transFigure))
        drawn.set_data(image)
        self.add_artist(drawn)
        if mark:
            # Outside of the image: none of it is hidden.
            edge = Rectangle(corner, w / wide, h / high, transform=self.transFigure, fill=False)
            edge.set(edgecolor=mark.colour, linestyle=mark.dashes, linewidth=2.2)
            self.add_artist(edge)
        if below:
            self.write(left + width / 2, top + height + 0.055, below, ha="center", color=mark.colour if mark else INK)

    def plot(self, left, top, width, height, *, title, x, y):
        """Adds axes of a curve, in inches, with a title and what is along x and y."""
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
    """The images as a list of arrays.

    Raises:
        ValueError: if one is not (H, W, 3) uint8, or they are not `count`, or there is none.
    """
    images = [np.asarray(image) for image in images]
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"`{name}` must be (H, W, 3) arrays of uint8. "
                f"Received: number {number} (from 0) of shape {image.shape} and type {image.dtype}"
            )
    if not images or len(images) != (count or len(images)):
        raise ValueError(f"`{name}` must be {count or 'one or more'} images. Received: {len(images)}")
    return images


def checked_array(name, values, shape):
    """The values as an array of a shape; None in it means any length.

    Raises:
        ValueError: if it has another shape, or holds anything but real numbers.
    """
    values = np.asarray(values)
    fits = values.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, values.shape, strict=True))
    if not fits or values.dtype.kind not in "fiub" or 0 in values.shape:
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ValueError(
            f"`{name}` must be an array of numbers of shape ({wanted}). "
            f"Received: {name} of shape {values.shape} and type {values.dtype}"
        )
    return values


def checked_list(name, values, count):
    """The values as a list.

    Raises:
        ValueError: if they are not so many.
    """
    values = list(values)
    if len(values) != count:
        raise ValueError(f"`{name}` must have {count} entries. Received: {len(values)}")
    return values


def line_style(number):
    """Colour, dashes and marker of curve number `number`, from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def legend_of(axes, size=SMALL, **options):
    """Adds a legend without a frame, in small print."""
    return axes.legend(frameon=False, fontsize=size, labelcolor=INK, **options)


def cell_of(image, height):
    """Width and height in inches of all images of a figure: one of other sides is fitted in."""
    return height * min(image.shape[1] / image.shape[0], 2), height


def short_numbers(values):
    """Texts of three significant digits."""
    return np.vectorize(lambda value: f"{value:#.3g}".rstrip("."), otypes=[object])(values)
