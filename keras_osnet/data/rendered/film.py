"""Films a sequence: all people in the whole image of a camera, frame by frame."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from keras_osnet.data.rendered import actors, boxes, cameras, light, people, poses, scenes, sensor, surface
from keras_osnet.data.rendered.renderer import Backdrop
from keras_osnet.data.rendered.sequence import SIDE, paths_of, scene_of_camera

SHARPER = 1.5  # rendered pixels a pixel of the frames
SHADOWS = 1024  # width of the map of shadows, which covers the scene
ALONE = (64, 128)  # size at which it is counted how much of a person there would be to see
STRIDE = 1.45  # metres of a cycle of walking of a body of 1.7 m
LEAST_PIXELS = 12  # in a frame; fewer are not labelled


class Film:
    """Data of one process for the frames of one sequence."""

    def __init__(self, parts, settings, renderer):
        self.parts, self.settings, self.renderer = parts, settings, renderer
        self.key = (settings.seed, SIDE)
        self.size = tuple(int(n * SHARPER) for n in settings.size)

    @cached_property
    def scenes(self):
        count = scene_of_camera(self.settings, self.settings.cameras - 1) + 1
        return [scenes.make_scene(np.random.default_rng((*self.key, 4, number))) for number in range(count)]

    @cached_property
    def backdrops(self):
        return [Backdrop(self.renderer, scene.vertices, scene.triangles) for scene in self.scenes]

    @cached_property
    def cameras(self):
        """They hang at the two ends of their scene, where people come from and go to."""
        found = []
        for number in range(self.settings.cameras):
            place = scene_of_camera(self.settings, number)
            rng = np.random.default_rng((*self.key, 5, number))
            camera = cameras.draw_camera(rng, number, place, self.scenes[place], turn=np.pi * number + 0.5)
            found.append(replace(camera, rows=self.settings.height, sensor="common"))
        return found

    @cached_property
    def cast(self):
        """[(model, its walks)] of the sequence's people."""
        ground, halves = surface.surface_of(self.parts), [scene.half for scene in self.scenes]
        found = []
        for number in range(self.settings.people):
            person = people.person_of(self.key, number, 0.2)
            model = actors.dressed(self.renderer, self.parts, ground, person)
            found.append((model, paths_of(self.settings, number, halves)))
        return found

    def view(self, number):
        """The camera's scene, position, and 3 x 4 matrix, as plain values."""
        camera = self.cameras[number]
        matrix = [[round(float(v), 6) for v in row] for row in cameras.pixel_matrix(camera)]
        return {"scene": camera.scene, "position": [round(v, 4) for v in camera.position], "matrix": matrix}

    def actors_at(self, scene, frame):
        """{number: Actor} of the people in a scene at a frame."""
        found = {}
        for number, (model, paths) in enumerate(self.cast):
            for path in paths:
                state = path.at(frame / self.settings.rate) if path.scene == scene else None
                if state:
                    place, heading, walked = state
                    rng = np.random.default_rng((*self.key, 10, number, scene))
                    pose = poses.draw_pose(rng, model.arms, model.legs or "walk")
                    phase = walked / (STRIDE * model.person.body.height / 1.7) % 1
                    found[number] = actors.placed_actor(model, replace(pose, phase=phase, stride=1.0), place, heading)
        return found

    def frame(self, camera_number, frame):
        """Returns (PIL image, rows of the ground truth)."""
        camera = self.cameras[camera_number]
        cast = self.actors_at(camera.scene, frame)
        whole = (0, 0, camera.columns, camera.rows)
        rng = np.random.default_rng((*self.key, 11, camera_number))  # the same light in every frame
        lighting = light.draw_lighting(camera, self.scenes[camera.scene], rng)
        bodies = {number: boxes.body_box(camera, actor.points()) for number, actor in cast.items()}
        in_front = {n for n, actor in cast.items() if cameras.project(camera, actor.points())[:, 2].min() > 0.3}
        cast = {number: actor for number, actor in cast.items() if number in in_front}
        alone = {number: self._alone(camera, lighting, actor, bodies[number]) for number, actor in cast.items()}
        pixels = self._drawn(camera, lighting, whole, cast, bodies)
        rows = []
        for slot, (number, actor) in enumerate(cast.items()):
            seen = int((pixels[..., 3] == slot + 1).sum())
            if seen >= LEAST_PIXELS:
                visible = min(seen / max(alone[number], 1), 1.0)
                x, z = actor.placed[[0, 2], 3]
                box = [round(float(v), 1) for v in bodies[number]]
                time = round(frame / self.settings.rate, 4)
                rows.append(
                    (camera_number + 1, frame, time, number + 1, *box, round(visible, 3), round(x, 3), round(z, 3))
                )
        rng = np.random.default_rng((*self.key, 12, camera_number, frame))
        native = self.settings.size
        return sensor.expose(np.ascontiguousarray(pixels[..., :3]), camera, rng, native, native, steady=True), rows

    def _drawn(self, camera, lighting, whole, cast, bodies):
        renderer = self.renderer
        renderer.use(self.size, SHADOWS)
        far = {"middle": np.array([0.0, 0.9, 0.0]), "reach": 12.0}
        spheres = {number: actor.spheres() for number, actor in cast.items()}
        frame, background = light.frame_rows(camera, lighting, whole, self.size, spheres=_feet(spheres), **far)
        renderer.begin(frame)
        for actor in cast.values():
            actor.model.figure.pose(actor.matrices)
        if lighting.shadows:
            renderer.cast_shadows(cast.values())
        for slot, actor in enumerate(cast.values()):
            actor.draw("person", slot)
        renderer.begin_colours(background)
        for slot, (number, actor) in enumerate(cast.items()):
            part = _scissor(bodies[number], camera, self.size)
            if part:
                frame[21:37] = spheres[number]
                renderer.set_frame(frame)
                renderer.colour(actor.model.figure, slot, part)
        frame[21:37] = _feet(spheres)
        renderer.set_frame(frame)
        return renderer.finish(self.backdrops[camera.scene])

    def _alone(self, camera, lighting, actor, body):
        """Pixels of the frame that the person would cover if nothing hid it, also outside of the picture."""
        self.renderer.use(ALONE)
        nothing = {"middle": np.zeros(3), "reach": 1.7, "spheres": np.zeros((16, 4))}
        frame, _ = light.frame_rows(camera, lighting, body, ALONE, **nothing)
        self.renderer.begin(frame)
        actor.model.figure.pose(actor.matrices)
        actor.draw("person")
        share = self.renderer.covered() / np.prod(ALONE)
        return share * np.prod(body[2:] - body[:2]) * SHARPER**2


def _feet(spheres):
    """(16, 4): feet and pelvis of the first people, for the shade on the ground below them."""
    rows = np.zeros((16, 4))
    rows[:, 1] = -50
    chosen = [all_of[k] for all_of in spheres.values() for k in (9, 15, 3)][:16]
    if chosen:
        rows[: len(chosen)] = chosen
    return rows


def _scissor(body, camera, size, margin=0.35):
    """The part of the image that a person may cover: left, bottom, width, height; None outside of the image."""
    more, scale = (body[2:] - body[:2]) * margin, size[1] / camera.rows
    low = np.maximum((body[:2] - more) * scale, 0)
    high = np.minimum((body[2:] + more) * scale, size)
    left, top, right, bottom = (int(v) for v in (*low, *np.ceil(high)))
    if right <= left or bottom <= top:
        return None
    return left, size[1] - bottom, right - left, bottom - top
