"""Triangle meshes: pieces of a person, simple solids, and the vertex buffer that both become."""

from dataclasses import dataclass, replace

import numpy as np

# The vertex buffer: name, components, type. 68 bytes a vertex.
VERTEX = (
    ("position", 3, "f4"), ("normal", 3, "f4"), ("rest", 3, "f4"), ("surface", 4, "f4"), ("limb", 1, "f4"),
    ("layer", 1, "f4"), ("bones", 4, "u1"), ("weights", 4, "u1"),
)  # fmt: skip
DTYPE = np.dtype([(name, kind, (size,)) for name, size, kind in VERTEX])


@dataclass(frozen=True)
class Piece:
    """A part of a person: triangles whose vertices hang on bones. `surface` is around (2), height, along."""

    positions: np.ndarray
    triangles: np.ndarray
    rest: np.ndarray
    surface: np.ndarray
    limb: np.ndarray
    bones: np.ndarray
    weights: np.ndarray

    def moved(self, positions):
        return replace(self, positions=positions)

    def only(self, keep):
        """The triangles of which all three vertices are to be kept."""
        return replace(self, triangles=self.triangles[keep[self.triangles].all(1)])


def piece_of(parts, surface, vertices, group):
    """The `Piece` of a group of the parts, with this body's vertices."""
    members, triangles = parts.members[group], parts.triangles[group]
    new = np.zeros(len(vertices), np.int32)
    new[members] = np.arange(len(members))
    coordinates = np.column_stack([surface.around, surface.height, surface.along])
    return Piece(
        vertices[members], new[triangles], surface.rest[members], coordinates[members], surface.limb[members],
        parts.bones[members], parts.weights[members],
    )  # fmt: skip


def solid(positions, triangles, bone, *, rest=None):
    """A `Piece` that moves with one bone. `rest`: coordinates for its pattern; None: its positions."""
    positions = np.asarray(positions, np.float32)
    count = len(positions)
    rest = positions if rest is None else np.asarray(rest, np.float32)
    surface = np.column_stack([np.zeros(count), np.ones(count), rest[:, 1], np.zeros(count)]).astype(np.float32)
    bones = np.tile(np.uint8([bone, 0, 0, 0]), (count, 1))
    weights = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    return Piece(positions, np.asarray(triangles, np.int32), rest, surface, np.zeros(count, np.float32), bones, weights)


def normals(positions, triangles):
    """Vertex normals: means of the normals of adjacent triangles, weighted by area."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    corners = triangles.ravel()
    sums = np.stack(
        [np.bincount(corners, np.repeat(faces[:, k], 3), minlength=len(positions)) for k in range(3)], axis=1
    )
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def merge(pieces):
    """(vertex records, triangles) of pieces; `pieces`: list of (layer number, Piece). Unused vertices are dropped."""
    records, triangles, first = [], [], 0
    for layer, piece in pieces:
        if not len(piece.triangles):
            continue
        used, compact = np.unique(piece.triangles, return_inverse=True)
        record = np.zeros(len(used), DTYPE)
        record["position"] = piece.positions[used]
        record["normal"] = normals(piece.positions, piece.triangles)[used]
        record["rest"], record["surface"] = piece.rest[used], piece.surface[used]
        record["limb"][:, 0], record["layer"] = piece.limb[used], layer
        record["bones"] = piece.bones[used]
        record["weights"] = np.rint(piece.weights[used] * 255)
        records.append(record)
        triangles.append(compact.reshape(-1, 3) + first)
        first += len(used)
    return np.concatenate(records), np.concatenate(triangles).astype(np.int32)


def grid(rows, columns, *, closed):
    """Triangles of a grid of vertices, row by row; `closed`: the last column meets the first."""
    r, c = np.mgrid[: rows - 1, : columns - (not closed)]
    a, b = r * columns + c, r * columns + (c + 1) % columns
    quads = np.stack([a, b, b + columns, a + columns], -1).reshape(-1, 4)
    return np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)


def join(solids):
    """One (positions, triangles) of several."""
    starts = np.cumsum([0] + [len(positions) for positions, _ in solids])
    return (
        np.concatenate([positions for positions, _ in solids]),
        np.concatenate([triangles + start for (_, triangles), start in zip(solids, starts, strict=False)]),
    )


def box(centre, size, *, taper=1.0, round_by=0.25):
    """A box with rounded edges: an ellipsoid of a high power. `taper`: width of the top relative to the bottom."""
    positions, triangles = ellipsoid((0, 0, 0), (1, 1, 1), rows=9, columns=16)
    positions = np.sign(positions) * np.abs(positions) ** round_by
    positions[:, [0, 2]] *= 1 + (taper - 1) * (positions[:, 1:2] + 1) / 2
    return positions * np.asarray(size) / 2 + centre, triangles


def ellipsoid(centre, radii, *, rows=8, columns=12, bottom=-1.0):
    """An ellipsoid, or the part of it above the height `bottom` (-1 .. 1)."""
    polar = np.linspace(0, np.arccos(bottom), rows)
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    ring = np.stack([np.sin(turn), np.zeros(columns), np.cos(turn)], -1)
    points = np.sin(polar)[:, None, None] * ring + np.cos(polar)[:, None, None] * np.array([0, 1, 0])
    return points.reshape(-1, 3) * radii + centre, grid(rows, columns, closed=True)[:, ::-1]


def tube(points, radii, *, columns=8):
    """A tube along points; `radii`: one number, or one for each point."""
    points = np.asarray(points, float)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    reference = np.array([0.0, 0, 1]) if abs(along[:, 2]).max() < 0.9 else np.array([1.0, 0, 0])
    first = np.cross(along, reference)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None, :, None]
    rings = np.cos(turn) * first[:, None] + np.sin(turn) * second[:, None]
    radii = np.broadcast_to(radii, len(points))
    positions = points[:, None] + radii[:, None, None] * rings
    return positions.reshape(-1, 3), grid(len(points), columns, closed=True)


def ring(centre, radius, thickness, *, axis=0, columns=20):
    """A torus about an axis (0: x), of a wheel for instance."""
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    others = [k for k in range(3) if k != axis]
    points = np.zeros((columns, 3))
    points[:, others[0]], points[:, others[1]] = radius * np.cos(turn), radius * np.sin(turn)
    outward = points / radius
    side = np.eye(3)[axis]
    profile = [outward * thickness, side * thickness, -outward * thickness, -side * thickness]
    positions = np.stack([points + offset for offset in profile], 1) + centre
    triangles = grid(columns, 4, closed=True)
    last = np.concatenate([np.arange((columns - 1) * 4, columns * 4), np.arange(4)])
    a, b = last[:4], np.roll(last[:4], -1)
    c, d = np.roll(last[4:], -1), last[4:]
    return positions.reshape(-1, 3), np.concatenate([triangles, np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
