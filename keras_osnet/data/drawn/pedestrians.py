"""Draws a pedestrian from any side, with lines, ellipses and shaded cloth."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from keras_osnet.data.drawn.clothing import LOGOS, PALETTE, PATTERNS


@dataclass(frozen=True)
class View:
    """Pose and position of a person in an image. Lengths are in pixels of the canvas.

    `yaw` is in radians: 0 faces the camera, pi / 2 walks to the right, pi shows the back. `stride` is -1..1.
    `x` is the body's axis, `top` the crown, `size` the height. `tilt` (0..0.3) is that of a camera that looks down; it
    shortens the legs. `light` is -1 (from the left) or 1.
    """

    yaw: float
    stride: float
    x: float
    top: float
    size: float
    tilt: float = 0.0
    light: int = 1


def draw(canvas, person, view):
    """Draws a `Pedestrian` in a `View` onto `canvas`, a PIL image that is changed in place."""
    figure = _Figure(canvas, person, view)
    away = figure.cos < 0
    # Sorted by depth, the distance towards the camera: parts behind others are drawn first.
    parts = [(0.0, _torso), (0.01, _head), (0.005 if away else -0.005, _long_hair)]
    for side in (-1, 1):
        swing = 0.1 * view.stride * side
        parts.append((figure.depth(0.05 * side, swing) - 0.12, lambda f, side=side: _leg(f, side)))
        parts.append((figure.depth(0.13 * side, -0.3 * swing), lambda f, side=side: _arm(f, side)))
    parts.append((-0.03, _lower_garment))
    if person.backpack:
        parts.append((0.2 if away else -0.2, _backpack))
        parts.append((-0.19 if away else 0.02, _straps))
    parts.append((0.21 if figure.depth(1, 0) > 0 or abs(figure.sin) < 0.6 else -0.15, _handbag))
    parts.append((0.22, _suitcase))
    for _, part in sorted(parts, key=lambda item: item[0]):
        part(figure)


class _Figure:
    """A canvas, a person and a view, with the shapes that all parts are drawn with."""

    def __init__(self, canvas, person, view):
        self.canvas, self.person, self.view = canvas, person, view
        self.pen = ImageDraw.Draw(canvas)
        self.sin, self.cos = math.sin(view.yaw), math.cos(view.yaw)

    def depth(self, lateral, forward):
        return forward * self.cos - lateral * self.sin

    def at(self, lateral, forward, down):
        """Returns the pixel of body coordinates in body heights: lateral to the person's left, down from 0 to 1."""
        view = self.view
        x = lateral * self.person.build * self.cos + forward * self.sin
        y = down + view.tilt * down * (1 - down) + 0.12 * down * self.depth(lateral, forward)
        return view.x + view.size * x, view.top + view.size * y

    def across(self, lateral, forward):
        """Returns half the visible width of an ellipse with these half axes."""
        return math.hypot(lateral * self.person.build * self.cos, forward * self.sin)

    def ellipse(self, centre, rx, ry, colour, start=0, end=360):
        x, y, rx, ry = *centre, rx * self.view.size, ry * self.view.size
        self.pen.chord((x - rx, y - ry, x + rx, y + ry), start, end, fill=colour)

    def limb(self, a, b, width, colour):
        """Draws a rounded stroke with a lit and a shaded side."""
        for fraction, tone, shift in ((1.0, 0.72, 0.0), (0.66, 1.0, 0.12)):
            w, dx = max(1.0, fraction * width * self.view.size), self.view.light * shift * width * self.view.size
            fill = shade(colour, tone)
            self.pen.line((a[0] + dx, a[1], b[0] + dx, b[1]), fill, round(w))
            for x, y in (a, b):
                self.pen.ellipse((x + dx - w / 2, y - w / 2, x + dx + w / 2, y + w / 2), fill=fill)

    def slab(self, points, colour, second=None, pattern="plain"):
        """Draws a polygon of cloth, darker towards its sides, with a pattern in the `second` colour."""
        xs, ys = zip(*points, strict=True)
        x0, y0 = int(min(xs)), int(min(ys))
        width, height = int(max(xs)) - x0 + 2, int(max(ys)) - y0 + 2
        outline = Image.new("L", (width, height))
        ImageDraw.Draw(outline).polygon([(x - x0, y - y0) for x, y in points], fill=255)
        across = np.arange(width, dtype=np.float32)
        roundness = 1 - 0.28 * (2 * across / width - 1 - 0.35 * self.view.light) ** 2

        def cloth(colour):
            # One row, stretched over the height. Shading every pixel would take half the time of the figure.
            row = np.multiply.outer(roundness, np.array(colour, np.float32)).astype(np.uint8)
            return Image.frombytes("RGB", (width, 1), row.tobytes()).resize((width, height), Image.NEAREST)

        tile = cloth(colour)
        if pattern != "plain":
            period = 0.085 * self.view.size
            chosen = PATTERNS[pattern]((across - width / 2) / period + 0.25, np.arange(height)[:, None] / period)
            mask = np.broadcast_to(np.uint8(255) * chosen, (height, width))
            tile.paste(cloth(second), mask=Image.fromarray(mask))
        self.canvas.paste(tile, (x0, y0), outline)

    def column(self, profile, forward=0.0):
        """Returns a symmetric outline in pixels. `profile` holds (down, half lateral width, half depth)."""
        rows = [(*self.at(0, forward, v), self.view.size * self.across(rl, rf)) for v, rl, rf in profile]
        return [(x - r, y) for x, y, r in rows] + [(x + r, y) for x, y, r in reversed(rows)]


