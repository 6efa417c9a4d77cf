"""Marks of images and values in figures and on the page. No mark depends on colour alone."""

from typing import NamedTuple

from keras_osnet.metrics.pairs import PAIR_KINDS


class Mark(NamedTuple):
    """A sign, a colour that colour-blind people can distinguish, and the dashes of a frame or line."""

    sign: str
    colour: str
    dashes: str | tuple


QUERY, RIGHT, WRONG = Mark("", "#0b5fa5", "solid"), Mark("✓", "#00795a", "solid"), Mark("✗", "#c74a00", (0, (4, 1.5)))
# Kind of a pair of a query and a gallery image -> its mark.
MARKS = dict(zip(PAIR_KINDS, (RIGHT, WRONG, Mark("○", "#767676", (0, (1, 1.2)))), strict=True))
