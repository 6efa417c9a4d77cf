"""Hair, hats, hoods, glasses, masks and scarves as meshes on a head."""

from dataclasses import replace

import numpy as np

from keras_osnet.data.rendered import garments, mesh
from keras_osnet.data.rendered.head import HAIR
from keras_osnet.data.rendered.paint import Paint
from keras_osnet.data.rendered.parts import BONES

HEAD = list(BONES).index("head")
CHEST = list(BONES).index("spine01")


def layers(figure, head):
    """[(Paint, Piece)] of hair and what is worn on the head."""
    found = []
    covered = head.hat in ("headscarf", "helmet")
    volume, end, knot = HAIR[head.hair][1:]
    paint = Paint("hair", head.hair_colour, seed=head.seed, limits=(-9.0, 9.0, 0.0, 9.0))
    if volume and not covered:
        found += _hair(figure, head, volume if head.hat == "none" else min(volume, 0.012), end, knot, paint)
    if head.hat != "none":
        found += HAT_MAKERS[head.hat](figure, head)
    if head.glasses != "none":
        found.append(_glasses(figure, head))
    if head.mask:
        found.append(_mask(figure, head))
    if head.scarf:
        found.append(_scarf(figure, head))
    return found


def centre_of(figure):
    """(middle of the skull, radius) of this body, and metres per metre of the base body."""
    low, high = (figure.parts.joint(figure.vertices, joint) for joint in ("head", "head-2"))
    base = [figure.parts.joint(figure.parts.vertices, joint) for joint in ("head", "head-2")]
    size = np.linalg.norm(high - low) / np.linalg.norm(base[1] - base[0])
    return low + (high - low) * 0.42 + np.array([0, 0, 0.022]) * size, size


def _hair(figure, head, volume, end, knot, paint):
    start = {"receding": 0.035, "shaved": 0.012}.get(head.hair, 0.008)

    def gap(rest, grows):
        # Thin at the hairline, and fuller on one side of the parting.
        side = 1 + 0.25 * np.sign(rest[:, 0] - head.parting)
        return 0.003 + volume * np.clip((grows - start) / 0.03, 0, 1) * side

    shell = garments.head_shell(figure, gap=gap, rounds=4 if volume > 0.03 else 2, start=start)
    found = [(replace(paint, limits=(-9.0, 9.0, start, 9.0)), shell)]
    if end is not None:
        hanging = garments.long_hair(figure, bottom=end, gap=volume * 0.5, fringe=head.fringe)
        found.append((replace(paint, limits=(end, 9.0, -9.0, 9.0)), hanging))
    if knot == "bun":
        found.append((paint, _ball(figure, (0, 0.03 + 0.07 * head.seed, -0.115), 0.045)))
    if knot == "tail":
        middle, size = centre_of(figure)
        heights = 0.05, 0.05, -0.02, -0.12, -0.2 - 0.1 * head.seed
        points = np.column_stack([np.zeros(5), heights, (-0.1, -0.14, -0.155, -0.14, -0.13)])
        radii = np.array([0.012, 0.028, 0.034, 0.028, 0.006])
        found.append((paint, mesh.solid(*mesh.tube(middle + points * size, radii * size), HEAD)))
    return found


def _ball(figure, place, radius):
    """A ball at a place relative to the middle of the skull."""
    middle, size = centre_of(figure)
    return mesh.solid(*mesh.ellipsoid(middle + np.array(place) * size, np.full(3, radius) * size), HEAD)


def _hat_paint(head, **changes):
    return Paint("plain", head.hat_colours[0], head.hat_colours[1], seed=head.seed, wrinkle=(0.3, 0.1), **changes)


def _brim(figure, head, radii, tilt, before):
    """A flat brim: an ellipse about the head, `before` metres ahead of its middle."""
    middle, size = centre_of(figure)
    positions, triangles = mesh.ellipsoid((0, 0, 0), (radii[0], 0.008, radii[1]), rows=5, columns=16)
    positions[:, 1] -= tilt * np.linalg.norm(positions[:, [0, 2]], axis=1)
    return _hat_paint(head), mesh.solid(middle + (positions + np.array([0, 0.045, before])) * size, triangles, HEAD)


def _cap(figure, head, direction=1):
    shell = garments.head_shell(figure, gap=0.014, rounds=6, start=0.012)
    return [(_hat_paint(head), shell), _brim(figure, head, (0.072, 0.085), 0.12, 0.095 * direction)]


def _wide_hat(figure, head, radius, tilt):
    shell = garments.head_shell(figure, gap=0.018, rounds=8, start=0.012)
    return [(_hat_paint(head), shell), _brim(figure, head, (radius, radius), tilt, 0.0)]


