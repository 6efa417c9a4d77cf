"""Heads: the tables of hair, hats and glasses, and random heads."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.clothes import COAT_COLOURS
from keras_osnet.data.rendered.outfits import draw_colour, draw_decor

# chances (female, male, child), volume in metres, height where long hair ends (None: short), bun or tail
HAIR = {
    "bald": ((0.0, 0.05, 0.0), 0.0, None, ""),
    "shaved": ((0.01, 0.1, 0.04), 0.004, None, ""),
    "receding": ((0.0, 0.09, 0.0), 0.008, None, ""),
    "short": ((0.1, 0.44, 0.4), 0.016, None, ""),
    "full": ((0.08, 0.2, 0.12), 0.032, None, ""),
    "afro": ((0.03, 0.03, 0.03), 0.07, None, ""),
    "bob": ((0.16, 0.03, 0.14), 0.022, 0.62, ""),
    "shoulder": ((0.2, 0.02, 0.1), 0.018, 0.52, ""),
    "long": ((0.18, 0.01, 0.06), 0.016, 0.34, ""),
    "ponytail": ((0.16, 0.02, 0.09), 0.012, None, "tail"),
    "bun": ((0.08, 0.01, 0.02), 0.012, None, "bun"),
}
HAIR_COLOURS = {
    "black": ((22, 19, 18), 38), "dark brown": ((46, 33, 26), 26), "brown": ((82, 57, 40), 14),
    "light brown": ((124, 92, 62), 6), "blond": ((188, 154, 104), 7), "red": ((132, 66, 36), 2),
    "grey": ((134, 132, 130), 0), "white": ((206, 204, 200), 0), "dyed": ((150, 60, 110), 1.5),
}  # fmt: skip
# chances by season (warm, mild, cold)
HATS = {
    "none": (0.8, 0.84, 0.62), "cap": (0.1, 0.07, 0.05), "cap backwards": (0.015, 0.01, 0.0), "sun hat": (0.035, 0.01,
    0.0),
    "bucket hat": (0.02, 0.02, 0.01), "beanie": (0.0, 0.03, 0.2), "headscarf": (0.03, 0.03, 0.04), "helmet": (0.01,
    0.01, 0.01),
}  # fmt: skip
GLASSES = {"none": 0.74, "glasses": 0.16, "sunglasses": 0.1}
SCARF_SHARE = {"warm": 0.01, "mild": 0.06, "cold": 0.3}
MASK_SHARE = 0.05


@dataclass(frozen=True)
class Head:
    """What is on a head; colours are sRGB. Empty strings and None stand for nothing."""

    hair: str
    hair_colour: tuple
    fringe: float  # height of the hair's end over the face
    parting: float
    beard: float  # 0 .. 1
    hat: str
    hat_colours: tuple
    glasses: str
    mask: tuple | None
    scarf: tuple | None  # colours
    seed: float

    @property
    def long_hair(self):
        return HAIR[self.hair][2] is not None or HAIR[self.hair][3] == "tail"


def draw_head(rng, body, season):
    """A random `Head`."""
    column = 2 if body.age_group == "child" else ("female", "male").index(body.sex)
    hair = choose(rng, {name: row[0][column] for name, row in HAIR.items()})
    if body.sex == "female" and column == 2 and hair in ("shaved", "short") and rng.random() < 0.7:
        hair = "ponytail"
    chances = {name: share for name, (_, share) in HAIR_COLOURS.items()}
    if body.years > 45:
        grey = min((body.years - 45) / 30, 1)
        chances |= {"grey": 90 * grey, "white": 60 * grey**2}
    elif int(body.tone[-2:]) <= 4:
        chances |= {"blond": 0.3, "light brown": 0.5, "red": 0.1, "black": 70}
    colour = np.array(HAIR_COLOURS[choose(rng, chances)][0]) * rng.normal(1, 0.12)
    adult_man = body.sex == "male" and body.years > 18
    scarf = rng.random() < SCARF_SHARE[season]
    decor = draw_decor(rng, COAT_COLOURS, 0.4)
    return Head(
        hair, tuple(int(x) for x in np.clip(colour, 5, 245)),
        fringe=float(rng.choice([0.82, 0.78, 0.765])), parting=float(rng.uniform(-0.03, 0.03)),
        beard=float(rng.uniform(0.4, 1)) if adult_man and rng.random() < 0.28 else 0.0,
        hat=choose(rng, {name: row[("warm", "mild",
            "cold").index(season)] * (body.sex == "female" or name != "headscarf")
                         for name, row in HATS.items()}),
        hat_colours=tuple(draw_colour(rng, COAT_COLOURS) for _ in range(2)),
        glasses=choose(rng, GLASSES),
        mask=((206, 222, 232), (236, 236, 234), (30, 30,
            33))[int(rng.integers(3))] if rng.random() < MASK_SHARE else None,
        scarf=(decor["colour"], decor["second"], decor["pattern"]) if scarf else None,
        seed=float(rng.random()),
    )  # fmt: skip
