"""Clothes of drawn pedestrians: `Pedestrian`, its attributes, and tables of colours and patterns."""

from dataclasses import dataclass

PALETTE = {
    "black": (26, 26, 30), "white": (238, 238, 234), "grey": (134, 136, 140), "red": (206, 36, 40),
    "blue": (40, 84, 204), "navy": (34, 46, 124), "green": (34, 140, 66), "yellow": (240, 204, 44),
    "pink": (238, 130, 172), "purple": (122, 52, 156), "orange": (240, 124, 30), "brown": (124, 74, 36),
    "beige": (208, 184, 140), "denim": (104, 150, 206), "blond": (214, 178, 98), "silver": (190, 190, 196),
    "auburn": (156, 68, 32),
}  # fmt: skip
# Few colours: many people share each of them, and only the combination distinguishes people.
UPPER_COLOURS = ("black", "white", "grey", "red", "blue", "green", "yellow", "purple", "orange", "pink")
LOWER_COLOURS = ("black", "navy", "denim", "grey", "beige", "white", "brown", "red", "green")
SHOE_COLOURS = ("black", "white", "brown", "red")
BAG_COLOURS = ("black", "red", "blue", "green", "yellow", "brown")
HAT_COLOURS = ("black", "white", "red", "blue", "yellow")
HAIR_COLOURS = ("black", "brown", "blond", "auburn", "silver")
SKINS = ((246, 208, 178), (224, 172, 128), (168, 112, 74), (104, 68, 46))
DARK = frozenset(("black", "navy", "brown", "purple"))
LIGHT = frozenset(("white", "beige", "yellow", "pink"))

# x and y are in periods of the pattern. True: the second colour of the garment. "plain" has no function.
PATTERNS = {
    "horizontal_stripes": lambda x, y: y % 1 < 0.5,
    "vertical_stripes": lambda x, y: x % 1 < 0.5,
    "checks": lambda x, y: (x % 1 < 0.5) ^ (y % 1 < 0.5),
    "dots": lambda x, y: (x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.1,
    "two_tone": lambda x, y: y > 2.1,
}
# Outlines in a square from -1 to 1, y down.
LOGOS = {
    "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1), (1, 0.9), (-1, 0.9)),
    "cross": ((-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35), (0.35, 1), (-0.35, 1),
              (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)),
    "letter_t": ((-1, -1), (1, -1), (1, -0.4), (0.35, -0.4), (0.35, 1), (-0.35, 1), (-0.35, -0.4), (-1, -0.4)),
    "letter_l": ((-0.8, -1), (-0.1, -1), (-0.1, 0.4), (0.9, 0.4), (0.9, 1), (-0.8, 1)),
    "letter_v": ((-1, -1), (-0.4, -1), (0, 0.2), (0.4, -1), (1, -1), (0.3, 1), (-0.3, 1)),
}  # fmt: skip
HEADWEAR = ("cap", "beanie", "brimmed_hat")
LOWER_GARMENTS = ("trousers", "shorts", "skirt")


@dataclass(frozen=True)
class Pedestrian:
    """What all images of a person share. Colours are keys of `PALETTE`; "" means that the person has no such item."""

    female: bool
    height: float
    build: float
    skin: tuple[int, int, int]
    hair: str
    long_hair: bool
    headwear: str
    headwear_colour: str
    upper: str
    upper_second: str
    pattern: str
    logo: str
    long_sleeves: bool
    lower_garment: str
    lower: str
    shoes: str
    backpack: str
    handbag: str
    suitcase: str


# The binary labels of the dataset: attribute -> whether a person has it.
ATTRIBUTES = {
    "female": lambda p: p.female,
    "long_hair": lambda p: p.long_hair,
    "hat": lambda p: p.headwear != "",
    "backpack": lambda p: p.backpack != "",
    "handbag": lambda p: p.handbag != "",
    "suitcase": lambda p: p.suitcase != "",
    "long_sleeves": lambda p: p.long_sleeves,
    "patterned_upper": lambda p: p.pattern != "plain",
    "striped_upper": lambda p: p.pattern in ("horizontal_stripes", "vertical_stripes"),
    "logo": lambda p: p.logo != "",
    "dark_upper": lambda p: p.upper in DARK,
    "long_trousers": lambda p: p.lower_garment == "trousers",
    "skirt": lambda p: p.lower_garment == "skirt",
    "light_lower": lambda p: p.lower in LIGHT,
}


def describe(rng):
    """Returns a random `Pedestrian`, drawn from a NumPy generator."""

    def one(options):
        return options[int(rng.integers(len(options)))]

    def sometimes(chance, options):
        return one(options) if rng.random() < chance else ""

    female = bool(rng.random() < 0.5)
    upper = one(UPPER_COLOURS)
    # A dark pattern would be invisible on a dark garment: one of the two colours is dark, the other light.
    contrasting = [c for c in ("white", "yellow", "black", "red", "blue") if (c in LIGHT) != (upper in LIGHT)]
    pattern = one(("plain", "plain", *PATTERNS))  # plain twice as often as each of the others
    return Pedestrian(
        female=female,
        height=float(rng.uniform(0.9, 0.98) if female else rng.uniform(0.95, 1.04)),
        build=float(rng.uniform(0.95, 1.2) if female else rng.uniform(1.1, 1.4)),
        skin=one(SKINS),
        hair=one(HAIR_COLOURS),
        long_hair=bool(rng.random() < (0.8 if female else 0.1)),
        headwear=sometimes(0.3, HEADWEAR),
        headwear_colour=one(HAT_COLOURS),
        upper=upper,
        upper_second=one([c for c in contrasting if c != upper]),
        pattern=pattern,
        logo=sometimes(0.75, tuple(LOGOS)) if pattern == "plain" else "",
        long_sleeves=bool(rng.random() < 0.5),
        lower_garment=one(LOWER_GARMENTS if female else ("trousers", "trousers", "shorts")),
        lower=one([c for c in LOWER_COLOURS if c != upper]),
        shoes=one(SHOE_COLOURS),
        backpack=sometimes(0.3, BAG_COLOURS),
        handbag=sometimes(0.4 if female else 0.12, BAG_COLOURS),
        suitcase=sometimes(0.12, BAG_COLOURS),
    )
