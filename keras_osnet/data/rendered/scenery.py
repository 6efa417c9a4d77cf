"""What scenes are built of: walls, floors, trees, cars and other solids, with a material and a colour each."""

import numpy as np

from keras_osnet.data.rendered import mesh
from keras_osnet.data.rendered.carried import bicycle_solids
from keras_osnet.data.rendered.paint import linear

MATERIALS = (
    "plain", "asphalt", "paving", "bricks", "concrete", "grass", "leaves", "facade", "shop window", "shutter", "poster",
    "planks", "polished", "sky", "bars", "steps", "shelves", "sand", "ceiling", "hedge",
)  # fmt: skip
# The vertex buffer: 52 bytes a vertex.
VERTEX = (("position", 3), ("normal", 3), ("texture", 2), ("colour", 3), ("material", 1), ("seed", 1))
COLUMNS = sum(size for _, size in VERTEX)


class Builder:
    """Collects textured surfaces. Lengths in metres; `colour` is sRGB, 0 .. 255."""

    def __init__(self, rng):
        self.rng, self.vertices, self.triangles, self.count = rng, [], [], 0

    def quad(self, origin, right, up, material, colour, *, seed=None):
        """A rectangle from a corner along two edges; texture coordinates are metres along them."""
        origin, right, up = (np.asarray(v, float) for v in (origin, right, up))
        corners = np.array([origin, origin + right, origin + right + up, origin + up])
        wide, tall = np.linalg.norm(right), np.linalg.norm(up)
        texture = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]])
        normal = np.cross(right, up)
        normals = np.tile(normal / np.linalg.norm(normal), (4, 1))
        self._add(corners, normals, texture, np.array([[0, 1, 2], [0, 2, 3]]), material, colour, seed)

    def box(self, centre, size, material, colour, *, turn=0.0):
        """A box that stands on the height centre[1]."""
        w, h, d = size
        c, s = np.cos(turn), np.sin(turn)
        x, z, y = np.array([c, 0, -s]), np.array([s, 0, c]), np.array([0.0, 1, 0])
        base, seed = np.asarray(centre, float), self.rng.random()
        for side, half, along, length in ((z, d / 2, x, w), (x, w / 2, -z, d), (-z, d / 2, -x, w), (-x, w / 2, z, d)):
            self.quad(base + side * half - along * length / 2, along * length, y * h, material, colour, seed=seed)
        self.quad(base + y * h - x * w / 2 + z * d / 2, x * w, -z * d, material, colour, seed=seed)

    def solid(self, positions, triangles, material, colour):
        """Any solid; its texture coordinates are its horizontal and vertical position."""
        positions = np.asarray(positions, float)
        texture = np.stack([positions[:, 0] + positions[:, 2], positions[:, 1]], 1)
        self._add(positions, mesh.normals(positions, triangles), texture, triangles, material, colour)

    def turned(self, positions, triangles, colour, turn, x, z):
        """A solid of one colour, turned about the vertical axis and moved to x, z."""
        c, s = np.cos(turn), np.sin(turn)
        across, up, along = np.transpose(positions)
        placed = np.stack([c * across + s * along + x, up, c * along - s * across + z], 1)
        self.solid(placed, triangles, "plain", colour)

    def _add(self, positions, normals, texture, triangles, material, colour, seed=None):
        count = len(positions)
        seed = self.rng.random() if seed is None else seed
        values = np.tile([*linear(colour), MATERIALS.index(material), seed], (count, 1))
        self.vertices.append(np.column_stack([positions, normals, texture, values]).astype(np.float32))
        self.triangles.append(np.asarray(triangles) + self.count)
        self.count += count

    def done(self):
        """(vertices (n, COLUMNS), triangles (m, 3))."""
        return np.concatenate(self.vertices), np.concatenate(self.triangles).astype(np.int32)

    def colour(self, *bases, spread=12):
        """A random colour near one of the bases."""
        base = np.array(bases[int(self.rng.integers(len(bases)))])
        return tuple(np.clip(base * self.rng.normal(1, 0.08) + self.rng.normal(0, spread, 3), 8, 248))


def tree(b, x, z):
    height = b.rng.uniform(2.2, 4.0)
    trunk = mesh.tube([(x, 0, z), (x + b.rng.normal(0, 0.1), height, z)], (0.16, 0.1))
    b.solid(*trunk, "planks", b.colour((84, 66, 50)))
    green = b.colour((70, 96, 50), (92, 108, 62), (60, 80, 48), (128, 116, 60))
    for _ in range(3):
        centre = (x + b.rng.normal(0, 0.7), height + b.rng.uniform(0.2, 1.6), z + b.rng.normal(0, 0.7))
        b.solid(*mesh.ellipsoid(centre, b.rng.uniform(0.9, 1.9, 3), rows=6, columns=9), "leaves", green)


def bush(b, x, z):
    leaves = mesh.ellipsoid((x, 0.35, z), b.rng.uniform((0.5, 0.4, 0.5), (1.3, 0.8, 1.0)), rows=6, columns=9)
    b.solid(*leaves, "leaves", b.colour((66, 92, 50), (84, 104, 60)))


def hedge(b, x, z):
    size = (b.rng.uniform(2, 5), b.rng.uniform(0.6, 1.4), 0.7)
    b.box((x, 0, z), size, "hedge", b.colour((62, 88, 46)), turn=_square(b))


