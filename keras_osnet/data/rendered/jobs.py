"""The jobs of a rendering process: all images of one person; one camera's frames of a sequence."""

import json
from pathlib import Path

import numpy as np

from keras_osnet.data.rendered import dataset, parts, people
from keras_osnet.data.rendered.renderer import Renderer
from keras_osnet.data.rendered.studio import Studio
from keras_osnet.files import write_json

RECORDS = ".records"


class Workshop:
    """Holds what a process keeps between jobs."""

    def __init__(self, baked, settings, folder):
        self.parts = parts.unpack(Path(baked))
        self.settings, self.folder = dataset.PeopleSettings(**settings), Path(folder)
        self.renderer = Renderer(tuple(2 * n for n in self.settings.size))
        self.studios = {}

    def studio(self, side):
        if side not in self.studios:
            key = (self.settings.seed, side)
            self.studios[side] = Studio(self.parts, key, self.settings.size, renderer=self.renderer)
        return self.studios[side]

    def person(self, side, number):
        """Takes and writes all images of one person, then the record that says that they are complete."""
        studio, shots = self.studio(side), dataset.shots(self.settings, side, number)
        person = people.person_of((self.settings.seed, side), number, self.settings.twins)
        variants = people.variants(person)
        models, rows = {}, []
        for shot in shots:
            variant = min(int(shot.variant * len(variants)), len(variants) - 1)
            if variant not in models:
                models[variant] = studio.model(variants[variant])
            rng = np.random.default_rng((self.settings.seed, side, 8, number, shot.index))
            image, labels = studio.image(models[variant], shot.camera - 1, rng)
            size = _write_image(self.folder / shot.file, image)
            row = {
                "file": shot.file,
                "bytes": size,
                "identity": shot.identity,
                "camera": shot.camera,
                "variant": variant,
            }
            rows.append({**row, "body": labels["body"], "visible": labels["visible"]})
        for model in models.values():
            model.figure.release()
        attributes = [people.attributes_of(variant) for variant in variants]
        content = {
            "side": side,
            "number": number,
            "person": people.summary(person),
            "attributes": attributes,
            "images": rows,
        }
        write_json(record_path(self.folder, side, number), content)
        return len(rows)


def record_path(folder, side, number):
    return Path(folder) / RECORDS / f"{side}-{number:06d}.json"


def complete(folder, settings, side, number):
    """Whether a person's record is there, and every image with the size that it names."""
    try:
        record = json.loads(record_path(folder, side, number).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    expected = [shot.file for shot in dataset.shots(settings, side, number)]
    if [row["file"] for row in record["images"]] != expected:
        return False
    try:
        return all((Path(folder) / row["file"]).stat().st_size == row["bytes"] for row in record["images"])
    except FileNotFoundError:
        return False


def _write_image(path, image):
    try:
        image.save(path, "JPEG", quality=92)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error}). The people that are complete are kept: run the same command again, "
            "and it goes on with the others."
        ) from error
    return path.stat().st_size
