"""Scenes: places where cameras hang, made by rule from a seed, with ground, walls, objects and light."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.scenery import OBJECTS, Builder

CLUTTER = 1.7  # factor of the numbers of objects below


@dataclass(frozen=True)
class Kind:
    """A row of SCENES. Lengths in metres."""

    chance: float
    ground: tuple  # (material, colours) of the area where people walk
    border: tuple  # (material, colours) of the ground around it
    walls: tuple  # materials of the buildings around
    wall_height: tuple
    gap: tuple  # from the walking area to the walls
    open_sides: tuple  # how many of the four sides have no wall
    area: tuple  # (least, most) width and length of the walking area
    objects: dict  # row of OBJECTS -> how many on average
    lights: tuple  # rows of LIGHTS
    inside: bool = False


STONE = ((176, 172, 164), (150, 148, 144), (190, 180, 162), (140, 132, 124), (158, 130, 112), (120, 118, 116))
GREY = ((108, 108, 110), (92, 92, 96), (126, 124, 120))
WALLS = ((186, 172, 150), (170, 166, 160), (150, 110, 92), (200, 194, 184), (120, 124, 130), (110, 90, 80))
OUTDOORS = ("sun", "low sun", "overcast", "shade", "dusk", "night", "haze")
INDOORS = ("cold lamps", "warm lamps", "windows", "dim")
SCENES = {
    "street": Kind(0.2, ("paving", STONE), ("asphalt", GREY), ("facade", "shop window", "bricks", "shutter",
    "concrete"), (4, 14), (0, 6),
                   (0, 2), ((4, 14), (10, 30)), {"car": 2.5, "pole": 2, "tree": 1.5, "bollards": 1, "bin": 1,
                   "bicycles": 1, "stand": 0.5}, OUTDOORS),
    "crossing": Kind(0.08, ("asphalt", GREY), ("paving", STONE), ("facade", "shop window", "concrete"), (5, 16), (4,
    12), (1, 3),
                     ((6, 14), (10, 24)), {"car": 3, "pole": 3, "barrier": 1, "tree": 1}, OUTDOORS),
    "square": Kind(0.14, ("paving", STONE), ("paving", STONE), ("facade", "concrete", "bricks", "shop window"), (5,
    18), (3, 14), (1, 3),
                   ((10, 24), (12, 30)), {"bench": 2, "tree": 3, "planter": 2, "kiosk": 1, "pole": 1.5, "bicycles": 1},
                   OUTDOORS),
    "campus": Kind(0.16, ("paving", STONE), ("grass", ((86, 104, 62), (100, 110, 72))), ("facade", "bricks",
    "concrete", "bars"), (3, 12),
                   (1, 8), (0, 3), ((5, 14), (10, 26)), {"bicycles": 5, "tree": 3, "bush": 2, "hedge": 1, "pole": 1,
                   "bench": 1}, OUTDOORS),
    "shopfront": Kind(0.12, ("paving", STONE), ("paving", GREY), ("shop window", "shop window", "poster", "shutter",
    "bricks"), (3, 6), (0, 1.5),
                      (1, 2), ((4, 8), (8, 20)), {"stand": 2, "planter": 1, "bin": 1, "bicycles": 1.5, "pole": 1,
                      "bollards": 1}, OUTDOORS),
    "park": Kind(0.08, ("sand", ((176, 160, 132), (150, 140, 124))), ("grass", ((86, 110, 60), (110, 116, 74))),
    ("hedge", "bars", "leaves"),
                 (1, 4), (2, 10), (1, 3), ((3, 8), (14, 30)), {"tree": 7, "bush": 5, "bench": 2, "hedge": 1.5,
                 "bin": 1}, OUTDOORS),
    "car park": Kind(0.06, ("asphalt", GREY), ("asphalt", GREY), ("concrete", "bars", "bricks", "facade"), (2, 8), (2,
    10), (1, 3),
                     ((8, 16), (12, 28)), {"car": 7, "pole": 2, "bollards": 1, "barrier": 1}, OUTDOORS),
    "station": Kind(0.06, ("polished", STONE), ("polished", STONE), ("poster", "concrete", "shop window", "plain"),
    (4.5, 4.5), (0, 3), (0, 1),
                    ((8, 18), (14, 30)), {"pillar": 4, "machine": 2, "barrier": 1, "bench": 1, "stand": 1}, INDOORS,
                    True),
    "mall": Kind(0.06, ("polished", ((206, 200, 190), (170, 166, 160))), ("polished", STONE), ("shop window",
    "shop window", "poster", "plain"),
                 (4.2, 4.2), (0, 1), (0, 1), ((5, 12), (14, 30)), {"planter": 2, "stand": 2, "pillar": 2, "bench": 1,
                 "kiosk": 1}, INDOORS, True),
    "corridor": Kind(0.03, ("polished", ((170, 166, 158), (120, 116, 110), (150, 130, 110))), ("polished", GREY),
    ("plain", "planks", "plain", "bricks"),
                     (3, 3), (0, 0.5), (0, 1), ((3, 5), (10, 22)), {"stand": 1, "bin": 1, "planter": 1}, INDOORS, True),
    "supermarket": Kind(0.04, ("polished", ((200, 198, 192), (184, 176, 160))), ("polished", STONE), ("shelves",
    "poster", "shelves", "plain"),
                        (3.5, 3.5), (0, 1), (0, 0), ((5, 10), (10, 20)), {"shelf": 3, "stand": 2, "pillar": 1,
                        "kiosk": 1}, INDOORS, True),
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """A row of LIGHTS; colours are linear, 1 is white; `sun`: 0 for none; heights in degrees."""

    chance: float
    sun: float
    sun_colour: tuple
    sun_height: tuple
    sky: tuple  # light from above
    ground: tuple  # light from below
    haze: float = 0.0
    lamps: float = 0.0
    background: tuple = (0.75, 0.82, 0.92)
    shadows: bool = True


LIGHTS = {
    "sun": Light(0.3, 1.9, (1.0, 0.95, 0.86), (35, 70), (0.46, 0.54, 0.68), (0.26, 0.24, 0.2)),
    "low sun": Light(0.1, 1.8, (1.0, 0.8, 0.55), (10, 28), (0.36, 0.42, 0.54), (0.22, 0.19, 0.15), background=(0.9,
    0.8, 0.68)),
    "overcast": Light(0.26, 0.22, (1, 1, 1), (50, 85), (0.92, 0.96, 1.0), (0.34, 0.33, 0.31), background=(0.88, 0.9,
    0.92)),
    "shade": Light(0.16, 0.1, (0.9, 0.95, 1.0), (50, 85), (0.62, 0.72, 0.88), (0.26, 0.27, 0.28), background=(1.2,
    1.25, 1.3)),
    "dusk": Light(0.06, 0.12, (1.0, 0.7, 0.5), (5, 20), (0.3, 0.36, 0.52), (0.12, 0.12, 0.13), lamps=0.8,
    background=(0.34, 0.4, 0.56)),
    "night": Light(0.05, 0.0, (1, 1, 1), (60, 85), (0.07, 0.08, 0.12), (0.04, 0.04, 0.04), lamps=2.2, background=(0.02,
    0.02, 0.035)),
    "haze": Light(0.07, 0.3, (1.0, 0.96, 0.9), (30, 60), (0.84, 0.86, 0.86), (0.36, 0.36, 0.35), haze=0.012,
    background=(0.8, 0.8, 0.79)),
    "cold lamps": Light(0.35, 0.5, (0.92, 1.0, 1.0), (70, 88), (0.7, 0.76, 0.78), (0.36, 0.36, 0.36), lamps=0.4,
    background=(0.8, 0.84, 0.86)),
    "warm lamps": Light(0.3, 0.5, (1.0, 0.88, 0.7), (65, 88), (0.74, 0.68, 0.56), (0.38, 0.33, 0.27), lamps=0.5,
    background=(0.8, 0.74, 0.64)),
    "windows": Light(0.2, 1.2, (0.92, 0.97, 1.0), (15, 40), (0.42, 0.44, 0.48), (0.24, 0.24, 0.24), background=(1.4,
    1.5, 1.6)),
    "dim": Light(0.15, 0.2, (1.0, 0.92, 0.8), (60, 88), (0.26, 0.25, 0.24), (0.12, 0.11, 0.1), lamps=0.8,
    background=(0.2, 0.19, 0.18)),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A place: its mesh, and where people walk in it (half width, half length; its middle is the origin)."""

    kind: str
    vertices: np.ndarray
    triangles: np.ndarray
    half: tuple
    sun_turn: float  # direction of the sun, radians

    @property
    def row(self):
        return SCENES[self.kind]