def pole(b, x, z):
    height, colour = b.rng.uniform(2.5, 6), b.colour((90, 94, 98), (50, 60, 52), (150, 150, 146))
    b.solid(*mesh.tube([(x, 0, z), (x, height, z)], b.rng.uniform(0.03, 0.09)), "plain", colour)
    if b.rng.random() < 0.4:
        colour = b.colour((40, 80, 160), (200, 200, 196), (170, 40, 40))
        b.box((x, height - 0.7, z), (0.6, 0.6, 0.05), "poster", colour, turn=_any(b))


def bollards(b, x, z):
    step, colour = b.rng.choice([(1.2, 0), (0, 1.2)]), b.colour((60, 60, 64), (160, 150, 60))
    for k in range(4):
        across, along = x + k * step[0], z + k * step[1]
        b.solid(*mesh.tube([(across, 0, along), (across, 0.85, along)], 0.07), "plain", colour)


def bench(b, x, z):
    turn, colour = _square(b), b.colour((110, 78, 50), (90, 94, 96))
    b.box((x, 0.38, z), (1.7, 0.07, 0.45), "planks", colour, turn=turn)
    b.box((x, 0.0, z), (1.4, 0.38, 0.1), "plain", (70, 70, 72), turn=turn)


def bin_(b, x, z):
    size = (0.45, b.rng.uniform(0.8, 1.1), 0.45)
    b.box((x, 0, z), size, "plain", b.colour((50, 80, 60), (80, 84, 88), (40, 60, 110)))


def planter(b, x, z):
    b.box((x, 0, z), (1.2, 0.5, 0.6), "concrete", b.colour((150, 146, 138)), turn=_square(b))
    plants = mesh.ellipsoid((x, 0.65, z), (0.6, 0.35, 0.4), rows=5, columns=8)
    b.solid(*plants, "leaves", b.colour((76, 98, 56), (130, 90, 90)))


def bicycles(b, x, z):
    turn = _any(b)
    for k in range(int(b.rng.integers(2, 6))):
        colour = b.colour((40, 42, 46), (130, 40, 40), (60, 90, 140), (160, 162, 164), (60, 120, 90), spread=22)
        for main, (positions, triangles) in bicycle_solids(0, 0, 1.0, b.rng.random() < 0.5):
            shifted = positions + np.array([k * 0.5, 0, b.rng.normal(0, 0.05)])
            b.turned(shifted, triangles, colour if main else (38, 38, 40), turn, x, z)


def car(b, x, z):
    turn = _square(b) + b.rng.normal(0, 0.03)
    colour = b.colour(
        (30, 30, 32), (190, 192, 194), (230, 230, 228), (120, 24, 28), (40, 60, 110), (110, 114, 118), spread=8
    )
    tall = b.rng.uniform(1.4, 1.9)
    parts = [
        (mesh.box((0, 0.62, 0), (1.75, 0.72, 4.3), round_by=0.28), colour),
        (mesh.box((0, tall - 0.35, -0.2), (1.5, 0.75, 2.3), taper=0.8, round_by=0.3), (34, 40, 46)),
        (mesh.box((0, tall, -0.2), (1.25, 0.06, 1.7), round_by=0.3), colour),
    ]
    parts += [
        (mesh.ring((side * 0.8, 0.32, end * 1.35), 0.24, 0.1, columns=12), (24, 24, 26))
        for side in (1, -1)
        for end in (1, -1)
    ]
    for (positions, triangles), tint in parts:
        b.turned(positions, triangles, tint, turn, x, z)


def kiosk(b, x, z):
    size, material = b.rng.uniform((1.6, 2.2, 1.4), (3, 2.8, 2.4)), b.rng.choice(["shop window", "poster", "shutter"])
    colour = b.colour((150, 60, 50), (60, 90, 120), (190, 186, 170))
    b.box((x, 0, z), size, material, colour, turn=_square(b))


def pillar(b, x, z):
    tube = mesh.tube([(x, 0, z), (x, 4.5, z)], b.rng.uniform(0.2, 0.45), columns=12)
    material = b.rng.choice(["concrete", "plain", "poster"])
    b.solid(*tube, material, b.colour((180, 176, 168), (110, 112, 116)))


def stand(b, x, z):
    colour = b.colour((200, 90, 60), (60, 120, 170), (220, 210, 160), spread=30)
    b.box((x, 0.1, z), (1.2, 1.9, 0.15), "poster", colour, turn=_any(b))


def machine(b, x, z):
    colour = b.colour((60, 90, 150), (170, 40, 44), (190, 192, 194))
    b.box((x, 0, z), (0.9, 1.9, 0.7), "poster", colour, turn=_square(b))


def barrier(b, x, z):
    size = (b.rng.uniform(2, 5), 1.05, 0.05)
    b.box((x, 0.0, z), size, "bars", b.colour((140, 142, 146), (70, 74, 78)), turn=_square(b))


def shelf(b, x, z):
    size = (b.rng.uniform(3, 6), b.rng.uniform(1.4, 2.2), 0.7)
    b.box((x, 0, z), size, "shelves", b.colour((170, 160, 150)), turn=_square(b))


OBJECTS = {
    "tree": tree, "bush": bush, "hedge": hedge, "pole": pole, "bollards": bollards, "bench": bench, "bin": bin_,
    "planter": planter, "bicycles": bicycles, "car": car, "kiosk": kiosk, "pillar": pillar, "stand": stand,
    "machine": machine, "barrier": barrier, "shelf": shelf,
}  # fmt: skip


def _square(b):
    return float(b.rng.integers(4)) * np.pi / 2


def _any(b):
    return float(b.rng.uniform(0, 2 * np.pi))
