"""Scenes of drawn pedestrians: four cameras with their backgrounds, views and light."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from keras_osnet.data.drawn.pedestrians import View

# Images are drawn at twice 128 x 64, then reduced: this antialiases them.
CANVAS = (128, 256)


@dataclass(frozen=True)
class Camera:
    """One camera: its scene, its optics and its light.

    `gains` scale R, G, B. `gamma` > 1 darkens middle tones. `contrast` scales about mid-grey. `blur` is a radius in
    pixels, `noise` a standard deviation (0..255), `size` the height of a person as a fraction of the image's. `yaws`
    are the directions in which people walk, in radians (0: towards the camera). `tilt` and `light` are those of `View`.
    `quality` is that of JPEG.
    """

    place: str
    gains: tuple[float, float, float]
    gamma: float
    contrast: float
    blur: float
    noise: float
    size: float
    tilt: float
    light: int
    quality: int
    yaws: tuple[float, ...]


CAMERAS = (
    Camera("street", (0.95, 1.0, 1.09), 1.0, 0.98, 0.3, 3, 0.9, 0.08, -1, 92, (0.0, 0.5, np.pi, -0.5)),
    Camera("bricks", (1.09, 1.0, 0.9), 1.1, 0.95, 0.4, 4, 0.93, 0.02, 1, 88, (np.pi, np.pi - 0.5, 0.9, 0.2)),
    Camera("park", (0.98, 1.06, 0.94), 0.9, 0.9, 0.5, 4, 0.87, 0.14, 1, 85, (-0.9, 0.9, 0.1, np.pi)),
    Camera("shop", (0.96, 0.9, 0.94), 1.05, 1.05, 0.4, 6, 0.92, 0.2, -1, 82, (np.pi + 0.4, 0.0, -0.6, 0.8)),
)


def view_of(person, row, rng):
    """Returns a random `View` of a `Pedestrian` under a camera, a row of `CAMERAS`."""
    # The boxes of a detector are not exact: they are shifted or too wide, and one in fourteen cuts off feet or head.
    size = CANVAS[1] * row.size * person.height * rng.uniform(0.95, 1.05)
    cut = rng.uniform(-0.12, 0.16) * CANVAS[1] if rng.random() < 0.07 else 0.0
    return View(
        yaw=row.yaws[int(rng.integers(len(row.yaws)))] + rng.normal(0, 0.15),
        stride=rng.uniform(0.25, 1.0) * (-1, 1)[int(rng.integers(2))],
        x=CANVAS[0] * 0.5 + rng.normal(0, 5),
        top=(CANVAS[1] - size) / 2 + rng.normal(0, 4) + cut,
        size=size,
        tilt=row.tilt + rng.uniform(-0.02, 0.02),
        light=row.light,
    )


def expose(image, row, rng):
    """Returns the image as a camera, a row of `CAMERAS`, takes it: optics, light and sensor, without JPEG."""
    image = image.filter(ImageFilter.BoxBlur(row.blur * rng.uniform(0.7, 1.4)))
    # Gain, gamma and contrast depend on one value each: a table of 3 x 256 instead of arithmetic on the image.
    gains = np.array(row.gains) * rng.normal(1, 0.03, 3) * rng.uniform(0.9, 1.06)
    curve = (np.arange(256) / 255) ** (row.gamma * rng.uniform(0.9, 1.1))
    table = 255 * ((curve * gains[:, None] - 0.45) * row.contrast * rng.uniform(0.9, 1.05) + 0.45)
    # One plane per channel: NumPy is slow along a last axis of three.
    planes = zip(table.astype(np.float32), np.moveaxis(np.asarray(image), 2, 0), strict=True)
    pixels = np.stack([tones.take(plane, mode="clip") for tones, plane in planes])
    # Light decreases in one direction, another in every image.
    down, across = rng.normal(0, (0.05, 0.06))
    ramp = np.add.outer(np.linspace(-down, down, image.height), np.linspace(1 - across, 1 + across, image.width))
    pixels *= ramp.astype(np.float32)
    # The same noise in R, G and B: JPEG would remove noise in colour, and this takes a third of the time.
    pixels += row.noise * rng.standard_normal(pixels.shape[1:], np.float32)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in pixels.clip(0, 255, out=pixels).astype(np.uint8)])


def _tint(rng, colour, spread=16):
    shifts = (rng.normal(0, spread) + rng.normal(0, 5, 3)).tolist()
    return tuple(int(min(max(c + shift, 0), 255)) for c, shift in zip(colour, shifts, strict=True))


def _street(pen, rng):
    horizon = int(rng.integers(110, 150))
    pen.rectangle((0, 0, 128, horizon), fill=_tint(rng, (168, 166, 162)))
    window, left = _tint(rng, (104, 110, 122)), int(rng.integers(-30, 10))
    for x in range(left, 128, 42):
        for y in range(-10 + left, horizon - 30, 48):
            pen.rectangle((x, y, x + 24, y + 32), fill=window, outline=(196, 194, 190), width=2)
    pen.rectangle((0, horizon, 128, 256), fill=_tint(rng, (134, 134, 138)))
    kerb = horizon + int(rng.integers(20, 70))
    pen.polygon(((0, kerb), (128, kerb + 16), (128, kerb + 26), (0, kerb + 8)), fill=(206, 206, 200))
    if rng.random() < 0.4:
        x, colour = int(rng.integers(-60, 90)), _tint(rng, (120, 104, 104), 40)
        pen.rounded_rectangle((x, horizon - 22, x + 110, horizon + 20), 12, fill=colour)
        pen.rounded_rectangle((x + 20, horizon - 44, x + 86, horizon - 16), 10, fill=colour)
        pen.rectangle((x + 28, horizon - 38, x + 78, horizon - 20), fill=(150, 176, 190))
        for wheel in (x + 24, x + 86):
            pen.ellipse((wheel - 12, horizon + 6, wheel + 12, horizon + 30), fill=(34, 34, 36))


def _bricks(pen, rng):
    floor = int(rng.integers(180, 225))
    pen.rectangle((0, 0, 128, floor), fill=(178, 170, 164))
    shift, base = int(rng.integers(0, 24)), _tint(rng, (158, 124, 112))
    tones = [_tint(rng, base, 10) for _ in range(5)]
    for row, y in enumerate(range(-int(rng.integers(0, 14)), floor, 14)):
        for x in range(-24 - shift + 13 * (row % 2), 128, 26):
            pen.rectangle((x, y, x + 23, min(y + 11, floor)), fill=tones[(x * 7 + row * 3) % 5])
    pen.rectangle((0, floor, 128, 256), fill=_tint(rng, (120, 114, 108)))
    if rng.random() < 0.5:
        x = int(rng.integers(-30, 100))
        pen.rectangle((x, 40, x + 52, floor), fill=_tint(rng, (60, 84, 74), 20), outline=(44, 40, 38), width=3)


def _park(pen, rng):
    horizon = int(rng.integers(60, 110))
    pen.rectangle((0, 0, 128, horizon), fill=_tint(rng, (184, 198, 210)))
    pen.rectangle((0, horizon, 128, 256), fill=_tint(rng, (136, 152, 122)))
    middle = int(rng.integers(20, 108))
    pen.polygon(((middle - 8, horizon), (middle + 8, horizon), (140, 256), (-12, 256)), _tint(rng, (180, 172, 154)))
    for _ in range(int(rng.integers(2, 5))):
        x, y = int(rng.integers(-10, 138)), horizon + int(rng.integers(-6, 24))
        pen.rectangle((x - 4, y - 50, x + 4, y), fill=(92, 70, 48))
        leaves = _tint(rng, (92, 116, 84))
        for _ in range(5):
            cx, cy, r = x + int(rng.normal(0, 12)), y - 62 + int(rng.normal(0, 14)), int(rng.integers(14, 26))
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=leaves)


def _shop(pen, rng):
    floor = int(rng.integers(150, 190))
    pen.rectangle((0, 0, 128, floor), fill=_tint(rng, (196, 190, 182)))
    goods = [_tint(rng, (150, 140, 134), 30) for _ in range(6)]
    for y in range(14 - int(rng.integers(0, 30)), floor - 20, 40):
        x = -int(rng.integers(0, 16))
        while x < 128:
            wide, tall = int(rng.integers(9, 20)), int(rng.integers(14, 28))
            pen.rectangle((x, y + 32 - tall, x + wide - 2, y + 32), fill=goods[int(rng.integers(6))])
            x += wide
        pen.rectangle((0, y + 32, 128, y + 36), fill=(140, 124, 104))
    pen.rectangle((0, floor, 128, 256), fill=_tint(rng, (180, 178, 176)))
    for k in range(-3, 8):
        pen.line((64 + 20 * k, floor, 64 + 60 * k, 256), fill=(164, 160, 156), width=2)
    for y in (floor + 14, floor + 36, floor + 70):
        pen.line((0, y, 128, y), fill=(164, 160, 156), width=2)


PLACES = {"street": _street, "bricks": _bricks, "park": _park, "shop": _shop}


def occlude(pen, rng):
    """Draws an occluder: a post, or a box at the bottom of the image."""
    x, colour = int(rng.integers(0, 128)), _tint(rng, (96, 96, 92), 30)
    if rng.random() < 0.5:
        pen.rectangle((x, 0, x + 9, 256), fill=colour)
    else:
        pen.rounded_rectangle((x - 40, int(rng.integers(205, 235)), x + 40, 270), 6, fill=colour)
