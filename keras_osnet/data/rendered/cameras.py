"""Cameras: position, direction, lens, image and light."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.scenes import LIGHTS

# Mounting: chance, height in metres, distance of people in metres, vertical field of view in degrees.
MOUNTS = {
    "eye level": (0.36, (1.2, 2.1), (3.5, 13), (24, 46)),
    "wall": (0.36, (2.2, 3.4), (4, 15), (26, 52)),
    "pole": (0.19, (3.4, 5.5), (7, 22), (18, 46)),
    "roof": (0.06, (6, 10), (14, 34), (14, 36)),
    "ceiling": (0.03, (2.6, 3.6), (2.8, 7), (50, 72)),
}
# Picture: chance, rows of the sensor, blur (pixels), noise (levels), JPEG quality, sharpening.
SENSORS = {
    "sharp": (0.3, (720, 1080), (0.0, 0.5), (0.3, 1.8), (75, 94), (0.2, 1.0)),
    "common": (0.38, (480, 900), (0.1, 0.6), (0.6, 3.0), (45, 85), (0.4, 1.6)),
    "old": (0.22, (280, 480), (0.3, 0.9), (1.2, 5.0), (30, 70), (0.3, 1.8)),
    "soft": (0.1, (480, 1080), (0.7, 1.3), (0.6, 3.0), (40, 85), (0.0, 0.6)),
}
OTHER_LIGHT = 0.25  # share of images taken in another light of the scene than the camera's usual one


@dataclass(frozen=True)
class Camera:
    """One camera. Lengths in metres, angles in degrees, colours as factors."""

    number: int
    scene: int
    mount: str
    position: tuple
    yaw: float
    pitch: float
    roll: float
    field: float  # vertical field of view
    distances: tuple
    sensor: str
    rows: int
    light: str
    sun_height: float
    brightness: float
    exposure: float
    shoulder: float
    gains: tuple
    gamma: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: int
    sharpen: float
    tight: float  # how tightly boxes are cut
    wet: float
    lamps: tuple

    @property
    def columns(self):
        return self.rows * 16 // 9

    @property
    def focal(self):
        """Focal length in pixels."""
        return self.rows / 2 / np.tan(np.radians(self.field) / 2)


def draw_camera(rng, number, scene_number, scene, turn=None):
    """A random `Camera` in a scene: at the edge of the walking area, looking across it.

    Args:
        rng: random generator.
        number, scene_number: of the camera and its scene.
        scene: a `Scene`.
        turn: on which side of the scene it hangs, radians; None: anywhere.
    """
    mount = choose(rng, MOUNTS)
    _, heights, distances, fields = MOUNTS[mount]
    height = float(rng.uniform(*heights))
    if scene.row.inside:
        height = min(height, scene.row.wall_height[0] - 0.3)
    half = np.array(scene.half)
    anywhere = rng.uniform(0, 2 * np.pi)
    turn = anywhere if turn is None else turn
    place = np.clip(np.array([np.sin(turn), np.cos(turn)]) * 1.5, -1, 1) * half * rng.uniform(0.7, 1.0)
    target = rng.uniform(-0.45, 0.45, 2) * half
    if np.linalg.norm(target - place) < 5:
        target = -place * 0.4
    look = target - place
    distance = float(np.clip(np.linalg.norm(look), distances[0] + 1, distances[1]))
    sensor = choose(rng, SENSORS)
    _, rows, blur, noise, quality, sharpen = SENSORS[sensor]
    light = choose(rng, {name: LIGHTS[name].chance for name in scene.row.lights})
    warm, tint = rng.normal(0, 0.05), rng.normal(0, 0.02)
    return Camera(
        number, scene_number, mount, (float(place[0]), height, float(place[1])),
        yaw=float(np.degrees(np.arctan2(look[0], look[1]))),
        pitch=float(np.degrees(np.arctan2(1.0 - height, distance)) + rng.normal(0, 2.5)), roll=float(rng.normal(0,
            1.2)),
        field=float(rng.uniform(*fields)), distances=distances, sensor=sensor, rows=int(rng.integers(*rows)),
            light=light,
        sun_height=float(rng.uniform(*LIGHTS[light].sun_height)), brightness=float(rng.uniform(0.85, 1.15)),
        exposure=float(np.exp(rng.normal(0.02, 0.22))), shoulder=float(rng.uniform(1.4, 3.0)),
        gains=(float(1 + warm), float(1 + tint), float(1 - warm)), gamma=float(np.exp(rng.normal(0, 0.13))),
        contrast=float(rng.uniform(0.88, 1.35)), saturation=float(rng.uniform(0.5, 1.15)),
            blur=float(rng.uniform(*blur)),
        noise=float(rng.uniform(*noise)), quality=int(rng.integers(*quality)), sharpen=float(rng.uniform(*sharpen)),
        tight=float(rng.uniform(0, 1)), wet=float(0.6 * (rng.random() < 0.1 and not scene.row.inside)),
        lamps=tuple(tuple(map(float, (*(rng.uniform(-1, 1, 2) * half), rng.uniform(2.5, 5)))) for _ in range(2)),
    )  # fmt: skip


def rotation(camera):
    """Rows: right, up and backward of the camera in the world."""
    yaw, pitch, roll = np.radians([camera.yaw, camera.pitch, camera.roll])
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * up, c * up - s * right, -forward])


def project(camera, points):
    """Returns (columns, rows, depth) of points (n, 3) in the camera's image, in pixels and metres."""
    x, y, z = rotation(camera) @ (np.asarray(points) - camera.position).T
    depth = np.maximum(-z, 1e-3)
    return np.stack(
        [camera.columns / 2 + camera.focal * x / depth, camera.rows / 2 - camera.focal * y / depth, -z], axis=1
    )


