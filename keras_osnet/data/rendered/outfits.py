"""Random outfits: garments of the tables of clothes.py, with measures and colours of their own, for a season."""

from dataclasses import replace

import numpy as np

from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.clothes import (
    COAT_COLOURS,
    DENIM_COLOURS,
    DIVISION_CHANCES,
    FREE_COLOUR,
    LOWER_COLOURS,
    LOWERS,
    OUTERS,
    PATTERN_CHANCES,
    SEASONAL,
    SHOE_COLOURS,
    SHOES,
    SKIRT_SHARE,
    SKIRTS,
    UPPER_COLOURS,
    UPPERS,
    Garment,
)  # fmt: skip
from keras_osnet.data.rendered.paint import COLOURS
from keras_osnet.data.rendered.textures import PRINTS


def draw_colour(rng, chances):
    """A colour near a named one, or, now and then, any colour."""
    if rng.random() < FREE_COLOUR:
        hue, saturation, value = rng.random(), rng.beta(1.4, 1.6), rng.uniform(0.15, 0.95)
        wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
        base = 255 * value * (1 - saturation * (1 - wheel))
    else:
        base = np.array(COLOURS[choose(rng, chances)][0]) * rng.normal(1, 0.1) + rng.normal(0, 7, 3)
    return tuple(int(x) for x in np.clip(base, 8, 246))


def draw_decor(rng, chances, pattern_chance, print_chance=0.0):
    """The colours, pattern, division and print of a garment, as fields of `Garment`."""
    colour, second, third = (draw_colour(rng, chances) for _ in range(3))
    patterned, printed = rng.random() < 0.75 * pattern_chance, rng.random() < print_chance
    pattern = choose(rng, PATTERN_CHANCES) if patterned else "plain"
    sizes = {"check": (0.04, 0.13), "stripes": (0.02, 0.12), "flowers": (0.03, 0.1), "blotches": (0.05, 0.16)}
    division = choose(rng, DIVISION_CHANCES) if print_chance > 0 or not patterned else "none"
    size = float(rng.uniform(0.05, 0.13))
    return {
        "colour": colour, "second": second, "third": third, "pattern": pattern,
        "scale": float(rng.uniform(*sizes.get(pattern, (0.025, 0.1)))), "seed": float(rng.random()),
        "division": (division, float(rng.uniform(0.22, 0.42)), float(rng.uniform(0.02, 0.08))),
        "print": (
            int(rng.integers(PRINTS)) if printed else -1,
            float(rng.choice([0.0, 0.0, 0.0, 0.07])), float(rng.uniform(0.32, 0.42)),
            size if rng.random() < 0.8 else size * 0.4, bool(rng.random() < 0.25),
        ),
        "gradient": float(rng.uniform(0.15, 0.6)) if rng.random() < 0.03 else 0.0,
        "edges": float(rng.uniform(0.1, 0.3)) if rng.random() < 0.2 else 0.0,
    }  # fmt: skip


def _row(rng, table, sex, season):
    side = ("female", "male").index(sex)
    kind = choose(rng, {name: row[0][side] * SEASONAL[season].get(name, 1) for name, row in table.items()})
    return kind, table[kind][1:]


def draw_upper(rng, sex, season):
    kind, (sleeve, hem, gap, width, tucked, neck, patterns, prints) = _row(rng, UPPERS, sex, season)
    garment = Garment(
        kind, **draw_decor(rng, UPPER_COLOURS, patterns, prints), sleeve=_in(rng, sleeve), hem=_in(rng, hem),
        gap=_in(rng, gap), width=_in(rng, width), tucked=bool(rng.random() < tucked),
        neck=(_in(rng, neck), float(rng.uniform(0.06, 0.1))), wrinkle=float(rng.uniform(0.4, 1.1)),
        seam=0.75 if "shirt" in kind and kind != "t-shirt" else 0.0, hood=kind == "hoodie",
    )  # fmt: skip
    return replace(garment, sleeve=_in(rng, (0.3, 0.6))) if kind == "shirt" and rng.random() < 0.15 else garment


