"""Bodies: age, sex, build, height and skin, and the body mesh for them."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered.parts import AGES, DETAILS, RACES

# Age group: probability, youngest and oldest in years.
AGE_GROUPS = {
    "child": (0.07, 5, 12),
    "teenager": (0.09, 13, 17),
    "adult": (0.68, 18, 59),
    "elderly": (0.16, 60, 82),
}
# Build: probability, range of the shapes' weight and of their muscle, both 0 .. 1.
BUILDS = {
    "slim": (0.28, (0.15, 0.42), (0.3, 0.6)),
    "average": (0.42, (0.42, 0.62), (0.4, 0.65)),
    "athletic": (0.12, (0.42, 0.58), (0.7, 0.95)),
    "heavy": (0.18, (0.68, 1.0), (0.35, 0.65)),
}
# Skin tones from dark to light (sRGB), with the weights of the shapes of RACES that go with them, so that faces and
# proportions vary within each tone too.
SKIN_TONES = {
    "tone01": ((58, 40, 33), (0.9, 0.02, 0.08)),
    "tone02": ((82, 56, 43), (0.85, 0.05, 0.1)),
    "tone03": ((110, 76, 56), (0.7, 0.15, 0.15)),
    "tone04": ((138, 98, 72), (0.45, 0.3, 0.25)),
    "tone05": ((164, 120, 90), (0.25, 0.4, 0.35)),
    "tone06": ((186, 142, 112), (0.1, 0.5, 0.4)),
    "tone07": ((203, 160, 130), (0.05, 0.55, 0.4)),
    "tone08": ((216, 175, 146), (0.03, 0.5, 0.47)),
    "tone09": ((226, 186, 160), (0.02, 0.3, 0.68)),
    "tone10": ((234, 200, 178), (0.02, 0.15, 0.83)),
}
# Mean height in metres at an age in years; individuals differ by HEIGHT_SPREAD of it.
HEIGHTS = {
    "female": ((5, 8, 11, 14, 17, 60, 90), (1.10, 1.27, 1.45, 1.59, 1.635, 1.63, 1.56)),
    "male": ((5, 8, 11, 14, 17, 60, 90), (1.11, 1.28, 1.44, 1.65, 1.755, 1.75, 1.68)),
}
HEIGHT_SPREAD = 0.04
# Standard deviation of each detail; positive: the shape that ends in -incr.
DETAIL_SPREAD = dict.fromkeys(DETAILS, 0.3) | {"stomach/stomach-pregnant": 0.0, "head/head-scale-horiz": 0.2}
YEARS_OF_SHAPES = (1, 11, 25, 90)  # of AGES


@dataclass(frozen=True)
class Body:
    """One body; `height` in metres. `weight`, `muscle` and `stature` are MakeHuman's scales, 0 .. 1, average .5."""

    sex: str
    age_group: str
    years: float
    build: str
    weight: float
    muscle: float
    stature: float
    height: float
    tone: str
    skin: tuple  # factors of the tone's colour: individual variation
    races: tuple
    details: tuple


def choose(rng, table):
    """A key of a table whose rows are, or start with, their probability."""
    names = list(table)
    chances = np.array([row[0] if isinstance(row, tuple) else row for row in table.values()], float)
    return names[int(np.searchsorted(np.cumsum(chances / chances.sum()), rng.random(), side="right"))]


def draw_body(rng):
    """A random `Body`."""
    sex = "female" if rng.random() < 0.5 else "male"
    group = choose(rng, AGE_GROUPS)
    _, youngest, oldest = AGE_GROUPS[group]
    build = choose(rng, BUILDS)
    _, weight, muscle = BUILDS[build]
    tone = list(SKIN_TONES)[int(rng.integers(len(SKIN_TONES)))]
    years = float(rng.uniform(youngest, oldest))
    races = rng.dirichlet(np.array(SKIN_TONES[tone][1]) * 6 + 0.05)
    return Body(
        sex=sex,
        age_group=group,
        years=years,
        build=build,
        weight=float(rng.uniform(*weight)),
        muscle=float(rng.uniform(*muscle)),
        stature=float(np.clip(rng.normal(0.5, 0.05), 0.35, 0.65)),
        height=float(np.interp(years, *HEIGHTS[sex]) * (1 + HEIGHT_SPREAD * np.clip(rng.normal(), -2.5, 2.5))),
        tone=tone,
        skin=tuple(float(x) for x in rng.normal(1, 0.03) * rng.normal(1, (0.02, 0.02, 0.03))),
        races=tuple(map(float, races)),
        details=tuple(float(x) for x in rng.normal(0, 1, len(DETAILS)) * list(DETAIL_SPREAD.values())),
    )


def target_weights(body):
    """Target name -> weight: MakeHuman's macro targets (products of race, sex, age, muscle, weight) and details."""
    ages = _between(YEARS_OF_SHAPES, AGES, body.years)
    muscles = _between((0, 0.5, 1), ("min", "average", "max"), body.muscle)
    sizes = _between((0, 0.5, 1), ("min", "average", "max"), body.weight)
    found = {}
    for age, of_age in ages.items():
        for race, share in zip(RACES, body.races, strict=True):
            found[f"macrodetails/{race}-{body.sex}-{age}"] = of_age * share
        for muscle, of_muscle in muscles.items():
            for size, of_size in sizes.items():
                name = f"macrodetails/universal-{body.sex}-{age}-{muscle}muscle-{size}weight"
                found[name] = of_age * of_muscle * of_size
        end = "max" if body.stature > 0.5 else "min"
        name = f"macrodetails/height/{body.sex}-{age}-averagemuscle-averageweight-{end}height"
        found[name] = of_age * abs(body.stature - 0.5) * 2
    for name, amount in zip(DETAILS, body.details, strict=True):
        found[f"{name}-{'incr' if amount > 0 else 'decr'}"] = abs(amount)
    return {name: weight for name, weight in found.items() if weight > 1e-3}


def shape(parts, body):
    """Vertices (V, 3) of this body in the parts' rest pose, metres."""
    vertices = parts.vertices.copy()
    for name, weight in target_weights(body).items():
        indices, offsets = parts.targets[name]
        vertices[indices] += np.float32(weight) * offsets
    heights = vertices[parts.members["body"], 1]
    return vertices * np.float32(body.height / (heights.max() - heights.min()))


def _between(stops, names, value):
    """Linear weights of the two stops around a value."""
    place = min(int(np.searchsorted(stops, value, side="right")), len(stops) - 1)
    low, high = stops[place - 1], stops[place]
    part = min(max((value - low) / (high - low), 0), 1)
    return {name: w for name, w in ((names[place - 1], 1 - part), (names[place], part)) if w > 0}