def make_scene(rng):
    """A random `Scene`."""
    kind = choose(rng, {name: row.chance for name, row in SCENES.items()})
    row = SCENES[kind]
    width, length = (float(rng.uniform(*bounds)) for bounds in row.area)
    b = Builder(rng)
    material, colours = row.ground
    b.quad((-width / 2, 0, length / 2), (width, 0, 0), (0, 0, -length), material, b.colour(*colours, spread=5))
    material, colours = row.border
    far = 60
    tint = b.colour(*colours, spread=5)
    b.quad((-far, -0.02, far), (2 * far, 0, 0), (0, 0, -2 * far), material, tint)
    sides = rng.permutation(4)
    opened = set(sides[: int(rng.integers(row.open_sides[0], row.open_sides[1] + 1))])
    for side in range(4):
        away, across = (length / 2, width) if side % 2 == 0 else (width / 2, length)
        distance = away + float(rng.uniform(*row.gap)) + (14 if side in opened else 0)
        _wall(b, row, side, distance, across + (10 if not row.inside else 2))
    if row.inside:
        tint = b.colour((210, 210, 206), (150, 150, 150))
        b.quad((-far / 2, row.wall_height[0], -far / 2), (far, 0, 0), (0, 0, far), "ceiling", tint)
    else:
        turn = np.linspace(0, 2 * np.pi, 9)
        for a, c in pairwise(turn):
            start, end = (np.array([np.sin(t), 0, np.cos(t)]) * 70 for t in (c, a))
            b.quad(start - [0, 2, 0], end - start, (0, 60, 0), "sky", (255, 255, 255), seed=0.5)
    _objects(b, row, width, length)
    return Scene(kind, *b.done(), (width / 2, length / 2), float(rng.uniform(0, 2 * np.pi)))