def draw_outer(rng, sex, season):
    kind, (sleeve, hem, gap, width, opened, neck, patterns, prints) = _row(rng, OUTERS, sex, season)
    return Garment(
        kind, **draw_decor(rng, COAT_COLOURS, patterns, prints), sleeve=_in(rng, sleeve), hem=_in(rng, hem),
        gap=_in(rng, gap), width=_in(rng, width), opened=float(rng.uniform(0.02,
            0.08)) if rng.random() < opened else 0.0,
        neck=(_in(rng, neck), float(rng.uniform(0.05, 0.08))), wrinkle=float(rng.uniform(0.3, 0.9)), seam=0.55,
        hood=bool(kind in ("jacket", "padded jacket", "coat") and rng.random() < 0.35),
        gloss=0.25 if kind == "padded jacket" else float(rng.choice([0, 0, 0.15])),
        belt=0.16 if kind == "coat" and rng.random() < 0.3 else -9.0,
    )  # fmt: skip


def draw_lower(rng, sex, season):
    if sex == "female" and rng.random() < SKIRT_SHARE[season]:
        return draw_skirt(rng, season, LOWER_COLOURS)
    kind, (hem, gap, knee, ankle, patterns, stripes, fading) = _row(rng, LOWERS, sex, season)
    narrow = rng.random()
    return Garment(
        kind, **draw_decor(rng, DENIM_COLOURS if kind == "jeans" else LOWER_COLOURS, patterns) | {"division": ("none",
            0, 0)},
        hem=_in(rng, hem), gap=_in(rng, gap), width=float(narrow),
        neck=tuple(float(low + narrow * (high - low)) for low, high in (knee, ankle)),
        side_stripe=float(rng.uniform(0.006, 0.02)) if rng.random() < stripes else 0.0,
        fading=float(rng.uniform(0, fading)), wrinkle=float(rng.uniform(0.4, 1.0)),
        belt=0.105 if rng.random() < 0.25 else -9.0,
    )  # fmt: skip


def draw_skirt(rng, season, colours):
    kind, (hem, flare, folds, depth, patterns) = _row(rng, SKIRTS, "female", season)
    return Garment(
        kind, **draw_decor(rng, colours, patterns) | {"division": ("none", 0, 0)}, hem=_in(rng, hem), gap=0.004,
        width=_in(rng, flare), neck=(float(rng.integers(*folds)), _in(rng, depth)), wrinkle=float(rng.uniform(0.2,
            0.5)),
    )  # fmt: skip


def draw_dress(rng, season):
    """An upper garment and the skirt of one piece with it."""
    skirt = draw_skirt(rng, season, UPPER_COLOURS)
    upper = draw_upper(rng, "female", season)
    decor = draw_decor(rng, UPPER_COLOURS, 0.5)
    shared = {name: decor[name] for name in ("colour", "second", "third", "pattern", "scale", "seed")}
    plain = {"division": ("none", 0.0, 0.0), "print": (-1, 0.0, 0.4, 0.1, False), "hood": False, "edges": 0.0}
    return (
        replace(upper, kind="dress", tucked=True, width=min(upper.width, 0.4), gap=0.006, **shared, **plain),
        replace(skirt, kind="dress", **shared, belt=0.16 if rng.random() < 0.4 else -9.0),
    )


def draw_shoes(rng, sex, season):
    side = ("female", "male").index(sex)
    factors = {
        "warm": {"boots": 0.1},
        "mild": {"sandals": 0.2},
        "cold": {"sandals": 0, "boots": 2.0, "flat shoes": 0.4},
    }
    kind = choose(rng, {name: row[0][side] * factors[season].get(name, 1) for name, row in SHOES.items()})
    _, top, gap, sole, edge = SHOES[kind]
    colours = [draw_colour(rng, SHOE_COLOURS) for _ in range(2)]
    if kind == "trainers" and rng.random() < 0.6:
        colours[1] = (228, 228, 226)
    return Garment(
        kind, *colours, hem=_in(rng, top), gap=_in(rng, gap), width=_in(rng, sole), scale=edge, seed=float(rng.random())
    )


def _in(rng, bounds):
    return float(rng.uniform(*bounds))
