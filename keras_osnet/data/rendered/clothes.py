"""Clothes: the tables of garments, their measures, colours and patterns."""

from dataclasses import dataclass

SEASONS = {"warm": 0.45, "mild": 0.3, "cold": 0.25}


@dataclass(frozen=True)
class Garment:
    """One garment: a row of a table below, with its own measures and colours."""

    kind: str
    colour: tuple
    second: tuple = (128, 128, 128)
    third: tuple = (128, 128, 128)
    pattern: str = "plain"
    scale: float = 0.05
    seed: float = 0.5
    sleeve: float = 9.0  # end along the arm, 1 at the wrist
    hem: float = 0.0  # height in metres at rest; of trousers and boots along the leg, 1 at the ankle
    gap: float = 0.01  # distance from what is below
    width: float = 0.5  # 0 close-fitting .. 1 wide
    tucked: bool = False
    opened: float = 0.0  # half width of an open front
    neck: tuple = (0.03, 0.08)  # depth, half width
    division: tuple = ("none", 0.3, 0.03)
    side_stripe: float = 0.0
    print: tuple = (-1, 0.0, 0.4, 0.1, False)
    gradient: float = 0.0
    edges: float = 0.0
    fading: float = 0.0
    belt: float = -9.0
    seam: float = 0.0
    gloss: float = 0.0
    wrinkle: float = 0.5
    hood: bool = False


