"""What people carry, push or ride: solids that hang on a bone, or stand beside the person."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered import mesh
from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.clothes import PATTERN_CHANCES
from keras_osnet.data.rendered.outfits import draw_colour
from keras_osnet.data.rendered.paint import Paint
from keras_osnet.data.rendered.parts import BONES

# Item: chance, the arm that holds it (a row of poses.ARMS), colours.
ITEMS = {
    "backpack": (0.25, None),
    "shoulder bag": (0.11, None),
    "handbag": (0.09, "carry"),
    "forearm bag": (0.03, "hold"),
    "shopping bag": (0.08, "carry"),
    "two shopping bags": (0.02, "carry"),
    "briefcase": (0.03, "carry"),
    "trolley": (0.035, "pull"),
    "umbrella": (0.035, "hold"),
    "parcel": (0.015, "hold"),
    "bottle": (0.02, "hold"),
    "bicycle": (0.02, "push"),
    "ridden bicycle": (0.03, "ride"),
}
NOTHING = 0.36
SECOND_ITEM = 0.12  # share of people with a backpack or shoulder bag who carry something in a hand too
BAG_COLOURS = {"black": 32, "charcoal": 8, "grey": 7, "navy": 9, "brown": 8, "camel": 5, "red": 6, "crimson": 2,
    "blue": 5,
               "green": 2, "olive": 4, "pink": 4, "violet": 2, "beige": 3, "white": 2, "yellow": 2, "teal": 2,
               "orange": 1}  # fmt: skip
SHOPPING_COLOURS = {"white": 36, "cream": 10, "silver": 8, "red": 7, "green": 6, "orange": 4, "yellow": 5, "pink": 5,
                    "blue": 5, "black": 5, "beige": 8, "khaki": 5, "sky": 4}  # fmt: skip
GROUND = 22  # the place in the table of bones of what stands on the ground beside or under the person


@dataclass(frozen=True)
class Item:
    """One thing that is carried; `side` 1 is the left."""

    kind: str
    colour: tuple
    second: tuple
    pattern: str
    size: float
    side: int
    seed: float

    @property
    def arm(self):
        return ITEMS[self.kind][1]

    @property
    def both_hands(self):
        return self.kind in ("two shopping bags", "bicycle", "ridden bicycle")


def draw_items(rng, adult):
    """A tuple of up to two random items."""
    if rng.random() < NOTHING:
        return ()
    chances = {name: row[0] for name, row in ITEMS.items()}
    if not adult:
        chances = {name: chances[name] for name in ("backpack", "shopping bag", "umbrella", "bottle")}
    first = _draw(rng, choose(rng, chances))
    if first.arm or rng.random() > SECOND_ITEM:
        return (first,)
    hands = {name: ITEMS[name][0] for name in ("handbag", "shopping bag", "umbrella", "bottle", "briefcase")}
    return first, _draw(rng, choose(rng, hands))


def _draw(rng, kind):
    colours = SHOPPING_COLOURS if "shopping" in kind or kind == "parcel" else BAG_COLOURS
    return Item(
        kind, draw_colour(rng, colours), draw_colour(rng, BAG_COLOURS),
        choose(rng, PATTERN_CHANCES) if rng.random() < 0.25 else "plain",
        float(rng.uniform(0.8, 1.25)), 1 if rng.random() < 0.5 else -1, float(rng.random()),
    )  # fmt: skip


def layers(figure, item):
    """[(Paint, Piece)] of an item."""
    gloss = 0.35 if item.kind in ("bicycle", "ridden bicycle") else 0.12
    paint = Paint("plain", item.colour, item.second, item.second, pattern=item.pattern, scale=0.06, gloss=gloss,
                  seed=item.seed, wrinkle=(1.2 if "bag" in item.kind else 0.4, 0.1))  # fmt: skip
    return [
        (paint if main else Paint("plain", item.second, gloss=0.2), piece)
        for main, piece in MAKERS[item.kind](figure, item)
    ]


def strap_of(items):
    """The straps that lie on the chest, for `Paint.strap`."""
    for item in items:
        if item.kind == "backpack":
            return ("both shoulders", tuple(int(c * 0.8) for c in item.colour))
        if item.kind == "shoulder bag":
            return ("from the left" if item.side < 0 else "from the right", tuple(int(c * 0.8) for c in item.colour))
    return ("none", (0, 0, 0))


def _bone(name, side=0):
    return list(BONES).index(name if not side else f"{name}.{'L' if side > 0 else 'R'}")


def _joint(figure, name, side=0):
    return figure.parts.joint(figure.vertices, name if not side else f"{'l' if side > 0 else 'r'}-{name}")


def _back_of(figure, height):
    """The rearmost point of the torso around a height at rest."""
    members = figure.parts.members["tights"]
    rest = figure.surface.rest[members]
    near = (np.abs(rest[:, 1] - height) < 0.05) & (np.abs(rest[:, 0]) < 0.1)
    return figure.vertices[members][near, 2].min()


def _hanging(figure, item, solids, *, side=None):
    """Solids around a palm. Their y axis points up and z to the front in the pose of the arm that the item asks for."""
    side = side or item.side
    shoulder, elbow, hand, finger = (_joint(figure, name, side) for name in ("shoulder", "elbow", "hand", "finger-3-1"))
    upper, fore = (v / np.linalg.norm(v) for v in (elbow - shoulder, hand - elbow))
    # A straight arm hangs down; on a bent one the upper arm hangs and the forearm points to the front. The elbow turns
    # in the plane of the upper arm and the front.
    if item.arm == "hold":
        up, front = -upper, fore
        up = up - (up @ front) * front
    else:
        up, front = -fore, np.array([0.0, 0.0, 1.0])
        front = front - (front @ up) * up
    up, front = up / np.linalg.norm(up), front / np.linalg.norm(front)
    turn = np.stack([np.cross(up, front), up, front], 1)
    palm = finger + 0.02 * fore * figure.scale
    size = item.size * figure.scale
    bone = _bone("wrist", side)
    return [
        (main, mesh.solid(palm + positions @ turn.T * size, triangles, bone, rest=positions))
        for main, (positions, triangles) in solids
    ]


def _backpack(figure, item):
    s, height = item.size * figure.scale, 0.36
    back = _back_of(figure, height)
    y = _joint(figure, "spine-1")[1] - 0.07 * s
    body = mesh.box((0, y, back - 0.075 * s), np.array([0.29, 0.42, 0.15]) * s, taper=0.85, round_by=0.45)
    pocket = mesh.box((0, y - 0.09 * s, back - 0.16 * s), np.array([0.2, 0.17, 0.06]) * s, round_by=0.4)
    chest = _bone("spine01")
    return [(True, mesh.solid(*body, chest)), (item.seed > 0.5, mesh.solid(*pocket, chest))]


def _shoulder_bag(figure, item):
    s = item.size * figure.scale
    hip = _joint(figure, "upper-leg", item.side)
    place = hip + np.array([item.side * 0.115, 0.02, 0.02]) * figure.scale
    bag = mesh.box(place, np.array([0.09, 0.22 + 0.08 * item.seed, 0.3]) * s, taper=0.9, round_by=0.4)
    return [(True, mesh.solid(*bag, _bone("root")))]


def _bag(width, height, depth, strap, taper=0.85):
    bag = mesh.box((0, -strap - height / 2, 0), (depth, height, width), taper=taper, round_by=0.4)
    handle = mesh.tube(
        [(0, -strap, width * 0.25), (0, 0, 0.02), (0, 0, -0.02), (0, -strap, -width * 0.25)], 0.008, columns=5
    )
    return [(True, bag), (False, handle)]


def _umbrella(figure, item):
    inward = -item.side * 0.12
    canopy = mesh.ellipsoid((inward, 0.5, -0.1), (0.5, 0.24, 0.5), rows=5, columns=12, bottom=0.25)
    stick = mesh.tube([(0, -0.08, 0), (inward, 0.74, -0.1)], 0.009, columns=5)
    return _hanging(figure, item, [(True, canopy), (False, stick)])


def _trolley(figure, item):
    s = item.size * figure.scale
    case = mesh.box((item.side * 0.3, 0.36, -0.5), np.array([0.24, 0.55, 0.38]) * s, round_by=0.25)
    handle = mesh.tube([(item.side * 0.3, 0.6, -0.45), (item.side * 0.24, 0.8, -0.2)], 0.012 * s, columns=5)
    wheels = [mesh.ring((item.side * 0.3 + x, 0.045, -0.5), 0.035, 0.012, columns=10) for x in (-0.09, 0.09)]
    return [(True, mesh.solid(*case, GROUND)), (False, mesh.solid(*mesh.join([handle, *wheels]), GROUND))]


def bicycle_solids(x, z, size, basket):
    """Frame and wheels of a bicycle that stands at x, z and points along z."""
    front, rear, hub = np.array([x, 0.34, z + 0.55]), np.array([x, 0.34, z - 0.5]), np.array([x, 0.3, z - 0.05])
    saddle, head = np.array([x, 0.92, z - 0.2]), np.array([x, 0.95, z + 0.38])
    pipes = [
        (hub, saddle),
        (hub, head - [0, 0.12, 0]),
        (saddle - [0, 0.14, 0], head),
        (rear, hub),
        (rear, saddle - [0, 0.14, 0]),
        (front, head),
    ]
    frame = [mesh.tube(ends, 0.018, columns=5) for ends in pipes]
    bar = mesh.tube(head + np.array([[-0.28, 0.12, -0.05], [0, 0.06, 0.02], [0.28, 0.12, -0.05]]), 0.014, columns=5)
    seat = mesh.box(saddle + np.array([0, 0.02, 0]), (0.14, 0.05, 0.26))
    dark = [mesh.ring(front, 0.33, 0.022), mesh.ring(rear, 0.33, 0.022), seat, bar]
    if basket:
        frame.append(mesh.box(head + np.array([0, 0.02, 0.2]), (0.34, 0.24, 0.26), taper=1.2, round_by=0.15))
    sides = (True, mesh.join(frame)), (False, mesh.join(dark))
    return [(main, (points * np.array([1, size, size]), triangles)) for main, (points, triangles) in sides]


def _bicycle(figure, item):
    x, z = (0.0, 0.2) if item.kind == "ridden bicycle" else (-item.side * 0.42, 0.3)
    solids = bicycle_solids(x, z, figure.scale, item.seed > 0.5)
    return [(main, mesh.solid(*content, GROUND)) for main, content in solids]


MAKERS = {
    "backpack": _backpack,
    "shoulder bag": _shoulder_bag,
    "handbag": lambda figure, item: _hanging(figure, item, _bag(0.3, 0.22, 0.12, 0.16)),
    "forearm bag": lambda figure, item: _hanging(figure, item, _bag(0.28, 0.22, 0.12, 0.1)),
    "shopping bag": lambda figure, item: _hanging(figure, item, _bag(0.3, 0.36, 0.16, 0.12, 0.7)),
    "two shopping bags": lambda figure, item: [
        part for side in (1, -1) for part in _hanging(figure, item, _bag(0.28, 0.34, 0.16, 0.12, 0.7), side=side)
    ],
    "briefcase": lambda figure, item: _hanging(figure, item, _bag(0.4, 0.29, 0.09, 0.05, 1.0)),
    "trolley": _trolley,
    "umbrella": _umbrella,
    "parcel": lambda figure, item: _hanging(
        figure, item, [(True, mesh.box((0, 0.02, 0.1), (0.3, 0.2, 0.24), round_by=0.1))]
    ),
    "bottle": lambda figure, item: _hanging(figure, item, [(True, mesh.tube([(0, -0.02, 0), (0, 0.2, 0)], 0.035))]),
    "bicycle": _bicycle,
    "ridden bicycle": _bicycle,
}
