"""Makes batches of a network's size from image files, arrays and boxes of frames."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from PIL import Image

from keras_osnet.data import images
from keras_osnet.metrics.arguments import as_array, row_of

COLORS = {"rgb": slice(None), "bgr": slice(None, None, -1)}
OUTSIDE = {"error": False, "skip": True}  # whether boxes that do not overlap their frame are left out


def load_batches(items, load, batch_size, shape, dtype="float32"):
    """Yields batches in order. Threads load the next batch in the meantime.

    Args:
        items: iterable.
        load: function of an item and an array of `shape` and `dtype`, which it fills.
        batch_size: items per batch.
        shape: (n, ...), the rows of an item, of which a batch (batch_size * n, ...) consists.
        dtype: of the batches. Default float32.

    Yields:
        arrays. Their memory is used again once the next batch is asked for: new memory takes time in every batch.
    """
    items, pending, spare = iter(items), deque(), []

    def loaded():
        memory, count, loading = pending.popleft()
        deque(loading, maxlen=0)  # waits, and raises what a thread has raised
        spare.append(memory)
        return memory[:count].reshape(-1, *shape[1:])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(items, batch_size)):
            memory = spare.pop() if spare else np.empty((len(chunk), *shape), dtype)
            # A thread would only add its start to a single image.
            run = map if len(chunk) == 1 else pool.map
            pending.append((memory, len(chunk), run(load, chunk, memory)))
            if len(pending) > 1:
                yield loaded()
        while pending:
            yield loaded()


class UnreadableFile(ValueError):
    """An image file cannot be read."""


def read_resized(path, size):
    """Returns an image file as (1, *size, 3) uint8 RGB."""
    try:
        return images.read(path, size=size)[None]
    except ValueError as error:
        raise UnreadableFile(str(error)) from error


def name_unreadable(paths):
    """Reads all files, and raises a ValueError that names those that cannot be read."""

    def fault(path):
        try:
            images.read(path)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(filter(None, pool.map(fault, paths)))
    if faults:
        more = f"; and {len(faults) - 3} more" * (len(faults) > 3)
        raise ValueError(f"{len(faults)} of {len(paths)} images cannot be read: {'; '.join(faults[:3])}{more}")


def array_resized(array, size, color):
    """Returns an array that `check_array` accepts, resized to (1, *size, 3) uint8 RGB."""
    array = array.reshape(*array.shape[:2], -1)
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3][..., COLORS[color]]
    return images.resize(array, size)[None]


def check_array(array, name, number, color):
    """Returns the array of image or frame `number` of argument `name`: (h, w) or (h, w, 1, 3 or 4) uint8.

    The channels of an image of Pillow are put into the order `color`.

    Raises:
        ValueError: if it is none of these, nor an image of Pillow.
    """
    pillow = isinstance(array, Image.Image)
    array = images.from_pillow(array)[..., COLORS[color]] if pillow else as_array(name, array)
    if array.dtype != np.uint8 or array.shape[2:] not in ((), (1,), (3,), (4,)) or array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must be {'paths, or ' * (name == 'images')}arrays (h, w, 3), (h, w, 4) or (h, w) of uint8, "
            f"levels 0..255, not empty. Received: number {number} (from 0) of shape {array.shape} and type "
            f"{array.dtype}"
        )
    return array


class Crops:
    """Iterates over the boxes of a video's frames. Yields an array for each box.

    Args:
        frames, boxes, outside, color: as for `FeatureExtractor.crops`.

    Attributes:
        total: number of boxes.
        kept: (total,) bool, false for boxes that are skipped. Complete once all boxes have been yielded.
    """

    def __init__(self, frames, boxes, outside, color):
        for name, values in (("frames", frames), ("boxes", boxes)):
            if not np.iterable(values):
                raise ValueError(
                    f"`{name}` must be a list, one value for each frame of a video. Received: {name}={values!r}"
                )
        self._frames, self._skip, self._color = frames, row_of("outside", outside, OUTSIDE), color
        self._boxes = [_check_boxes(number, some) for number, some in enumerate(boxes)]
        self.total = sum(map(len, self._boxes))
        self.kept = np.ones(self.total, bool)

    def __iter__(self):
        frames, missing, place = iter(self._frames), object(), 0
        for number, boxes in enumerate(self._boxes):
            frame = next(frames, missing)
            if frame is missing:
                raise ValueError(
                    f"`frames` must be as many as `boxes`. Received: {number} frames, boxes for {len(self._boxes)}"
                )
            frame = check_array(frame, "frames", number, self._color)
            height, width = frame.shape[:2]
            corners = np.clip(np.rint(boxes.astype(float)), 0, [width, height, width, height])
            empty = ~((corners[:, 0] < corners[:, 2]) & (corners[:, 1] < corners[:, 3]))  # NaN too
            self.kept[place : place + len(boxes)] = ~empty
            place += len(boxes)
            if empty.any() and not self._skip:
                index = int(empty.argmax())
                raise ValueError(
                    f"`boxes` must overlap their frame, or be skipped by outside='skip'. Received: box {index} of "
                    f"frame {number} (both from 0), x0, y0, x1, y1 = {boxes[index].tolist()}, in a frame {width} wide "
                    f"and {height} high"
                )
            for x0, y0, x1, y1 in corners[~empty].astype(int).tolist():
                # A view would keep the whole frame, and the next frame may be in the same memory.
                yield frame[y0:y1, x0:x1].copy()
        if next(frames, missing) is not missing:
            raise ValueError(
                f"`frames` must be as many as `boxes`. Received: more frames than the boxes' {len(self._boxes)}"
            )


def _check_boxes(frame, boxes):
    boxes = as_array("boxes", boxes)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise ValueError(
            f"`boxes` must be (n, 4) numbers for every frame. Received: shape {boxes.shape} and type {boxes.dtype} for "
            f"frame {frame} (from 0)"
        )
    return boxes