def shade(colour, tone):
    """Returns a darker (tone < 1) or lighter (tone > 1) colour, RGB 0..255."""
    return tuple(min(255, int(channel * tone)) for channel in colour)


def _leg(figure, side):
    person, swing = figure.person, 0.15 * figure.view.stride * side
    lifted = 0.03 * max(0.0, -swing / 0.15)
    hip, knee = figure.at(0.048 * side, 0, 0.52), figure.at(0.05 * side, 0.5 * swing + 0.025, 0.735)
    ankle = figure.at(0.05 * side, swing - lifted, 0.945 - lifted)
    toe = figure.at(0.055 * side, swing + 0.05, 0.968 - lifted)
    cloth = PALETTE[person.lower]
    thick = 0.085 * person.build
    figure.limb(knee, ankle, 0.8 * thick, cloth if person.lower_garment == "trousers" else person.skin)
    figure.limb(hip, knee, thick if person.lower_garment != "skirt" else 0.75 * thick,
                cloth if person.lower_garment != "skirt" else person.skin)  # fmt: skip
    figure.limb((ankle[0], ankle[1] + 0.02 * figure.view.size), toe, 0.055, PALETTE[person.shoes])


def _arm(figure, side):
    person, swing = figure.person, -figure.view.stride * side
    shoulder = figure.at(0.108 * side, 0, 0.2)
    elbow = figure.at(0.138 * side, 0.07 * swing - 0.01, 0.345)
    hand = figure.at(0.138 * side, 0.13 * swing + 0.03, 0.475)
    cloth = shade(PALETTE[person.upper], 0.94)
    figure.limb(elbow, hand, 0.042, cloth if person.long_sleeves else person.skin)
    figure.limb(shoulder, elbow, 0.058 if person.long_sleeves else 0.046, cloth if person.long_sleeves else person.skin)
    if not person.long_sleeves:
        cuff = tuple(0.4 * s + 0.6 * e for s, e in zip(shoulder, elbow, strict=True))
        figure.limb(shoulder, cuff, 0.064, cloth)
    figure.ellipse(hand, 0.024, 0.026, person.skin)


def _torso(figure):
    person = figure.person
    figure.limb(figure.at(0, 0, 0.12), figure.at(0, 0, 0.175), 0.05, shade(person.skin, 0.9))
    waist = 0.078 if person.female else 0.092
    profile = ((0.155, 0.04, 0.03), (0.178, 0.105, 0.05), (0.25, 0.108, 0.075), (0.41, waist, 0.066),
               (0.53, 0.096, 0.074))  # fmt: skip
    figure.slab(figure.column(profile), PALETTE[person.upper], PALETTE[person.upper_second], person.pattern)
    if person.logo and abs(figure.cos) > 0.3:
        # On the chest or, larger, on the back, whichever is visible. The angle makes it narrower.
        facing = 1 if figure.cos > 0 else -1
        x, y = figure.at(0, 0.06 * facing, 0.29)
        ry = (0.055 if facing > 0 else 0.068) * figure.view.size
        rx = ry * abs(figure.cos)
        outline = [(x + rx * u, y + ry * v) for u, v in LOGOS[person.logo]]
        figure.pen.polygon(outline, fill=PALETTE[person.upper_second])


