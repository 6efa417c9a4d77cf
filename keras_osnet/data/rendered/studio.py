"""Takes images: a person, placed before a camera in a scene, with light, shadows, passers-by and a detector's box."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from keras_osnet.data.rendered import cameras, mesh, people, poses, scenes, sensor, surface, wardrobe
from keras_osnet.data.rendered.bodies import choose
from keras_osnet.data.rendered.parts import BONES
from keras_osnet.data.rendered.renderer import FRAME_ROWS, Backdrop, Figure, Renderer

# Spheres along the body that hide the sky from what is near: bone, joint, joint towards which they lie and how far,
# radius in metres of a body of 1.7 m.
SPHERES = tuple(
    (bone, start, end, part, radius)
    for bone, start, end, part, radius in (
        ("head", "head", "head-2", 0.45, 0.11), ("spine01", "spine-1", "neck", 0.2, 0.16),
        ("spine03", "spine-3", "spine-1", 0.2, 0.15), ("root", "pelvis", "spine-3", 0.1, 0.16),
        *((f"{bone}.{side.upper()}", f"{side}-{start}", f"{side}-{end}", part, radius)
          for side in "lr"
          for bone, start, end, part, radius in (
              ("upperarm01", "shoulder", "elbow", 0.6, 0.05), ("lowerarm01", "elbow", "hand", 0.6, 0.045),
              ("upperleg01", "upper-leg", "knee", 0.35, 0.09), ("upperleg01", "upper-leg", "knee", 0.85, 0.07),
              ("lowerleg01", "knee", "ankle", 0.5, 0.06), ("foot", "ankle", "foot-1", 0.6, 0.06))),
    )
)  # fmt: skip
PASSERS_BY = 40  # people who are seen beside the others; each is made once
BEHIND, BEFORE = 0.3, 0.07  # share of images with somebody behind, and partly in front
TRIES, LEAST_VISIBLE = 5, 0.35  # a person who is hidden further is placed again


@dataclass(frozen=True)
class Model:
    """A dressed person, ready to be posed."""

    person: people.Person
    body: object  # garments.Figure
    figure: Figure
    sole: float
    outline: np.ndarray  # vertex records from which boxes are computed
    arms: tuple
    legs: str | None

    @property
    def scale(self):
        return self.body.scale


@dataclass(frozen=True)
class Posed:
    """A model, posed and placed."""

    model: Model
    matrices: np.ndarray
    placed: np.ndarray

    def points(self):
        """World positions (n, 3) of the outline."""
        outline = self.model.outline
        place = np.concatenate([outline["position"], np.ones((len(outline), 1), np.float32)], 1)
        mixed = (self.matrices[outline["bones"]] * (outline["weights"] / np.float32(255))[..., None, None]).sum(1)
        return np.einsum("nij,nj->ni", mixed, place)[:, :3] @ self.placed[:3, :3].T + self.placed[:3, 3]

    def spheres(self):
        """Rows (16, 4): world position and radius of `SPHERES`."""
        parts, vertices, rows = self.model.body.parts, self.model.body.vertices, np.zeros((16, 4))
        for k, (bone, start, end, part, radius) in enumerate(SPHERES):
            a, b = parts.joint(vertices, start), parts.joint(vertices, end)
            local = self.matrices[list(BONES).index(bone)] @ [*(a + part * (b - a)), 1]
            rows[k] = [*(self.placed @ local)[:3], radius * self.model.scale]
        return rows


class Studio:
    """What one process needs to take images of one set of people.

    Args:
        parts: `parts.Parts`.
        key: tuple of integers, seed and side: scenes, cameras and passers-by follow from it.
        size: (width, height) of the images.
        renderer: a `Renderer` of twice that size; None makes one.
        per_scene: cameras in each scene.
    """

    def __init__(self, parts, key, size, *, renderer=None, per_scene=3):
        self.parts, self.surface, self.key, self.size = parts, surface.surface_of(parts), key, size
        self.renderer = renderer or Renderer((size[0] * 2, size[1] * 2))
        self.per_scene = per_scene
        self.scene = lru_cache(maxsize=64)(self._scene)
        self.camera = lru_cache(maxsize=1024)(self._camera)
        self.passer_by = lru_cache(maxsize=PASSERS_BY)(self._passer_by)

    def _scene(self, number):
        scene = scenes.make_scene(np.random.default_rng((*self.key, 4, number)))
        return scene, Backdrop(self.renderer, scene.vertices, scene.triangles)

    def _camera(self, number):
        place = number // self.per_scene
        return cameras.draw_camera(np.random.default_rng((*self.key, 5, number)), number, place, self.scene(place)[0])

    def _passer_by(self, number):
        return self.model(people.draw_person(np.random.default_rng((*self.key, 6, number))))

    def model(self, person):
        """Dresses a person."""
        body, sole, layers = wardrobe.dress(self.parts, self.surface, person)
        records, triangles = mesh.merge([(number, piece) for number, (_, piece) in enumerate(layers)])
        arms, legs = [None, None], None
        for item in person.items:
            if item.arm:
                both = "two" in item.kind or "bicycle" in item.kind
                for side in (0, 1) if both else (0 if item.side > 0 else 1,):
                    arms[side] = item.arm
            legs = "ride" if item.kind == "ridden bicycle" else legs
        carried = sum(1 for item in person.items for _ in range(2))
        outline = records[records["layer"][:, 0] < len(layers) - carried][::24]
        figure = Figure(self.renderer, records, triangles, [paint for paint, _ in layers])
        return Model(person, body, figure, sole, outline, tuple(arms), legs)

    def posed(self, model, place, heading, rng):
        pose = poses.draw_pose(rng, model.arms, model.legs)
        matrices = poses.bone_matrices(self.parts, model.body.vertices, pose)
        c, s = np.cos(heading), np.sin(heading)
        placed = np.array([[c, 0, s, place[0]], [0, 1, 0, model.sole], [-s, 0, c, place[1]], [0, 0, 0, 1.0]])
        padded = np.tile(np.eye(4), (24, 1, 1))
        padded[: len(matrices)] = matrices
        return Posed(model, padded, placed)

    def image(self, model, camera_number, rng):
        """Takes one image. Returns (PIL image, labels)."""
        for _ in range(TRIES):
            image, labels = self._try(model, camera_number, rng)
            if labels["visible"] >= LEAST_VISIBLE:
                break
        return image, labels

    def _try(self, model, camera_number, rng):
        camera = self.camera(camera_number)
        scene, backdrop = self.scene(camera.scene)
        place = cameras.stand(camera, scene, rng)
        target = self.posed(model, place, rng.uniform(0, 2 * np.pi), rng)
        others = self._others(camera, place, rng)
        tight, box = _boxes(camera, target.points(), rng)
        frame, background = self._frame(camera, scene, target, box, rng)
        model.figure.pose(target.matrices)
        self.renderer.begin(frame, [(model.figure, target.placed)] if frame[9, 3] else ())
        model.figure.draw("person", target.placed)
        alone = self.renderer.covered()
        for slot, other in enumerate(others, 1):
            other.model.figure.pose(other.matrices)
            other.model.figure.draw("person", other.placed, slot)
        pixels = self.renderer.finish([model.figure, *(other.model.figure for other in others)], background, backdrop)
        seen = (pixels[..., 3] == 1).sum() / max(alone, 1) * _inside(tight, box)
        native = (box[2] - box[0], box[3] - box[1])
        image = sensor.expose(np.ascontiguousarray(pixels[..., :3]), camera, rng, native, self.size)
        return image, {
            "camera": camera_number,
            "body": _in_image(tight, box, self.size),
            "visible": round(float(seen), 3),
        }

    def _others(self, camera, place, rng):
        found = []
        to_camera = np.array([camera.position[0] - place[0], camera.position[2] - place[1]])
        distance = np.linalg.norm(to_camera)
        to_camera /= max(distance, 1e-6)
        across = np.array([-to_camera[1], to_camera[0]])
        for chance, depth, sideways in (
            (BEHIND, (-7, -0.6), (0.0, 1.8)),
            (BEHIND / 2, (-9, -1), (0.3, 2.5)),
            (BEFORE, (0.4, 1.2), (0.22, 0.6)),
        ):
            if rng.random() < chance:
                shift = to_camera * min(rng.uniform(*depth), distance - 2) + across * rng.uniform(
                    *sideways
                ) * rng.choice([-1, 1])
                model = self.passer_by(int(rng.integers(PASSERS_BY)))
                found.append(self.posed(model, np.array(place) + shift, rng.uniform(0, 2 * np.pi), rng))
        return found

    def _frame(self, camera, scene, target, box, rng):
        light = camera.light
        if rng.random() < cameras.OTHER_LIGHT:
            light = choose(rng, {name: scenes.LIGHTS[name].chance for name in scene.row.lights})
        row = scenes.LIGHTS[light]
        height = camera.sun_height if light == camera.light else rng.uniform(*row.sun_height)
        height, turn = np.radians(height), scene.sun_turn + rng.normal(0, 0.25)
        sun = np.array([np.cos(height) * np.sin(turn), np.sin(height), np.cos(height) * np.cos(turn)])
        strength = camera.brightness * rng.uniform(0.88, 1.12)
        exposure = camera.exposure / (0.35 + 0.65 * strength * _brightness(row)) * np.exp(rng.normal(0, 0.1))
        frame = np.zeros((FRAME_ROWS, 4))
        frame[0:4] = cameras.view_projection(camera, box).T
        middle = target.placed[:3, 3] + [0, 0.9, 0]
        frame[4:8] = _light_matrix(sun, middle).T
        frame[8, :3] = camera.position
        frame[9] = (*sun, float(row.sun > 0.4))
        frame[10] = (*(np.array(row.sun_colour) * row.sun * strength), camera.wet)
        frame[11] = (*(np.array(row.sky) * strength), exposure)
        frame[12] = (*(np.array(row.ground) * strength), row.haze)
        background = np.array(row.background) * strength
        frame[13] = (*background, camera.shoulder)
        for k, (x, z, up) in enumerate(camera.lamps):
            near = np.array([target.placed[0, 3], target.placed[2, 3]]) * 0.6 + np.array([x, z]) * 0.4
            frame[14 + 2 * k] = (near[0], up, near[1], 3.5)
            frame[15 + 2 * k, :3] = np.array([1.0, 0.86, 0.62]) * row.lamps
        frame[18:21, :3] = cameras.rays(camera, box, self.renderer.size)
        frame[21:37] = target.spheres()
        return frame, np.clip(background * exposure, 0, 1) ** (1 / 2.2)


def _brightness(row):
    return 0.5 * np.mean(row.sky) + 0.2 * np.mean(row.ground) + 0.35 * row.sun + 0.12 * row.lamps + 0.08


def _light_matrix(sun, middle, reach=1.7):
    """Orthographic view from the sun on what is around a person."""
    up = np.array([0.0, 1, 0]) if abs(sun[1]) < 0.95 else np.array([1.0, 0, 0])
    right = np.cross(up, sun)
    right /= np.linalg.norm(right)
    view = np.stack([right, np.cross(sun, right), sun])
    matrix = np.eye(4)
    matrix[:3, :3] = view / np.array([reach, reach, -4.0])[:, None]
    matrix[:3, 3] = -matrix[:3, :3] @ middle
    return matrix


def _boxes(camera, points, rng):
    """(the body's box, the box that a detector cuts), each left, top, right, bottom in pixels of the camera."""
    seen = cameras.project(camera, points)
    left, top = seen[:, :2].min(0)
    right, bottom = seen[:, :2].max(0)
    wide, tall = right - left, bottom - top
    pad = rng.normal((0.06, 0.03, 0.06, 0.025), (0.05, 0.02, 0.05, 0.02)) * (wide, tall, wide, tall)
    if rng.random() < 0.08:  # a poor box: feet or a side cut off, or far too wide
        pad += (
            rng.choice(
                [(0, 0, 0, -0.22), (-0.2, 0, 0.1, 0), (0.1, 0, -0.2, 0), (0, -0.08, 0, 0), (0.25, 0.1, 0.25, 0.1)]
            )
            * np.array([wide, tall, wide, tall])
            * rng.uniform(0.3, 1)
        )
    box = np.array([left - pad[0], top - pad[1], right + pad[2], bottom + pad[3]])
    # Detectors of people often answer with one aspect; others cut as tightly as the arms allow.
    wanted = (box[3] - box[1]) * (0.36 + 0.14 * (camera.tight < 0.6))
    missing = max(wanted - (box[2] - box[0]), 0) / 2
    return np.array([left, top, right, bottom]), box + np.array([-missing, 0, missing, 0])


def _inside(body, box):
    """Share of the body's box inside the other box."""
    size = np.minimum(body[2:], box[2:]) - np.maximum(body[:2], box[:2])
    return float(np.prod(np.maximum(size, 0)) / np.prod(body[2:] - body[:2]))


def _in_image(body, box, size):
    """The body's box in pixels of the image that shows `box`."""
    scale = np.array(size) / (box[2:] - box[:2])
    return [round(float(v), 1) for v in (*((body[:2] - box[:2]) * scale), *((body[2:] - box[:2]) * scale))]
