"""Light on one image: sun, sky, lamps and exposure, and the rows of the shaders' block Frame."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered import cameras
from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.renderer import FRAME_ROWS
from keras_osnet.data.rendered.scenes import LIGHTS

LAMP = np.array([1.0, 0.86, 0.62])
WHITE_BALANCE = 0.75  # 1: no colour of the light is left


@dataclass(frozen=True)
class Lighting:
    """`kind` is a row of LIGHTS, `sun` the direction towards the sun, `strength` a factor for each colour."""

    kind: str
    sun: np.ndarray
    strength: np.ndarray
    exposure: float

    @property
    def row(self):
        return LIGHTS[self.kind]

    @property
    def shadows(self):
        return self.row.sun > 0.4


def draw_lighting(camera, scene, rng):
    """The camera's usual light, now and then another one of the scene, each time a little different."""
    kind = camera.light
    if rng.random() < cameras.OTHER_LIGHT:
        kind = choose(rng, {name: LIGHTS[name].chance for name in scene.row.lights})
    row = LIGHTS[kind]
    height = np.radians(camera.sun_height if kind == camera.light else rng.uniform(*row.sun_height))
    turn = scene.sun_turn + rng.normal(0, 0.25)
    sun = np.array([np.cos(height) * np.sin(turn), np.sin(height), np.cos(height) * np.cos(turn)])
    brightness = camera.brightness * rng.uniform(0.88, 1.12)
    tint = _colour(row)
    exposure = camera.exposure / (0.35 + 0.65 * brightness * (tint.mean() + 0.08)) * np.exp(rng.normal(0, 0.1))
    # Most of the light's colour is taken out by the camera's white balance.
    return Lighting(kind, sun, brightness * (tint.mean() / tint) ** WHITE_BALANCE, float(exposure))


def _colour(row):
    """Mean colour of a light's parts."""
    sky, ground, sun = np.array(row.sky), np.array(row.ground), np.array(row.sun_colour)
    return 0.5 * sky + 0.2 * ground + 0.35 * row.sun * sun + 0.12 * row.lamps * LAMP


def frame_rows(camera, lighting, box, size, *, middle, reach, spheres):
    """Returns (rows of the shaders' block Frame, background colour 0 .. 1).

    Args:
        camera, lighting: a `Camera` and its `Lighting`.
        box: part of the camera's picture to draw: left, top, right, bottom in its pixels.
        size: (width, height) of the image to draw.
        middle: point around which shadows are drawn; `reach`: how far, metres.
        spheres: (16, 4) positions and radii of what hides the sky.
    """
    row, frame = lighting.row, np.zeros((FRAME_ROWS, 4))
    frame[0:4] = cameras.view_projection(camera, box).T
    frame[4:8] = _light_matrix(lighting.sun, middle, reach).T
    frame[8, :3] = camera.position
    frame[9] = (*lighting.sun, float(lighting.shadows))
    frame[10] = (*(np.array(row.sun_colour) * row.sun * lighting.strength), camera.wet)
    frame[11] = (*(np.array(row.sky) * lighting.strength), lighting.exposure)
    frame[12] = (*(np.array(row.ground) * lighting.strength), row.haze)
    background = np.array(row.background) * lighting.strength
    frame[13] = (*background, camera.shoulder)
    for k, (x, z, up) in enumerate(camera.lamps):
        near = np.array([middle[0], middle[2]]) * 0.6 + np.array([x, z]) * 0.4
        frame[14 + 2 * k] = (near[0], up, near[1], 3.5)
        frame[15 + 2 * k, :3] = LAMP * row.lamps * lighting.strength
    frame[18:21, :3] = cameras.rays(camera, box, size)
    frame[21:37] = spheres
    return frame, np.clip(background * lighting.exposure, 0, 1) ** (1 / 2.2)


def _light_matrix(sun, middle, reach):
    """Orthographic view from the sun on what is around a point."""
    up = np.array([0.0, 1, 0]) if abs(sun[1]) < 0.95 else np.array([1.0, 0, 0])
    right = np.cross(up, sun)
    right /= np.linalg.norm(right)
    view = np.stack([right, np.cross(sun, right), sun])
    matrix = np.eye(4)
    matrix[:3, :3] = view / np.array([reach, reach, -(reach + 2.3)])[:, None]
    matrix[:3, 3] = -matrix[:3, :3] @ middle
    return matrix
