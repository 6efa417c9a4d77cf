"""The cut of clothes: meshes of garments, shoes and hair, made from the parts' helpers around one body."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from keras_osnet.data.rendered import mesh
from keras_osnet.data.rendered.surface import LIMBS, along_polyline

WAIST = 0.184  # where the skirt helper begins, metres at rest


@dataclass(frozen=True)
class Figure:
    """A body at rest: what garments are fitted to. `scale` is its size relative to the base body."""

    parts: object
    surface: object
    vertices: np.ndarray

    @cached_property
    def scale(self):
        heights = [v[self.parts.members["body"], 1] for v in (self.vertices, self.parts.vertices)]
        return float(np.ptp(heights[0]) / np.ptp(heights[1]))

    def piece(self, group):
        return mesh.piece_of(self.parts, self.surface, self.vertices, group)

    def axis(self, limb, letter):
        """The three joints of a limb."""
        return np.stack([self.parts.joint(self.vertices, f"{letter}-{joint}") for joint in LIMBS[limb][0]])


@lru_cache(maxsize=8)
def _neighbours(count, content):
    """(padded table of the neighbours of each vertex, vertices on no edge of the mesh) for the bytes of triangles."""
    triangles = np.frombuffer(content, np.int32).reshape(-1, 3)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    inner = np.ones(count, bool)
    inner[edges[uses == 1]] = False
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    degree = np.bincount(both[:, 0], minlength=count)
    place = np.arange(len(both)) - np.repeat(np.cumsum(degree) - degree, degree)
    table = np.tile(np.arange(count)[:, None], (1, degree.max()))
    table[both[:, 0], place] = both[:, 1]
    return table, inner


def smoothed(piece, rounds):
    """Positions after rounds of averaging with the neighbours: cloth bridges the hollows of a body. Edges stay."""
    positions = piece.positions.astype(float)
    table, inner = _neighbours(len(positions), piece.triangles.tobytes())
    for _ in range(rounds):
        positions[inner] = 0.5 * positions[inner] + 0.5 * positions[table[inner]].mean(1)
    return positions


def around_body(piece, gap, rounds):
    """The piece, smoothed, and everywhere at least `gap` (a number, or one a vertex) outside the body."""
    base = smoothed(piece, rounds)
    outward = mesh.normals(base, piece.triangles)
    inside = np.maximum(((piece.positions - base) * outward).sum(1), 0)
    return base + outward * (inside + gap)[:, None]


def straightened(figure, piece, positions, amount, hips=0.0):
    """Positions of a torso that falls straight from chest to hips, by `amount` (0 .. 1), `hips` metres wider there."""
    columns = np.linspace(-np.pi, np.pi, 25)
    tights, skirt = figure.piece("tights"), figure.piece("skirt")
    chest, hip = tights.surface[:, 2], skirt.surface[:, 2]
    rings = []
    for source, which, more in (
        (tights, (chest > 0.33) & (chest < 0.43) & (np.abs(tights.limb) < 0.25), 0.0),
        (skirt, (hip > -0.04) & (hip < 0.06), hips),
    ):
        angle, radius = _polar(figure, source.positions[which], source.surface[which, 2])
        near = np.abs((angle[None] - columns[:, None] + np.pi) % (2 * np.pi) - np.pi) < 0.3
        rings.append(np.where(near, radius[None], 0).max(1) + more)
    height = piece.surface[:, 2]
    angle, radius = _polar(figure, positions, height)
    low, high = (np.interp(angle, columns, ring) for ring in rings[::-1])
    part = np.clip((height - 0.0) / 0.38, 0, 1)
    wanted = low + (high - low) * part
    fade = np.clip((0.46 - height) / 0.1, 0, 1) * np.clip(1 - np.abs(piece.limb) / 0.4, 0, 1)
    factor = 1 + amount * fade * np.maximum(wanted / np.maximum(radius, 1e-6) - 1, 0)
    centre = _torso_axis(figure, height)
    moved = positions.copy()
    moved[:, [0, 2]] = centre + (positions[:, [0, 2]] - centre) * factor[:, None]
    return moved


def _torso_axis(figure, height):
    pelvis, neck = (figure.parts.joint(figure.vertices, joint)[[0, 2]] for joint in ("pelvis", "neck"))
    middle = 0.035 * figure.scale
    part = np.clip(height / 0.55, 0, 1)[:, None]
    return pelvis + (neck - pelvis) * part + [0, middle]


def _polar(figure, positions, height):
    offset = positions[:, [0, 2]] - _torso_axis(figure, height)
    return np.arctan2(offset[:, 0], offset[:, 1]), np.linalg.norm(offset, axis=1)


def widened(figure, piece, positions, limb, radius_at, blend):
    """Positions whose distance from a limb's axis is at least `radius_at(along)`, fading in over `blend`."""
    positions = positions.copy()
    sign = {"arm": 1, "leg": -1}[limb]
    for letter, side in (("l", 1), ("r", -1)):
        which = (piece.limb * sign > 0.3) & (piece.rest[:, 0] * side >= 0)
        along, nearest = along_polyline(positions[which], figure.axis(limb, letter))
        outward = positions[which] - nearest
        radius = np.maximum(np.linalg.norm(outward, axis=1), 1e-6)
        wanted = np.maximum(radius, radius_at(along) * figure.scale)
        fade = np.clip((along - blend[0]) / (blend[1] - blend[0]), 0, 1)
        factor = 1 + fade * (wanted / radius - 1)
        positions[which] = nearest + outward * factor[:, None]
    return positions


