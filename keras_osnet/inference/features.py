"""Features of pictures, from files or arrays, and of boxes in the frames of a video."""

from itertools import islice
from os import PathLike
from pathlib import Path

import keras
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from keras_osnet.models import OSNet
from keras_osnet.preprocessing import preprocess_input
from keras_osnet.weights import load_network

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def pictures_in(folder):
    """Lists the picture files below a folder, in the folders within it too.

    Args:
        folder: its path. Hidden files and folders in it are left out.

    Returns:
        list of `Path`, sorted: the order in which a `FeatureExtractor` takes them.

    Raises:
        ValueError: if it is not a folder, or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"`folder` must be a folder. Received: {str(folder)!r}")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    paths = sorted(path for path in files if not any(part[0] == "." for part in path.relative_to(folder).parts))
    if not paths:
        raise ValueError(f"`folder` must hold pictures ({', '.join(SUFFIXES)}). Received: {str(folder)!r}")
    return paths


class FeatureExtractor:
    """Features of pictures of people, as the network was trained to take them in.

    RGB, resized to the network's input (bilinear, antialiased), normalised; the output is the embedding after its
    ReLU, float32, not L2-normalised.

    Args:
        model: an `OSNet` (a classifier on top is left out), another network that gives (B, D) features of pictures,
            alone or as "features" among several outputs, or the path of a .keras, .pth or .pth.tar file that holds one.
        batch_size: pictures per forward pass. Default 64.
        flip: give the mean of the features of a picture and of its mirror image, at twice the time. Default False.
        strategy: `tf.distribute.Strategy` in whose scope the model was made: each batch is spread over its replicas,
            files over its workers, all of which have to call it then. Default: one device.

    Raises:
        ValueError: if the model does not give (B, D) features of pictures, or has no fixed input size.

    Reference: paper, Section 4.1 ("512-D feature vectors extracted from the last FC layer").
    """

    def __init__(self, model, *, batch_size=64, flip=False, strategy=None):
        if isinstance(model, (str, PathLike)):
            model, _ = load_network(model)
        if isinstance(model, keras.Model) and isinstance(model.output_shape, list):  # several outputs
            if isinstance(model.output, dict) and "features" in model.output:
                model = keras.Model(model.inputs[0], model.output["features"], name=model.name)
        if not (isinstance(model, keras.Model) and _gives_features(model)):
            raise ValueError(
                "`model` must be an OSNet or another network from pictures to (B, D) features, or the path of one. "
                f"Received: {type(model).__name__}"
            )
        self.size = tuple(model.input_shape[1:3])
        if None in self.size:
            raise ValueError(f"`model` must have a fixed input size. Received: input_shape={model.input_shape}")
        features = model.get_layer("embedding").output if isinstance(model, OSNet) else model.outputs[0]
        self.network = keras.Model(model.inputs[0], features)
        if flip:
            picture = keras.Input(model.input_shape[1:])
            both = [self.network(picture), self.network(keras.ops.flip(picture, axis=2))]
            self.network = keras.Model(picture, keras.layers.Average(dtype="float32")(both))
        self.batch_size, self.strategy, self._compute = batch_size, None, self.network.predict_on_batch
        if strategy is not None and strategy.num_replicas_in_sync > 1:
            from keras_osnet.training.replicas import predictor

            self.strategy, self._compute = strategy, predictor(self.network, strategy)

    def __call__(self, pictures, *, progress=None):
        """Computes features.

        Args:
            pictures: paths, or arrays (h, w, 3) uint8 RGB of any sizes; grey (h, w) and RGBA (h, w, 4) will do, alpha
                is dropped. In order; none is left out. Or the path of a folder: all pictures below it, in the order
                of `pictures_in`. A JPEG file that says which side is up (EXIF) is turned.
            progress: function of (pictures done, of how many), called after every batch. Default none.

        Returns:
            (N, feature_dim) float32.

        Raises:
            ValueError: if there is no picture, or if files cannot be read (they are named).
        """
        if isinstance(pictures, (str, PathLike)) and Path(pictures).is_dir():
            pictures = pictures_in(pictures)
        single = isinstance(pictures, np.ndarray) and pictures.ndim < 4 and pictures.dtype.kind != "U"
        if isinstance(pictures, (str, PathLike)) or single:
            raise ValueError(
                "`pictures` must be a list of pictures, or a folder. Received: a single picture; wrap it in [ ]."
            )
        pictures = list(pictures)
        if not pictures:
            raise ValueError("`pictures` must not be empty.")
        self._begin()
        if isinstance(pictures[0], (str, PathLike)):
            return self._of_all_paths([str(path) for path in pictures], progress)
        return self._of_arrays(pictures, len(pictures), progress)

    def crops(self, frames, boxes, *, progress=None):
        """Computes the features of boxes in the frames of a video.

        Args:
            frames: iterable of (h, w, 3) uint8 RGB arrays, read one at a time; any sizes.
            boxes: of each frame (n, 4) numbers x0, y0, x1, y1 in pixels, x1 and y1 beyond the last; n may be 0. They
                are rounded to whole pixels and cut at the edges of the frame.
            progress: function of (boxes done, of how many), called after every batch. Default none.

        Returns:
            (boxes of all frames, feature_dim) float32, frame by frame, in the order of the boxes.

        Raises:
            ValueError: if there are more frames than lists of boxes or fewer, or if a box is no box, or has nothing of
                the frame in it (frame and box are named, from 0).
        """
        boxes = [_boxes(number, some) for number, some in enumerate(boxes)]
        self._begin()
        return self._of_arrays(_crops(frames, boxes), sum(map(len, boxes)), progress)

    def _begin(self):
        if self.strategy is not None:
            from keras_osnet.training.replicas import share_statistics

            share_statistics(self.network)

    def _of_all_paths(self, paths, progress):
        if self.strategy is None:
            return self._of_paths(paths, progress)
        from keras_osnet.training.replicas import gathered, own_share

        own = paths[own_share(self.strategy, len(paths))]
        features = self._of_paths(own, progress) if own else np.empty((0, self.network.output_shape[-1]), "float32")
        return gathered(self.strategy, features)

    def _of_paths(self, paths, progress):
        from keras_osnet.data.images import naming_unreadable
        from keras_osnet.data.pipeline import picture_batches

        with naming_unreadable(paths):
            batches = picture_batches(paths, size=self.size, batch_size=self.batch_size)
            features = self._predict(batches.as_numpy_iterator(), len(paths), progress)
        # TensorFlow takes pictures as they are stored.
        turned = [i for i, path in enumerate(paths) if is_turned(path)]
        if turned:
            features[turned] = self._of_arrays((upright(paths[i]) for i in turned), len(turned), None)
        return features

    def _of_arrays(self, arrays, total, progress):
        resized = (self._resized(number, array) for number, array in enumerate(arrays))
        batches = iter(lambda: list(islice(resized, self.batch_size)), [])
        return self._predict((preprocess_input(np.stack(batch)) for batch in batches), total, progress)

    def _resized(self, number, array):
        array = np.asarray(array)
        if array.dtype != np.uint8 or array.shape[2:] not in ((), (3,), (4,)) or array.ndim < 2 or 0 in array.shape:
            raise ValueError(
                "`pictures` must be paths, or arrays (h, w, 3) of uint8, not empty. "
                f"Received: number {number} (from 0) of shape {array.shape} and type {array.dtype}"
            )
        return np.asarray(Image.fromarray(array).convert("RGB").resize(self.size[::-1], Image.BILINEAR))

    def _predict(self, batches, total, progress):
        features, done = np.empty((total, self.network.output_shape[-1]), "float32"), 0
        for batch in batches:
            # A last batch of another size would be traced anew, for seconds.
            count = len(batch)
            if done and count < self.batch_size:
                batch = np.concatenate([batch, np.zeros((self.batch_size - count, *batch.shape[1:]), batch.dtype)])
            features[done : done + count] = self._compute(batch)[:count]
            done += count
            if progress:
                progress(done, total)
        return features


def is_turned(path):
    """Whether a JPEG file is stored with another side up. Reads the head of the file only, a tenth of a millisecond."""
    try:
        with Image.open(path, formats=("JPEG",)) as picture:
            return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except UnidentifiedImageError:  # no JPEG
        return False


def upright(path):
    """A picture file as (h, w, 3) uint8 RGB, turned as its EXIF says."""
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _boxes(frame, boxes):
    boxes = np.asarray(boxes)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise ValueError(
            f"`boxes` must be (n, 4) numbers for every frame. Received: shape {boxes.shape} and type {boxes.dtype} for "
            f"frame {frame} (from 0)"
        )
    return boxes


def _crops(frames, boxes):
    frames, missing = iter(frames), object()
    for number, some in enumerate(boxes):
        frame = next(frames, missing)
        if frame is missing:
            raise ValueError(f"`frames` must be as many as `boxes`. Received: {number} frames, boxes for {len(boxes)}")
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                "`frames` must be (h, w, 3) arrays of uint8. "
                f"Received: frame {number} (from 0) of shape {frame.shape} and type {frame.dtype}"
            )
        for index, box in enumerate(some):
            yield _crop(frame, box, number, index)
    if next(frames, missing) is not missing:
        raise ValueError(f"`frames` must be as many as `boxes`. Received: more frames than the boxes' {len(boxes)}")


def _crop(frame, box, number, index):
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(box), 0, [width, height, width, height])
    if not (x0 < x1 and y0 < y1):  # NaN too
        raise ValueError(
            f"`boxes` must have something of their frame in them. Received: box {index} of frame {number} (both from "
            f"0), x0, y0, x1, y1 = {box.tolist()}, in a frame {width} wide and {height} high"
        )
    return frame[int(y0) : int(y1), int(x0) : int(x1)]


def _gives_features(model):
    inputs, outputs = model.input_shape, model.output_shape
    return all(isinstance(shape, tuple) for shape in (inputs, outputs)) and (len(inputs), len(outputs)) == (4, 2)