def pixel_matrix(camera):
    """Matrix (3, 4) that projects points of the world to (columns, rows, 1) times their depth."""
    right, up, back = rotation(camera)
    f = camera.focal
    inner = np.array([[f, 0, camera.columns / 2], [0, f, camera.rows / 2], [0, 0, 1]])
    outer = np.stack([right, -up, -back])
    return inner @ np.column_stack([outer, -outer @ camera.position])


def view_projection(camera, box, near=1.3, far=160.0):
    """Matrix (4, 4) that maps the world to the part `box` (left, top, right, bottom in pixels) of the picture.

    What is nearer than `near` metres is left out: a camera may hang in a tree.
    """
    view = np.eye(4)
    view[:3, :3] = rotation(camera)
    view[:3, 3] = -view[:3, :3] @ camera.position
    left, top, right, bottom = box
    f = camera.focal
    # Slopes at the box's edges, relative to the optical axis.
    west, east = ((v - camera.columns / 2) / f for v in (left, right))
    north, south = ((camera.rows / 2 - v) / f for v in (top, bottom))
    lens = np.array(
        [
            [2 / (east - west), 0, (east + west) / (east - west), 0],
            [0, 2 / (north - south), (north + south) / (north - south), 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
    return lens @ view


def rays(camera, box, size):
    """Directions (3, 3) to the lower left corner of `box`, and their steps a pixel to the right and up.

    They are scaled to reach one metre along the optical axis.
    """
    right, up, back = rotation(camera)
    left, top, end, bottom = box
    f = camera.focal
    first = -back + right * (left - camera.columns / 2) / f + up * (camera.rows / 2 - bottom) / f
    return np.stack([first, right * (end - left) / f / size[0], up * (bottom - top) / f / size[1]])


def stand(camera, scene, rng, *, tallest=420, least=60):
    """Returns a position on the ground (x, z) where a person has a height of `least` to `tallest` pixels."""
    half = np.array(scene.half) + 1.0
    best = None
    for _ in range(40):
        bearing = np.radians(camera.yaw) + np.radians(camera.field) * 16 / 9 * rng.uniform(-0.42, 0.42)
        distance = np.exp(rng.uniform(*np.log(camera.distances)))
        x, z = np.array([camera.position[0], camera.position[2]]) + distance * np.array(
            [np.sin(bearing), np.cos(bearing)]
        )
        feet, top = project(camera, [(x, 0.0, z), (x, 1.7, z)])
        size = feet[1] - top[1]
        inside = abs(x) < half[0] and abs(z) < half[1]
        seen = (
            0.02 * camera.columns < feet[0] < 0.98 * camera.columns
            and top[1] > -0.05 * camera.rows
            and feet[1] < 1.08 * camera.rows
        )
        score = inside + 2 * seen + 2 * (least < size < tallest)
        if best is None or score > best[0]:
            best = (score, (float(x), float(z)))
        if score == 5:
            break
    return best[1]
