"""Takes images of one person each: placed before a camera, with light, passers-by and a detector's box."""

from functools import lru_cache

import numpy as np
from PIL import Image

from keras_osnet.data.rendered import actors, boxes, cameras, light, people, poses, scenes, sensor, surface
from keras_osnet.data.rendered.renderer import Backdrop

PASSERS_BY = 40  # people who are seen beside the others; each is made once
# Passers-by: share of images, metres towards the camera, metres to a side. Behind, far behind, partly in front.
COMPANY = ((0.3, (-7, -0.6), (0.0, 1.8)), (0.15, (-9, -1), (0.3, 2.5)), (0.07, (0.4, 1.2), (0.22, 0.6)))
TRIES, LEAST_VISIBLE = 5, 0.35  # a person who is hidden further is placed again
SCENES, CAMERAS = 64, 1024  # kept in memory
PER_SCENE = 3  # cameras


class Studio:
    """What one process needs to take images of one set of people.

    Args:
        parts: `parts.Parts`.
        key: tuple of integers, seed and side: scenes, cameras and passers-by follow from it.
        size: (width, height) of the images.
        renderer: a `Renderer`.
        without: "scenes": all cameras are in one scene; "sensor": images are as they are rendered.
    """

    def __init__(self, parts, key, size, renderer, *, without=()):
        self.parts, self.surface, self.key, self.size = parts, surface.surface_of(parts), key, size
        self.renderer, self.without = renderer, without
        self.scene = lru_cache(maxsize=SCENES)(self._scene)
        self.camera = lru_cache(maxsize=CAMERAS)(self._camera)
        self.passer_by = lru_cache(maxsize=PASSERS_BY)(self._passer_by)

    def _scene(self, number):
        scene = scenes.make_scene(np.random.default_rng((*self.key, 4, number)))
        return scene, Backdrop(self.renderer, scene.vertices, scene.triangles)

    def _camera(self, number):
        place = 0 if "scenes" in self.without else number // PER_SCENE
        return cameras.draw_camera(np.random.default_rng((*self.key, 5, number)), number, place, self.scene(place)[0])

    def _passer_by(self, number):
        return self.model(people.draw_person(np.random.default_rng((*self.key, 6, number))))

    def model(self, person):
        return actors.dressed(self.renderer, self.parts, self.surface, person)

    def image(self, model, camera_number, rng):
        """Takes one image. Returns (PIL image, the body's box in it, share of the body that is seen)."""
        for _ in range(TRIES):
            image, body, visible = self._try(model, camera_number, rng)
            if visible >= LEAST_VISIBLE:
                break
        return image, body, visible

    def _try(self, model, camera_number, rng):
        camera = self.camera(camera_number)
        scene, backdrop = self.scene(camera.scene)
        place = cameras.stand(camera, scene, rng)
        target = self._actor(model, place, rng)
        company = self._company(camera, place, rng)
        body = boxes.body_box(camera, target.points())
        box = boxes.detected(camera, body, rng)
        self.renderer.use((self.size[0] * 2, self.size[1] * 2))
        frame, background = light.frame_rows(
            camera, light.draw_lighting(camera, scene, rng), box, self.renderer.size,
            middle=target.placed[:3, 3] + [0, 0.9, 0], reach=1.7, spheres=target.spheres(),
        )  # fmt: skip
        pixels, alone = self._drawn(target, company, frame, background, backdrop)
        visible = (pixels[..., 3] == 1).sum() / max(alone, 1) * boxes.part_inside(body, box)
        image = self._image(np.ascontiguousarray(pixels[..., :3]), camera, rng, box)
        return image, boxes.in_image(body, box, self.size), round(float(visible), 3)

    def _image(self, pixels, camera, rng, box):
        if "sensor" in self.without:
            return Image.fromarray(pixels).resize(self.size, Image.Resampling.BOX)
        return sensor.expose(pixels, camera, rng, (box[2] - box[0], box[3] - box[1]), self.size)

    def _drawn(self, target, company, frame, background, backdrop):
        """(pixels (H, W, 4), number of pixels of the target where nothing hides it)."""
        everybody = [target, *company]
        self.renderer.begin(frame)
        target.model.figure.pose(target.matrices)
        if frame[9, 3]:
            self.renderer.cast_shadows([target])
        target.draw("person")
        alone = self.renderer.covered()
        for slot, other in enumerate(company, 1):
            other.model.figure.pose(other.matrices)
            other.draw("person", slot)
        self.renderer.begin_colours(background)
        for slot, actor in enumerate(everybody):
            self.renderer.colour(actor.model.figure, slot)
        return self.renderer.finish(backdrop), alone

    def _actor(self, model, place, rng):
        pose = poses.draw_pose(rng, model.arms, model.legs)
        return actors.placed_actor(model, pose, place, rng.uniform(0, 2 * np.pi))

    def _company(self, camera, place, rng):
        found = []
        to_camera = np.array([camera.position[0] - place[0], camera.position[2] - place[1]])
        distance = np.linalg.norm(to_camera)
        to_camera /= max(distance, 1e-6)
        across = np.array([-to_camera[1], to_camera[0]])
        for share, nearer, sideways in COMPANY:
            if rng.random() < share:
                shift = to_camera * min(rng.uniform(*nearer), distance - 2)
                shift = shift + across * rng.uniform(*sideways) * rng.choice([-1, 1])
                model = self.passer_by(int(rng.integers(PASSERS_BY)))
                found.append(self._actor(model, np.array(place) + shift, rng))
        return found