def skin(figure, *, sleeve, trouser, low_neck, feet):
    """What of the body is to be seen: head, hands, and what the clothes leave bare; `feet`: the shoes are open."""
    piece = figure.piece("body")
    height, along = piece.surface[:, 2], piece.surface[:, 3]
    arm, leg = piece.limb > 0.5, piece.limb < -0.5
    bare = (arm & (along > sleeve - 0.12)) | (leg & (along > trouser - 0.12) & (feet | (along < 1.0)))
    return piece.only(bare | (~arm & ~leg & (height > (0.36 if low_neck else 0.5))))


def upper(figure, *, gap, rounds, sleeve, cuff, bottom, boxy):
    """A shirt's torso and sleeves, from the neck down to `bottom`.

    Args:
        gap: distance from the body, metres.
        rounds: of smoothing; more are stiffer cloth.
        sleeve: end of the sleeves along the arm; `cuff`: their least radius there, metres.
        boxy: 0 follows the waist, 1 falls straight.
    """
    piece = figure.piece("tights")
    height, along = piece.surface[:, 2], piece.surface[:, 3]
    positions = around_body(piece, gap * figure.scale, rounds)
    positions = straightened(figure, piece, positions, boxy, gap)
    shoulder = 0.062

    def radius(t):
        return np.interp(t, (0.0, max(sleeve, 0.1)), (shoulder * 0.9, cuff))

    if sleeve > 0.05 and cuff > 0.03:
        positions = widened(figure, piece, positions, "arm", radius, (0.1, 0.3))
    arm, leg = piece.limb > 0.5, piece.limb < -0.5
    keep = np.where(arm, along < sleeve + 0.1, (height > bottom - 0.06) & ~leg)
    return piece.moved(positions.astype(np.float32)).only(keep)


