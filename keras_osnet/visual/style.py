"""What all figures share: sheets laid out in inches, colours and marks."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, TransformedBbox

TEXT, SMALL = 9, 8  # points
MARGIN, GAP, LINE = 0.15, 0.09, 0.17  # inches
INK, FAINT = "#222222", "#767676"


class Mark(NamedTuple):
    """How one kind is drawn: a colour that colour-blind people tell from the others, and more than the colour."""

    sign: str
    colour: str
    dashes: str | tuple
    hatch: str


RIGHT, WRONG = Mark("✓", "#00795a", "solid", "///"), Mark("✗", "#c74a00", "solid", "\\\\\\")
# In the order of `ranking.KINDS`.
KIND_MARKS = {"match": RIGHT, "impostor": WRONG, "same camera": Mark("○", "#767676", (0, (2, 1.2)), "")}
QUERY = Mark("", "#0b5fa5", "solid", "")
# For curves and points of many names (after Okabe and Ito), with dashes and markers of their own.
COLOURS = ("#0b5fa5", "#c74a00", "#00795a", "#a0528a", "#8a6d00", "#3d3d3d", "#3a9bd9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")


class Sheet(Figure):
    """A Matplotlib figure of a size in inches, made without pyplot, that shows itself in a notebook."""

    def __init__(self, width, height):
        super().__init__(figsize=(width, height), facecolor="white")

    def _repr_png_(self):
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()

    def area(self, left, top, width, height):
        """New axes, in inches from the upper left corner."""
        wide, high = self.get_size_inches()
        axes = self.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
        axes.tick_params(labelsize=SMALL, colors=INK)
        return axes

    def write(self, left, top, text, **options):
        """Text whose upper left corner, unless `options` say otherwise, is at so many inches."""
        wide, high = self.get_size_inches()
        options = {"ha": "left", "va": "top", "fontsize": SMALL, "color": INK} | options
        return self.text(left / wide, 1 - top / high, text, **options)

    def picture(self, picture, left, top, width, height, *, mark=None, below=""):
        """A picture in so many inches, framed by a `Mark`, or as wide and high as fits into them; with text below.

        Without axes: a hundred of these take seconds.
        """
        wide, high = self.get_size_inches()
        ratio = picture.shape[1] / picture.shape[0]
        w, h = (width, height) if mark else (min(width, height * ratio), min(height, width / ratio))
        corner = (left + (width - w) / 2) / wide, 1 - (top + (height + h) / 2) / high
        image = BboxImage(TransformedBbox(Bbox.from_bounds(*corner, w / wide, h / high), self.transFigure))
        image.set_data(picture)
        self.add_artist(image)
        if mark:
            # Outside of the picture: none of it is hidden.
            edge = Rectangle(corner, w / wide, h / high, transform=self.transFigure, fill=False)
            edge.set(edgecolor=mark.colour, linestyle=mark.dashes, linewidth=2.2)
            self.add_artist(edge)
        if below:
            self.write(left + width / 2, top + height + 0.055, below, ha="center", color=mark.colour if mark else INK)

    def plot(self, left, top, width, height, *, title, x, y):
        """Axes of a curve, in inches, with a title and what is along x and y."""
        axes = self.area(left, top, width, height)
        axes.set_title(title, loc="left", fontsize=TEXT, fontweight="bold", color=INK)
        axes.set_xlabel(x, fontsize=SMALL, color=INK)
        axes.set_ylabel(y, fontsize=SMALL, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
        return axes


def checked_pictures(name, pictures, count=None):
    """The pictures as a list of arrays.

    Raises:
        ValueError: if one is no (H, W, 3) uint8, or they are not `count`, or there is none.
    """
    pictures = [np.asarray(picture) for picture in pictures]
    for number, picture in enumerate(pictures):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ValueError(
                f"`{name}` must be (H, W, 3) arrays of uint8. "
                f"Received: number {number} (from 0) of shape {picture.shape} and type {picture.dtype}"
            )
    if not pictures or len(pictures) != (count or len(pictures)):
        raise ValueError(f"`{name}` must be {count or 'one or more'} pictures. Received: {len(pictures)}")
    return pictures


def checked_array(name, values, shape):
    """The values as an array of a shape; None in it means any length.

    Raises:
        ValueError: if it has another shape, or holds something else than real numbers.
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


def line_style(number):
    """Colour, dashes and marker of curve number `number`, from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def legend_of(axes, **options):
    """A legend without a frame, in the figures' small print."""
    return axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, **options)


def cell_of(picture, height):
    """Width and height in inches of a picture, of all in a figure: those of other sides are fitted in."""
    return height * min(picture.shape[1] / picture.shape[0], 2), height


def short_numbers(values):
    """Texts of three significant digits."""
    return np.vectorize(lambda value: f"{value:#.3g}".rstrip("."), otypes=[object])(values)


def checked_list(name, values, count):
    """The values as a list.

    Raises:
        ValueError: if they are not so many.
    """
    values = list(values)
    if len(values) != count:
        raise ValueError(f"`{name}` must have {count} entries. Received: {len(values)}")
    return values
