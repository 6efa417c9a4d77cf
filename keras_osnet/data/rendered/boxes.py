"""Boxes of people in a camera's image: left, top, right, bottom in pixels."""

import numpy as np

from keras_osnet.data.rendered import cameras

# Mean and standard deviation of the margins that detectors leave, as fractions of the body's width and height.
MARGINS = (0.04, 0.018, 0.04, 0.014), (0.06, 0.024, 0.06, 0.022)
# Now and then a box is poor: feet, a side or the head cut off, or far too wide.
POOR_SHARE = 0.08
POOR = ((0, 0, 0, -0.22), (-0.2, 0, 0.1, 0), (0.1, 0, -0.2, 0), (0, -0.08, 0, 0), (0.25, 0.1, 0.25, 0.1))


def body_box(camera, points):
    """The smallest box around points (n, 3) of the world."""
    seen = cameras.project(camera, points)[:, :2]
    return np.concatenate([seen.min(0), seen.max(0)])


def detected(camera, body, rng):
    """The box that a detector cuts around the body's box."""
    wide, tall = body[2:] - body[:2]
    size = np.array([wide, tall, wide, tall])
    margins = rng.normal(*MARGINS) * size
    if rng.random() < POOR_SHARE:
        margins += np.array(POOR[int(rng.integers(len(POOR)))]) * size * rng.uniform(0.3, 1)
    box = body + margins * [-1, -1, 1, 1]
    # Detectors of people often answer with one aspect; others cut as tightly as the arms allow.
    wanted = (box[3] - box[1]) * (0.5 if camera.tight < 0.6 else 0.36)
    missing = max(wanted - (box[2] - box[0]), 0) / 2
    return box + np.array([-missing, 0, missing, 0])


def part_inside(body, box):
    """Returns the fraction of the body's box inside the other box."""
    size = np.minimum(body[2:], box[2:]) - np.maximum(body[:2], box[:2])
    return float(np.prod(np.maximum(size, 0)) / np.prod(body[2:] - body[:2]))


def in_image(body, box, size):
    """The body's box in pixels of an image of `size` that shows `box`."""
    scale = np.array(size) / (box[2:] - box[:2])
    return [round(float(v), 1) for v in (*((body[:2] - box[:2]) * scale), *((body[2:] - box[:2]) * scale))]