def tube(figure, *, gap, bottom, flare=0.0, folds=0, fold_depth=0.0, boxy=0.0, cinch=0.0, phase=0.0):
    """A skirt, or the part of a shirt or coat below the waist.

    Args:
        gap: distance from the helper, metres.
        bottom: height of the hem at rest, metres.
        flare: widening at the ankles, as a fraction.
        folds: number of folds around; `fold_depth`: their depth at the ankles, as a fraction of the radius.
        boxy: as for `upper`; `cinch`: narrowing at the waist, metres.
    """
    piece = figure.piece("skirt")
    height, along = piece.surface[:, 2], np.clip(piece.surface[:, 3], 0, 1)
    outward = mesh.normals(piece.positions, piece.triangles)
    narrow = cinch * np.clip((height - 0.05) / (WAIST - 0.05), 0, 1)
    positions = piece.positions + outward * ((gap - narrow) * figure.scale)[:, None]
    positions = straightened(figure, piece, positions, boxy, gap)
    centre = np.median(positions[:, [0, 2]], axis=0)
    offset = positions[:, [0, 2]] - centre
    angle = np.arctan2(offset[:, 0], offset[:, 1])
    widen = 1 + flare * along + fold_depth * along * np.sin(folds * angle + phase)
    positions[:, [0, 2]] = centre + offset * widen[:, None]
    return piece.moved(positions.astype(np.float32)).only(height > bottom - 0.05)


def lower(figure, *, gap, hem, knee, ankle):
    """Trousers or shorts down to `hem` (along the leg); `knee`, `ankle`: least radii there, metres."""
    piece = figure.piece("tights")
    height, along = piece.surface[:, 2], piece.surface[:, 3]
    positions = around_body(piece, gap * figure.scale, 2)

    def radius(t):
        return np.interp(t, (0.15, 0.5, 0.98), (0.085, knee, ankle))

    positions = widened(figure, piece, positions, "leg", radius, (0.12, 0.35))
    leg, arm = piece.limb < -0.5, piece.limb > 0.2
    keep = ~arm & (height < WAIST + 0.03) & np.where(leg, along < hem + 0.06, True)
    return piece.moved(positions.astype(np.float32)).only(keep)


def shoes(figure, *, gap, height, sole):
    """Shoes or boots up to `height` (along the leg, .95 is the ankle), soles `sole` metres thick."""
    piece = figure.piece("tights")
    along = piece.surface[:, 3]
    positions = around_body(piece, gap * figure.scale, 1)
    ground = piece.positions[:, 1].min()
    low = np.clip((ground + 0.035 * figure.scale - positions[:, 1]) / 0.035, 0, 1)
    positions[:, 1] = np.where(low > 0.55, ground - sole, positions[:, 1])
    keep = (piece.limb < -0.5) & (along > height - 0.04)
    return piece.moved(positions.astype(np.float32)).only(keep)


def scalp_coordinate(rest):
    """Above 0.005 on the part of the head where hair grows; larger towards the crown."""
    return 0.8 * (rest[:, 1] - 0.72) - 0.55 * (rest[:, 2] - 0.02)


def head_shell(figure, *, gap, rounds, start=0.0, bottom=0.6):
    """The head's surface from the scalp coordinate `start` up, `gap` metres outside it; `gap`: number or function."""
    piece = figure.piece("body")
    grows = scalp_coordinate(piece.rest)
    piece = piece.only((piece.rest[:, 1] > bottom) & (grows > start - 0.02) & (np.abs(piece.limb) < 0.5))
    used = np.unique(piece.triangles)
    surface = piece.surface.copy()
    surface[:, 3] = grows
    distance = gap(piece.rest, grows) if callable(gap) else np.full(len(grows), gap)
    positions = piece.positions.copy()
    positions[used] = around_body(piece, distance * figure.scale, rounds)[used]
    return replace(piece, positions=positions.astype(np.float32), surface=surface)


def long_hair(figure, *, bottom, gap, fringe):
    """Hair that hangs down to `bottom`; `fringe`: height of its end over the face, above .8 for none."""
    piece = figure.piece("hair")
    x, y, z = piece.rest.T
    before_the_face = (z > 0.06) & (np.abs(x) < 0.075) & (y < fringe)
    surface = piece.surface.copy()
    surface[:, 3] = 1.0
    outward = mesh.normals(piece.positions, piece.triangles)
    positions = piece.positions + outward * np.float32(gap * figure.scale)
    return replace(piece, positions=positions, surface=surface).only(~before_the_face & (y > bottom - 0.1))