# Chances are (female, male); ranges are (low, high). Lengths as in `Garment`.
# chances, sleeve, hem, gap, width, chance tucked, neck depth, colours, chance of a pattern, of a print
UPPERS = {
    "t-shirt": ((0.36, 0.44), (0.3, 0.5), (-0.14, 0.02), (0.006, 0.02), (0.2, 1), 0.15, (0.02, 0.06), 0.3, 0.4),
    "polo": ((0.05, 0.11), (0.34, 0.5), (-0.12, 0.0), (0.006, 0.016), (0.3, 0.9), 0.3, (0.03, 0.09), 0.35, 0.12),
    "tank top": ((0.09, 0.03), (-1, -0.9), (-0.1, 0.04), (0.004, 0.014), (0, 0.7), 0.2, (0.06, 0.12), 0.3, 0.25),
    "shirt": ((0.09, 0.14), (0.95, 1.03), (-0.16, 0.0), (0.008, 0.02), (0.3, 1), 0.4, (0.02, 0.07), 0.5, 0.02),
    "short shirt": ((0.05, 0.08), (0.35, 0.52), (-0.12, 0.0), (0.008, 0.02), (0.4, 1), 0.25, (0.03, 0.08), 0.6, 0.04),
    "jersey": ((0.14, 0.08), (0.93, 1.04), (-0.12, 0.02), (0.005, 0.016), (0, 0.8), 0.15, (0.02, 0.07), 0.35, 0.3),
    "sweater": ((0.1, 0.06), (0.97, 1.08), (-0.1, 0.02), (0.014, 0.03), (0.4, 1), 0.0, (0.01, 0.03), 0.35, 0.12),
    "hoodie": ((0.06, 0.08), (0.97, 1.08), (-0.1, 0.0), (0.016, 0.034), (0.5, 1), 0.0, (0.01, 0.03), 0.15, 0.45),
    "blouse": ((0.08, 0.0), (0.3, 0.98), (-0.16, 0.02), (0.01, 0.025), (0.4, 1), 0.2, (0.03, 0.1), 0.5, 0.02),
}  # fmt: skip
# The same, and the half width of the open front when it is open.
OUTERS = {
    "jacket": ((0.34, 0.42), (0.97, 1.07), (-0.1, 0.06), (0.022, 0.04), (0.4, 1), 0.55, (0.03, 0.12), 0.2, 0.15),
    "blazer": ((0.12, 0.14), (0.96, 1.03), (-0.2, -0.1), (0.018, 0.03), (0.3, 0.8), 0.7, (0.03, 0.1), 0.2, 0.0),
    "coat": ((0.26, 0.12), (0.98, 1.08), (-0.5, -0.25), (0.024, 0.042), (0.3, 1), 0.5, (0.02, 0.1), 0.15, 0.0),
    "padded jacket": ((0.12, 0.14), (0.98, 1.08), (-0.16, 0.04), (0.035, 0.06), (0.5, 1), 0.3, (0.02, 0.1), 0.1, 0.15),
    "vest": ((0.06, 0.1), (-1, -0.9), (-0.1, 0.04), (0.025, 0.045), (0.3, 1), 0.5, (0.03, 0.12), 0.15, 0.1),
    "cardigan": ((0.1, 0.03), (0.95, 1.06), (-0.25, 0.0), (0.014, 0.026), (0.2, 0.9), 0.85, (0.06, 0.14), 0.25, 0.0),
}
# chances, hem, gap, least radius at knee and ankle, chance of a pattern, chance of side stripes, fading
LOWERS = {
    "jeans": ((0.3, 0.34), (0.9, 1.04), (0.004, 0.01), (0.058, 0.082), (0.045, 0.09), 0.0, 0.0, 0.6),
    "trousers": ((0.12, 0.24), (0.94, 1.05), (0.006, 0.014), (0.07, 0.095), (0.065, 0.1), 0.1, 0.03, 0.0),
    "leggings": ((0.15, 0.01), (0.85, 1.02), (0.002, 0.004), (0.03, 0.03), (0.02, 0.02), 0.15, 0.1, 0.0),
    "wide trousers": ((0.08, 0.03), (0.85, 1.04), (0.008, 0.016), (0.1, 0.12), (0.11, 0.17), 0.25, 0.0, 0.0),
    "sports trousers": ((0.06, 0.1), (0.92, 1.04), (0.008, 0.018), (0.075, 0.1), (0.05, 0.08), 0.05, 0.6, 0.0),
    "cropped trousers": ((0.07, 0.04), (0.65, 0.85), (0.005, 0.012), (0.065, 0.09), (0.06, 0.09), 0.1, 0.0, 0.1),
    "shorts": ((0.1, 0.08), (0.12, 0.34), (0.008, 0.02), (0.095, 0.13), (0.1, 0.12), 0.2, 0.15, 0.2),
    "long shorts": ((0.03, 0.16), (0.38, 0.6), (0.008, 0.02), (0.085, 0.12), (0.08, 0.12), 0.2, 0.12, 0.1),
}
# chances, hem, flare, number of folds, their depth, chance of a pattern
SKIRTS = {
    "short skirt": ((0.45, 0), (-0.32, -0.14), (0.1, 0.9), (8, 20), (0, 0.12), 0.3),
    "knee skirt": ((0.35, 0), (-0.5, -0.34), (0.0, 0.5), (6, 16), (0, 0.1), 0.35),
    "long skirt": ((0.2, 0), (-0.76, -0.6), (0.0, 0.35), (5, 14), (0, 0.1), 0.4),
}
# Fraction of women with a skirt and with a dress, by season; fraction of people with an outer garment.
SKIRT_SHARE = {"warm": 0.22, "mild": 0.14, "cold": 0.06}
DRESS_SHARE = {"warm": 0.22, "mild": 0.12, "cold": 0.04}
OUTER_SHARE = {"warm": 0.02, "mild": 0.5, "cold": 0.92}
# Factors of the chances above by season.
SEASONAL = {
    "warm": {"sweater": 0.02, "hoodie": 0.05, "jersey": 0.25, "shirt": 0.4, "shorts": 2.2, "long shorts": 2.2},
    "mild": {"tank top": 0.2, "shorts": 0.3, "long shorts": 0.3, "padded jacket": 0.2, "coat": 0.4},
    "cold": {"tank top": 0.0, "t-shirt": 0.15, "polo": 0.1, "short shirt": 0.05, "shorts": 0.0, "long shorts": 0.01,
             "cropped trousers": 0.2, "cardigan": 0.3, "blazer": 0.4},
}  # fmt: skip
# chances, top along the leg (.95 ankle), gap, thickness of the sole, height of its edge
SHOES = {
    "trainers": ((0.5, 0.55), (0.95, 0.965), (0.007, 0.012), (0.018, 0.03), 0.022),
    "leather shoes": ((0.06, 0.2), (0.95, 0.965), (0.004, 0.007), (0.01, 0.016), 0.008),
    "flat shoes": ((0.18, 0.03), (0.985, 1.0), (0.002, 0.004), (0.005, 0.012), 0.005),
    "boots": ((0.14, 0.12), (0.62, 0.9), (0.008, 0.016), (0.014, 0.03), 0.012),
    "sandals": ((0.12, 0.1), (1.005, 1.02), (0.001, 0.003), (0.012, 0.025), 0.01),
}
UPPER_COLOURS = {
    "black": 15, "charcoal": 5, "grey": 7, "silver": 5, "white": 16, "cream": 4, "red": 6, "crimson": 3, "coral": 3,
    "orange": 2, "rust": 1, "yellow": 3, "mustard": 1, "lime": 1, "green": 3, "forest": 2, "olive": 2, "mint": 2,
    "teal": 2, "turquoise": 2, "sky": 5, "blue": 5, "royal": 3, "navy": 7, "denim": 2, "violet": 2, "plum": 1,
    "lilac": 2, "pink": 4, "magenta": 2, "rose": 2, "beige": 3, "khaki": 1, "camel": 1, "brown": 2, "chocolate": 1,
}  # fmt: skip
LOWER_COLOURS = {
    "black": 28, "charcoal": 9, "grey": 7, "silver": 3, "white": 5, "cream": 3, "navy": 9, "blue": 3, "denim": 4,
    "dark denim": 4, "light denim": 2, "beige": 5, "khaki": 5, "camel": 1, "brown": 3, "chocolate": 2, "olive": 4,
    "red": 1, "crimson": 1, "green": 1, "pink": 1, "plum": 1, "mustard": 1, "sky": 1,
}  # fmt: skip
DENIM_COLOURS = {"denim": 8, "dark denim": 9, "light denim": 5, "black": 6, "charcoal": 3, "white": 1}
SHOE_COLOURS = {
    "black": 30, "white": 22, "charcoal": 6, "grey": 8, "brown": 9, "chocolate": 4, "navy": 5, "red": 3, "blue": 3,
    "pink": 2, "beige": 4, "camel": 3, "lime": 1, "orange": 1,
}  # fmt: skip
COAT_COLOURS = {
    "black": 26, "charcoal": 9, "navy": 13, "grey": 8, "camel": 6, "beige": 5, "olive": 6, "brown": 4, "red": 4,
    "crimson": 3, "blue": 4, "green": 2, "white": 3, "pink": 2, "yellow": 1, "plum": 1, "denim": 3,
}  # fmt: skip
PATTERN_CHANCES = {
    "stripes": 5, "thin stripes": 3, "mixed stripes": 3, "vertical stripes": 1, "pinstripes": 2, "check": 6,
    "chequers": 1, "dots": 2, "blotches": 2, "flowers": 4, "zigzag": 1, "mottled": 4, "blocks": 2, "batik": 1,
    "diamonds": 1, "leaves": 2,
}  # fmt: skip
DIVISION_CHANCES = {
    "none": 70, "yoke": 4, "lower part": 4, "halves": 1, "band": 6, "side panels": 3, "sleeves": 7, "shoulders": 3,
    "front panel": 2,
}  # fmt: skip
FREE_COLOUR = 0.18  # share of colours drawn freely instead of from a table