def _wall(b, row, side, distance, across):
    """A row of buildings along one side, each with its own material, height and, often, an entrance."""
    out = np.array([[0, 0, -1], [1, 0, 0], [0, 0, 1], [-1, 0, 0]][side], float)
    right = np.array([-out[2], 0, out[0]])
    start, end = -across / 2 - 4, across / 2 + 4
    while start < end:
        wide = float(b.rng.uniform(3, 12))
        material = row.walls[int(b.rng.integers(len(row.walls)))]
        height = float(b.rng.uniform(*row.wall_height))
        back = distance + (0.0 if row.inside else float(b.rng.choice([0, 0, 0.4, 1.5])))
        green = ((70, 92, 54), (84, 100, 62))
        colour = b.colour(*(green if material in ("leaves", "hedge") else WALLS), spread=10)
        origin = out * back + right * start
        b.quad(origin, right * wide, (0, height, 0), material, colour)
        if material in ("facade", "bricks", "concrete", "plain", "planks") and b.rng.random() < 0.6:
            _entrance(b, origin, right, out, wide)
        start += wide


def _entrance(b, origin, right, out, wide):
    """A door or a window front: dark inside, with a frame."""
    door = float(b.rng.uniform(1.2, min(3.5, wide)))
    place = origin + right * float(b.rng.uniform(0, wide - door)) - out * 0.05
    dark = b.colour((24, 24, 26), (44, 40, 38), (60, 66, 70), (90, 70, 50))
    height, material = float(b.rng.uniform(2.1, 2.9)), b.rng.choice(["shop window", "plain", "planks"])
    b.quad(place, right * door, (0, height, 0), material, dark)
    frame = b.colour((200, 198, 192), (90, 90, 92), (120, 84, 60))
    for shift in (0.0, door - 0.1):
        b.quad(place + right * shift - out * 0.05, right * 0.1, (0, 2.9, 0), "plain", frame)
    for step in range(int(b.rng.integers(0, 4))):
        centre, size = place + right * door / 2 - out * (0.3 * step + 0.2), (door + 0.6, 0.16 * (3 - step), 0.35)
        b.box(centre, size, "steps", b.colour((160, 156, 150)), turn=np.arctan2(-right[2], right[0]))


def _objects(b, row, width, length):
    """Objects stand around the walking area, and a few of them at its edge."""
    for name, mean in row.objects.items():
        for _ in range(int(b.rng.poisson(CLUTTER * mean))):
            margin = float(b.rng.uniform(-0.8, 1.2)) if row.inside else float(b.rng.uniform(-1.2, 4))
            margin += {"car": 1.8, "kiosk": 1.0, "tree": 0.8, "shelf": 0.6}.get(name, 0.0)
            along = float(b.rng.uniform(-0.5, 0.5))
            if b.rng.random() < length / (width + length):
                x, z = float(b.rng.choice([-1, 1])) * (width / 2 + margin), along * length
            else:
                x, z = along * width, float(b.rng.choice([-1, 1])) * (length / 2 + margin)
            OBJECTS[name](b, x, z)
