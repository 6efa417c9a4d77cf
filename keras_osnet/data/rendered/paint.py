"""How a layer of a person is coloured: colours, patterns, prints, and the rows that the fragment shader reads."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered.textures import PATTERNS

ROWS = 11
MATERIALS = {"skin": 0, "cloth": 1, "hair": 2, "plain": 3, "shoe": 4}
PATTERN_NUMBERS = {name: number for number, name in enumerate(PATTERNS)}
DIVISIONS = (
    "none", "yoke", "lower part", "halves", "band", "side panels", "sleeves", "shoulders", "front panel",
)  # fmt: skip
STRAPS = ("none", "both shoulders", "from the left", "from the right")

# Named colours (sRGB) and the family that an attribute names.
COLOURS = {
    "black": ((28, 28, 31), "black"), "charcoal": ((58, 60, 65), "grey"), "grey": ((120, 122, 126), "grey"),
    "silver": ((176, 178, 182), "grey"), "white": ((232, 232, 230), "white"), "cream": ((226, 216, 192), "white"),
    "red": ((178, 32, 36), "red"), "crimson": ((128, 22, 42), "red"), "coral": ((226, 104, 88), "red"),
    "orange": ((226, 118, 36), "orange"), "rust": ((156, 82, 44), "brown"), "yellow": ((232, 198, 56), "yellow"),
    "mustard": ((192, 148, 44), "yellow"), "lime": ((164, 204, 68), "green"), "green": ((52, 136, 72), "green"),
    "forest": ((32, 74, 50), "green"), "olive": ((98, 100, 62), "green"), "mint": ((154, 212, 184), "green"),
    "teal": ((30, 112, 116), "blue"), "turquoise": ((64, 178, 186), "blue"), "sky": ((130, 180, 222), "blue"),
    "blue": ((42, 88, 170), "blue"), "royal": ((34, 50, 142), "blue"), "navy": ((32, 40, 68), "blue"),
    "denim": ((66, 88, 122), "blue"), "dark denim": ((40, 50, 72), "blue"), "light denim": ((136, 160, 188), "blue"),
    "violet": ((104, 68, 146), "purple"), "plum": ((84, 40, 78), "purple"), "lilac": ((186, 164, 212), "purple"),
    "pink": ((228, 146, 170), "pink"), "magenta": ((190, 44, 112), "pink"), "rose": ((214, 178, 176), "pink"),
    "beige": ((198, 176, 142), "brown"), "khaki": ((164, 146, 108), "brown"), "camel": ((170, 124, 76), "brown"),
    "brown": ((96, 66, 46), "brown"), "chocolate": ((62, 44, 36), "brown"),
}  # fmt: skip
FAMILIES = tuple(dict.fromkeys(family for _, family in COLOURS.values()))


@dataclass(frozen=True)
class Paint:
    """What the shader knows of a layer. Colours are sRGB, 0 .. 255; lengths are metres on the base body at rest."""

    material: str = "cloth"
    colour: tuple = (128, 128, 128)
    second: tuple = (128, 128, 128)
    third: tuple = (128, 128, 128)
    pattern: str = "plain"
    scale: float = 0.05
    limits: tuple = (-9.0, 9.0, 9.0, 9.0)  # lowest and highest height, ends along arms and along legs
    front: tuple = (0.0, 0.0, 0.0, 0.0)  # neckline: depth, half width; open front: half width below and above
    # Skin has the beard's colour and strength there.
    wrinkle: tuple = (0.5, 0.1)  # depth and size of the folds
    gloss: float = 0.0
    seed: float = 0.0
    division: tuple = ("none", 0.3, 0.03)  # kind, height, half width
    side_stripe: float = 0.0  # half width of stripes down the outer side of sleeves and trousers
    print: tuple = (-1, 0.0, 0.4, 0.1, False)  # number of the print (-1: none), centre, half size, on the back
    strap: tuple = ("none", (0, 0, 0))
    edges: float = 0.0  # width of collar, cuffs and hem in the third colour, 0 .. 1; negative: not at the hem
    gradient: float = 0.0  # height in metres over which the second colour fades in
    fading: float = 0.0  # of the thighs of worn denim
    belt: float = -9.0  # height of a band in the third colour
    seam: float = 0.0  # brightness of the front's edge, of zips and buttons; 0: none

    def rows(self):
        """ROWS rows of four float32, as the shader reads them."""
        number, *place, back = self.print
        return np.array(
            [
                (*linear(self.colour), MATERIALS[self.material]),
                (*linear(self.second), PATTERN_NUMBERS[self.pattern]),
                (*linear(self.third), self.scale),
                self.limits,
                (*linear(self.front[:3]), self.front[3]) if self.material == "skin" else self.front,
                (*self.wrinkle, self.gloss, self.seed),
                (self.division[1], DIVISIONS.index(self.division[0]), self.division[2], self.side_stripe),
                (*place, (number + 1) * (-1 if back else 1)),
                (*linear(self.strap[1]), STRAPS.index(self.strap[0])),
                (self.edges, self.fading, self.belt, self.seam),
                (self.gradient, 0, 0, 0),
            ],
            np.float32,
        )


def linear(colour):
    """sRGB, 0 .. 255, to linear, 0 .. 1."""
    value = np.asarray(colour, float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def family(colour):
    """The family of the nearest named colour."""
    distances = {name: np.abs(np.subtract(rgb, colour)).sum() for name, (rgb, _) in COLOURS.items()}
    return COLOURS[min(distances, key=distances.get)][1]