def _beanie(figure, head):
    paint = Paint(
        "plain", *head.hat_colours, seed=head.seed, pattern="thin stripes" if head.seed < 0.3 else "plain", scale=0.08
    )

    def gap(rest, grows):
        return 0.012 + 0.03 * np.clip(grows - 0.05, 0, 0.06) / 0.06

    found = [(paint, garments.head_shell(figure, gap=gap, rounds=4, start=-0.002))]
    if head.seed > 0.75:
        found.append((_hat_paint(head), _ball(figure, (0, 0.16, -0.03), 0.035)))
    return found


def _helmet(figure, head):
    return [(_hat_paint(head, gloss=0.5), garments.head_shell(figure, gap=0.03, rounds=10, start=0.01))]


def _headscarf(figure, head):
    paint = Paint("cloth", *head.hat_colours, limits=(0.44, 9.0, 9.0, 9.0), seed=head.seed, wrinkle=(0.6, 0.06),
                  pattern="flowers" if head.seed < 0.3 else "plain")  # fmt: skip
    shell = garments.head_shell(figure, gap=0.014, rounds=6, start=-0.062, bottom=0.56)
    hanging = garments.long_hair(figure, bottom=0.46, gap=0.012, fringe=0.9)
    return [(paint, shell), (paint, hanging)]


HAT_MAKERS = {
    "cap": _cap,
    "cap backwards": lambda figure, head: _cap(figure, head, -1),
    "sun hat": lambda figure, head: _wide_hat(figure, head, 0.19, 0.12),
    "bucket hat": lambda figure, head: _wide_hat(figure, head, 0.14, 0.5),
    "beanie": _beanie,
    "headscarf": _headscarf,
    "helmet": _helmet,
}


def _glasses(figure, head):
    middle, size = centre_of(figure)
    dark, eyes = head.glasses == "sunglasses", figure.parts.members["eyes"]
    height, front = figure.vertices[eyes, 1].mean(), figure.vertices[eyes, 2].max()
    radii = np.array([0.026, 0.018 if dark else 0.004, 0.006]) * size
    lenses, arms = [], []
    for side in (1, -1):
        lenses.append(mesh.ellipsoid((side * 0.032 * size, height, front + 0.008 * size), radii, rows=5, columns=10))
        ends = np.array([[side * 0.06, height, front], [side * 0.078, height, middle[2] - 0.01]]) * [size, 1, 1]
        arms.append(mesh.tube(ends, 0.004 * size, columns=5))
    return Paint("plain", (20, 20, 22), gloss=0.5 if dark else 0.1), mesh.solid(*mesh.join(lenses + arms), HEAD)


def _mask(figure, head):
    piece = figure.piece("body")
    x, y, z = piece.rest.T
    piece = piece.only((np.abs(piece.limb) < 0.5) & (y > 0.62) & (y < 0.712) & (z > 0.06) & (np.abs(x) < 0.07))
    positions = garments.around_body(piece, 0.006 * figure.scale, 3)
    return Paint("plain", head.mask, wrinkle=(0.4, 0.1)), piece.moved(positions.astype(np.float32))


def _scarf(figure, head):
    neck = figure.parts.joint(figure.vertices, "neck")
    size = figure.scale
    colour, second, pattern = head.scarf
    rolls = [
        mesh.ring((0, 0, 0), 0.078 * size, 0.036 * size, axis=1, columns=16),
        mesh.ring(np.array([0, -0.035, 0.012]) * size, 0.092 * size, 0.034 * size, axis=1, columns=16),
    ]
    if head.seed < 0.6:
        end = np.array([[0.05, -0.03, 0.11], [0.055, -0.12, 0.135], [0.05, -0.3, 0.15], [0.05, -0.36, 0.145]])
        rolls.append(mesh.tube(end * size, np.array([0.03, 0.045, 0.045, 0.04]) * size, columns=6))
    positions, triangles = mesh.join(rolls)
    positions = positions + neck + np.array([0, 0.0, 0.02]) * size
    paint = Paint("plain", colour, second, colour, pattern=pattern, scale=0.05, seed=head.seed, wrinkle=(1.0, 0.1))
    return paint, mesh.solid(positions, triangles, CHEST)


def hood(figure, *, up):
    """A hood, drawn up over the head or lying on the back."""
    if up:
        return garments.head_shell(figure, gap=0.035, rounds=8, start=-0.03, bottom=0.57)
    neck, size = figure.parts.joint(figure.vertices, "neck"), figure.scale
    positions, triangles = mesh.ellipsoid((0, 0, 0), np.array([0.115, 0.075, 0.06]) * size)
    return mesh.solid(positions + neck + np.array([0, -0.035, -0.085]) * size, triangles, CHEST)
