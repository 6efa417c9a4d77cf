"""The few small textures of the shaders, made by rule: cloth patterns, prints for chests and backs, and noise."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 256  # pixels of a pattern's tile
PERIODS = 8  # pattern units across a tile; patterns repeat after it
PRINT_SIZE = 64
PRINTS = 120
NOISE_SIZE = 32


def _band(x, width):
    return (x % 1 < width).astype(float)


def _cells(x, y, rng):
    """A random number for each unit cell of the tile."""
    numbers = rng.random((PERIODS * 4, PERIODS * 4))
    return numbers[np.floor(y).astype(int) % len(numbers), np.floor(x).astype(int) % len(numbers)]


def _smooth(rng, cells, size=SIZE):
    """Periodic value noise (size, size)."""
    values = rng.random((cells, cells))
    place = np.arange(size) / size * cells
    i, f = np.floor(place).astype(int), place % 1
    f = f * f * (3 - 2 * f)
    rows = values[i] * (1 - f)[:, None] + values[(i + 1) % cells] * f[:, None]
    return rows[:, i] * (1 - f) + rows[:, (i + 1) % cells] * f


def _flowers(x, y, rng):
    second, third = np.zeros_like(x), np.zeros_like(x)
    for i in range(PERIODS):
        for j in range(PERIODS):
            cx, cy = i + rng.uniform(0.3, 0.7), j + rng.uniform(0.3, 0.7)
            dx, dy = ((v - c + PERIODS / 2) % PERIODS - PERIODS / 2 for v, c in ((x, cx), (y, cy)))
            far, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
            size = rng.uniform(0.25, 0.5)
            second = np.maximum(second, far < size * (0.75 + 0.25 * np.cos(5 * turn + rng.uniform(0, 6))))
            third = np.maximum(third, far < size * 0.35)
    return second, third


# Pattern: function of x, y in pattern units that returns where the second and the third colour lie, 0 .. 1.
PATTERNS = {
    "plain": lambda x, y, rng: (0 * x, 0 * x),
    "stripes": lambda x, y, rng: (_band(y, 0.5), 0 * x),
    "vertical stripes": lambda x, y, rng: (_band(x, 0.5), 0 * x),
    "check": lambda x, y, rng: (0.5 * _band(x, 0.45) + 0.5 * _band(y, 0.45), np.clip(_band(x + 0.3,
    0.12) + _band(y + 0.3, 0.12), 0, 1)),
    "dots": lambda x, y, rng: ((((x + 0.5 * (np.floor(y) % 2)) % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.08) * 1.0,
    0 * x),
    "blotches": lambda x, y, rng: ((_smooth(rng, 8) > 0.5) * 1.0, (_smooth(rng, 13) > 0.62) * 1.0),
    "flowers": _flowers,
    "pinstripes": lambda x, y, rng: (_band(x * 2.5, 0.16), 0 * x),
    "zigzag": lambda x, y, rng: (_band(y + np.abs(x % 1 - 0.5), 0.5), 0 * x),
    "mottled": lambda x, y, rng: (np.clip(0.5 + 2 * (_smooth(rng, 64) - 0.5) + 1.2 * (_smooth(rng, 24) - 0.5), 0, 1),
    0 * x),
    "mixed stripes": lambda x, y, rng: ((_cells(0 * x, y * 3, rng) > 0.5) * 1.0, (_cells(0 * x, y * 2,
    rng) > 0.72) * 1.0),
    "blocks": lambda x, y, rng: ((_cells(x * 2, y * 2, rng) > 0.55) * 1.0, (_cells(x * 2, y * 2, rng) > 0.7) * 1.0),
    "batik": lambda x, y, rng: (0.5 + 0.5 * np.sin(12 * _smooth(rng, 6) + 2 * np.pi * y / 2), (_smooth(rng,
    20) > 0.75) * 1.0),
    "thin stripes": lambda x, y, rng: (_band(y * 2.5, 0.2), 0 * x),
    "chequers": lambda x, y, rng: ((np.floor(x) + np.floor(y)) % 2, 0 * x),
    "diamonds": lambda x, y, rng: (_band(x + y, 0.5) * 0.5 + _band(x - y, 0.5) * 0.5, _band(x + y + 0.25, 0.06)),
    "leaves": lambda x, y, rng: ((_smooth(rng, 10) + 0.5 * _smooth(rng, 31) > 0.85) * 1.0, (_smooth(rng,
    16) > 0.68) * 1.0),
}  # fmt: skip


def patterns():
    """Texture array (patterns, SIZE, SIZE, 2) uint8."""
    y, x = np.mgrid[:SIZE, :SIZE] * (PERIODS / SIZE)
    layers = [np.stack(make(x, y, np.random.default_rng(k)), -1) for k, make in enumerate(PATTERNS.values())]
    return np.rint(255 * np.clip(np.stack(layers), 0, 1)).astype(np.uint8)


def prints():
    """Texture array (PRINTS, PRINT_SIZE, PRINT_SIZE, 2) uint8: where there is print, and where its other colour."""
    layers = []
    for number in range(PRINTS):
        rng = np.random.default_rng((7, number))
        layers.append(np.stack([np.asarray(plane) for plane in PRINT_KINDS[number % len(PRINT_KINDS)](rng)], -1))
    return np.stack(layers)[:, ::-1]  # textures begin at the bottom


def _planes():
    planes = [Image.new("L", (PRINT_SIZE, PRINT_SIZE)) for _ in range(2)]
    return planes, [ImageDraw.Draw(plane) for plane in planes]


def _word(rng, letters):
    return "".join(chr(65 + int(k)) for k in rng.integers(0, 26, letters))


def _writing(rng):
    planes, pens = _planes()
    rows, y = int(rng.integers(1, 4)), int(rng.integers(4, 20))
    for _ in range(rows):
        size = int(rng.integers(10, 26))
        word, font = _word(rng, int(rng.integers(2, 8))), ImageFont.load_default(size)
        pens[0].text((32, y), word, 255, font, anchor="ma", stroke_width=1)
        y += size + 2
    return planes


def _emblem(rng):
    planes, pens = _planes()
    shapes = pens[0].ellipse, pens[0].rectangle, lambda box, fill: pens[0].rounded_rectangle(box, 14, fill)
    shape, inset = shapes[int(rng.integers(3))], int(rng.integers(1, 14))
    shape((1, inset, 62, 63 - inset), fill=255)
    if rng.random() < 0.5:
        word, font = _word(rng, int(rng.integers(1, 5))), ImageFont.load_default(int(rng.integers(14, 34)))
        pens[1].text((32, 32), word, 255, font, anchor="mm", stroke_width=1)
    else:
        pens[1].regular_polygon(
            (32, 32, int(rng.integers(10, 24))), int(rng.integers(3, 8)), int(rng.integers(90)), fill=255
        )
    if rng.random() < 0.3:
        pens[0].ellipse((18, 18, 45, 45), fill=0)
    return planes


def _scribble(rng):
    """A picture of many shapes: a face, an animal, a landscape, as far as one can tell from across the street."""
    planes, pens = _planes()
    for _ in range(int(rng.integers(3, 9))):
        x, y, w, h = rng.integers(4, 60), rng.integers(4, 60), rng.integers(5, 24), rng.integers(5, 24)
        pen = pens[int(rng.random() < 0.4)]
        pens[0].ellipse((int(x - w), int(y - h), int(x + w), int(y + h)), fill=255)
        pen.ellipse((int(x - w // 2), int(y - h // 2), int(x + w // 2), int(y + h // 2)), fill=255)
    for _ in range(int(rng.integers(0, 6))):
        pens[1].line([tuple(map(int, point)) for point in rng.integers(4, 60, (3, 2))], fill=255, width=3)
    return planes


def _photograph(rng):
    planes, pens = _planes()
    inset = int(rng.integers(0, 10))
    pens[0].rectangle((inset, 2, 63 - inset, 61), fill=255)
    grain = _smooth(rng, int(rng.integers(3, 9)), PRINT_SIZE) + 0.5 * _smooth(rng, 16, PRINT_SIZE)
    return planes[0], Image.fromarray(np.uint8(255 * np.clip((grain - 0.75) * 3 + 0.5, 0, 1)))


def _bars(rng):
    planes, pens = _planes()
    y = int(rng.integers(2, 30))
    for _ in range(int(rng.integers(1, 4))):
        tall = int(rng.integers(4, 16))
        pens[0].rectangle((0, y, 63, y + tall), fill=255)
        if rng.random() < 0.4:
            pens[1].rectangle((0, y + tall // 3, 63, y + 2 * tall // 3), fill=255)
        y += tall + int(rng.integers(2, 8))
    return planes


def _number(rng):
    planes, pens = _planes()
    pens[0].text((32, 34), str(int(rng.integers(1, 100))), 255, ImageFont.load_default(58), anchor="mm", stroke_width=3)
    return planes


PRINT_KINDS = (_writing, _emblem, _scribble, _photograph, _bars, _number)


def noise():
    """Volume (NOISE_SIZE, ...)^3 x 2, uint8, periodic: independent values, smooth when interpolated."""
    return np.random.default_rng(11).integers(0, 256, (NOISE_SIZE, NOISE_SIZE, NOISE_SIZE, 2), dtype=np.uint8)
