"""The jobs of a rendering process: all images of one person, or some frames of one camera."""

from pathlib import Path

import numpy as np

from keras_osnet.data.rendered import dataset, parts, people, sequence
from keras_osnet.data.rendered.film import Film
from keras_osnet.data.rendered.renderer import Renderer
from keras_osnet.data.rendered.studio import Studio
from keras_osnet.files import read_json, write_json


class People:
    """Jobs of a set of people: "number" of a person on a "side"."""

    def __init__(self, baked, settings, folder):
        self.parts = parts.unpack(Path(baked))
        self.settings, self.folder = dataset.PeopleSettings(**settings), Path(folder)
        self.renderer = Renderer(self.settings.size)
        self.studios = {}

    def do(self, side, number):
        """Takes and writes all images of one person, then the record that says that they are complete."""
        settings = self.settings
        studio, shots = self._studio(side), dataset.shots(settings, side, number)
        person = people.person_of((settings.seed, side), number, settings.twins)
        if "clothes" in settings.without:
            person = people.in_plain_clothes(person)
        variants = people.variants(person)
        models, rows, sizes = {}, [], {}
        for shot in shots:
            variant = dataset.variant_of(shot, len(variants))
            if variant not in models:
                models[variant] = studio.model(variants[variant])
            rng = np.random.default_rng((settings.seed, side, 8, number, shot.index))
            image, body, visible = studio.image(models[variant], shot.camera - 1, rng)
            sizes[shot.file] = _write_image(self.folder / shot.file, image)
            rows.append((shot.file, shot.identity, shot.camera, *body, visible, variant))
        attributes = [people.attributes_of(variant) for variant in variants]
        content = {"side": side, "person": people.summary(person), "attributes": attributes, "rows": rows}
        write_record(self.folder, person_record(side, number), content, sizes)
        return len(rows)

    def _studio(self, side):
        if side not in self.studios:
            key = (self.settings.seed, side)
            size, without = self.settings.size, self.settings.without
            self.studios[side] = Studio(self.parts, key, size, self.renderer, without=without)
        return self.studios[side]


class Frames:
    """Jobs of a sequence: the "first" frame of a chunk of one "camera"."""

    def __init__(self, baked, settings, folder):
        self.settings, self.folder = sequence.SequenceSettings(**settings), Path(folder)
        self.film = Film(parts.unpack(Path(baked)), self.settings, Renderer((64, 128)))

    def do(self, camera, first):
        """Renders and writes a chunk of frames, then its record."""
        rows, sizes = [], {}
        for frame in range(first, min(first + sequence.CHUNK, self.settings.frames)):
            image, seen = self.film.frame(camera, frame)
            name = f"c{camera + 1}/{frame:06d}.jpg"
            sizes[name] = _write_image(self.folder / name, image)
            rows += seen
        cast = [people.summary(model.person) for model, _ in self.film.cast]
        view = self.film.view(camera)
        content = {"rows": rows, "cast": cast, "camera": camera, "view": view}
        write_record(self.folder, frames_record(camera, first), content, sizes)
        return len(sizes)


WORKSHOPS = {"people": People, "frames": Frames}


def person_record(side, number):
    return f"{side}-{number:06d}.json"


def frames_record(camera, first):
    return f"c{camera + 1}-{first:06d}.json"


def write_record(folder, name, content, sizes):
    write_json(Path(folder) / dataset.RECORDS / name, {**content, "bytes": sizes})


def read_record(folder, name):
    return read_json(Path(folder) / dataset.RECORDS / name)


def complete(folder, name):
    """Returns whether a record exists, and all files exist with the sizes in it."""
    try:
        record = read_record(folder, name)
        same = all((Path(folder) / file).stat().st_size == size for file, size in record["bytes"].items())
        return same and "rows" in record
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # an interrupted or damaged record
        return False


def _write_image(path, image):
    try:
        image.save(path, "JPEG", quality=92)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error}). What is complete is kept: run the same command again, and it goes on "
            "with the rest."
        ) from error
    return path.stat().st_size