def _lower_garment(figure):
    cloth = PALETTE[figure.person.lower]
    hem = {"trousers": (0.58, 0.09, 0.07), "shorts": (0.6, 0.092, 0.074), "skirt": (0.735, 0.128, 0.12)}
    figure.slab(figure.column(((0.48, 0.085, 0.066), hem[figure.person.lower_garment])), cloth)


def _head(figure):
    person, turn = figure.person, figure.sin
    hair, seen = PALETTE[person.hair], figure.cos > -0.35
    back = figure.at(0, -0.012, 0.072)
    figure.ellipse(back, 0.06, 0.07, hair)
    if seen:
        face = figure.at(0, 0.022, 0.088)
        figure.ellipse(face, 0.036 + 0.012 * max(0.0, figure.cos), 0.054, person.skin)
        for side in (-1, 1):
            if figure.depth(0.022 * side, 0.04) > 0:
                figure.ellipse(figure.at(0.022 * side, 0.04, 0.08), 0.0065, 0.008, (60, 44, 40))
        figure.ellipse((face[0] + 0.04 * turn * figure.view.size, face[1]), 0.01, 0.016, shade(person.skin, 0.9))
    if person.headwear:
        _headwear(figure, PALETTE[person.headwear_colour])


def _long_hair(figure):
    if figure.person.long_hair:
        profile = ((0.06, 0.066, 0.056), (0.16, 0.074, 0.05), (0.24, 0.066, 0.038))
        figure.slab(figure.column(profile, -0.03), PALETTE[figure.person.hair])


def _headwear(figure, colour):
    kind = figure.person.headwear
    figure.ellipse(figure.at(0, -0.004, 0.062), 0.066, 0.076, colour, 180, 360)
    band = figure.at(0, -0.004, 0.062)
    if kind == "beanie":
        figure.ellipse(figure.at(0, 0, -0.014), 0.02, 0.02, shade(colour, 0.75))
        figure.limb((band[0] - 0.05 * figure.view.size, band[1]), (band[0] + 0.05 * figure.view.size, band[1]), 0.028,
                    shade(colour, 0.75))  # fmt: skip
    elif kind == "brimmed_hat":
        figure.ellipse(band, 0.11, 0.022, shade(colour, 0.85))
    elif figure.cos > -0.5:
        figure.ellipse(figure.at(0, 0.062, 0.062), 0.03 + 0.03 * abs(figure.cos), 0.018, shade(colour, 0.7))


def _backpack(figure):
    colour = PALETTE[figure.person.backpack]
    profile = ((0.175, 0.06, 0.045), (0.2, 0.092, 0.06), (0.42, 0.1, 0.065), (0.445, 0.08, 0.055))
    figure.slab(figure.column(profile, -0.115), colour)
    if figure.cos < -0.3:
        pocket = figure.column(((0.33, 0.066, 0.03), (0.41, 0.066, 0.03)), -0.115)
        figure.pen.polygon(pocket, fill=shade(colour, 0.6))


def _straps(figure):
    for side in (-1, 1):
        a, b = figure.at(0.062 * side, 0.04, 0.172), figure.at(0.07 * side, 0.04, 0.36)
        figure.pen.line((*a, *b), shade(PALETTE[figure.person.backpack], 0.85), max(2, round(0.022 * figure.view.size)))


def _handbag(figure):
    if figure.person.handbag:
        colour, forward = PALETTE[figure.person.handbag], -0.05
        shoulder, (x, y) = figure.at(0.1, 0, 0.18), figure.at(0.16, forward, 0.5)
        figure.pen.line((*shoulder, x, y), shade(colour, 0.6), max(1, round(0.014 * figure.view.size)))
        rx, ry = 0.07 * figure.view.size * (0.7 + 0.3 * abs(figure.sin)), 0.055 * figure.view.size
        figure.slab([(x - rx * 0.8, y - ry), (x + rx * 0.8, y - ry), (x + rx, y + ry), (x - rx, y + ry)], colour)


def _suitcase(figure):
    if figure.person.suitcase:
        colour = PALETTE[figure.person.suitcase]
        hand, (x, y) = figure.at(-0.138, 0, 0.475), figure.at(-0.2, -0.1, 0.83)
        rx, ry = 0.065 * figure.view.size, 0.11 * figure.view.size
        figure.pen.line((*hand, x, y - ry), (70, 70, 74), max(2, round(0.014 * figure.view.size)))
        figure.slab([(x - rx, y - ry), (x + rx, y - ry), (x + rx, y + ry), (x - rx, y + ry)], colour)
        figure.pen.line((x - rx, y, x + rx, y), shade(colour, 0.6), 2)
