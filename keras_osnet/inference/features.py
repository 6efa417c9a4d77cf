"""Features of images in files and arrays, and of boxes in the frames of a video."""

from functools import cached_property
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from keras_osnet.data.listing import list_images
from keras_osnet.inference import inputs
from keras_osnet.inference.predictor import predictor_of
from keras_osnet.metrics.arguments import check_count, row_of
from keras_osnet.metrics.distances import lengths
from keras_osnet.metrics.match import MatchProbability
from keras_osnet.metrics.search import search


class FeatureExtractor:
    """Computes the features of images of people: RGB, resized to the network's input and normalised as in training.

    Resizing is bilinear with antialiasing, by Pillow on every backend. Features are the embedding after its ReLU,
    float32, not L2-normalised. Extractors and recognisers of the same network share one compiled function.

    Args:
        model: an `OSNet`, whose classifier is ignored; another network that returns (B, D) features, alone or as
            "features" among several outputs; any weights that `load_network` accepts, such as the path of a .keras or
            .pth file; or a .tflite or .onnx file or its address, which LiteRT or ONNX Runtime runs without Keras.
        batch_size: images per forward pass. Default 64.
        flip: average the features of an image and its mirror image, which takes twice the time. Default False.
        strategy: `tf.distribute.Strategy` in whose scope the model was made. Each batch is divided among its replicas,
            and files among its workers. All workers must then call the extractor. Default: one device.
        normalizer: `keras_osnet.adaptation.CameraNormalizer` that subtracts the mean feature of each camera. Features
            are then L2-normalised; compare them by the cosine. Default none.

    Attributes:
        size: (height, width) of the network's input.
        feature_dim: length of a feature.

    Raises:
        ValueError: if the model returns no (B, D) features of images or has no fixed input size, or `batch_size` is
            not a positive integer.

    Reference: paper, Section 4.1 ("512-D feature vectors extracted from the last FC layer").
    """

    output = "features"

    def __init__(self, model, *, batch_size=64, flip=False, strategy=None, normalizer=None):
        check_count("batch_size", batch_size)
        self.predictor = predictor_of(model, strategy=strategy)
        self.size, self.feature_dim = self.predictor.size, self.predictor.outputs.get(self.output)
        if not isinstance(self.feature_dim, int):
            raise ValueError(
                f"`model` must return (B, D) {self.output}. Received: a network that returns "
                f"{', '.join(self.predictor.outputs) or 'maps'}"
            )
        self.batch_size, self.flip, self.normalizer = batch_size, flip, normalizer

    @cached_property
    def network(self):
        """The Keras network that computes features of normalised images."""
        return self.predictor.network_of(self.output)

    @property
    def match(self):
        """`keras_osnet.metrics.MatchProbability` of the weights, by their preset, folder or file; None if unknown."""
        return self.match_of(self.normalizer is not None)

    def match_of(self, normalized, *, tracks=False):
        """Returns the `MatchProbability` of the weights, or None if it is unknown.

        Args:
            normalized: whether it is for features without the mean of their camera.
            tracks: whether it is for mean features of tracks.
        """
        values = self.predictor.match_probabilities[bool(normalized), bool(tracks)]
        return None if values is None else MatchProbability.from_dict(values)

    def same_person(self, first, second, *, base_rate=0.5, match=None, color="rgb"):
        """Computes the probability that two images, or two lists of images, show one person.

        Args:
            first, second: path or array of an image, or list of images of one person. The features of a list are
                averaged, each of length 1.
            base_rate: fraction of all pairs that are compared that show one person: .5 for a choice between two people,
                1 / people for one person among many strangers.
            match: `keras_osnet.metrics.MatchProbability`, best fitted on pairs of your own cameras. Default: `match` of
                this extractor, which says in `fitted_on` on whose images it was fitted.
            color: as above.

        Returns:
            float, 0..1.

        Raises:
            ValueError: if there is no `match`, `base_rate` is not between 0 and 1, or an image is not as described.
        """
        match = self.match if match is None else match
        if not isinstance(match, MatchProbability):
            raise ValueError(
                "`match` must be a MatchProbability, and given where the weights have none: `MatchProbability.fit` or "
                f"reid.py evaluate --match-probability. Received: match={match!r:.60}"
            )
        sides = [list(side) if isinstance(side, (list, tuple)) else [side] for side in (first, second)]
        if not all(sides):
            raise ValueError("`first` and `second` must hold an image. Received: an empty list")
        means = [self._mean(side, match.metric, color) for side in sides]
        return float(match(search(*means, k=1, metric=match.metric)[1][0, 0], base_rate=base_rate))

    def _mean(self, images, metric, color):
        """Returns (1, feature_dim), the mean feature of images: for the cosine, of features of length 1."""
        features = self(images, color=color)
        if metric == "cosine":
            features = features / lengths((features**2).sum(axis=1, keepdims=True))
        return features.mean(axis=0, keepdims=True)

    def __call__(self, images, *, color="rgb", cameras=None, progress=None):
        """Computes features.

        Args:
            images: list of paths or arrays, or the path of a folder: all images below it, in the order of
                `keras_osnet.data.listing.list_images`. Arrays are (h, w, 3) uint8 of any sizes; grey (h, w) and
                (h, w, 1) are converted to RGB, the fourth channel of (h, w, 4) is ignored. Images of Pillow are read as
                their files, upright and as RGB.
            color: order of the channels of arrays, "rgb" (default) or "bgr", as OpenCV reads them. Images of Pillow are
                RGB, whatever it is.
            cameras: with a `normalizer`, the camera of each image, None for an unknown one. Default: all unknown.
            progress: function of (images done, images in all), called after every batch. Default none.

        Returns:
            (N, feature_dim) float32 in the order of the images; (0, feature_dim) for an empty list.

        Raises:
            ValueError: if files cannot be read (they are named), an array is no image, the network returns NaN, or
                cameras are given without a `normalizer`, or not one per image.
        """
        row_of("color", color, inputs.COLORS)
        if isinstance(images, (str, PathLike)) and Path(images).is_dir():
            images = list_images(images)
        if isinstance(images, (str, PathLike)) and not Path(images).exists():
            raise ValueError(f"`images` must be a list, or a folder that exists. Received: {images}")
        kind = getattr(getattr(images, "dtype", None), "kind", "")  # of arrays, not of a backend's tensors
        shape = tuple(getattr(images, "shape", range(4)))
        single = len(shape) < 4 and kind not in ("U", "O") and shape != (0,)
        if isinstance(images, (str, PathLike)) or single or not hasattr(images, "__iter__"):
            raise ValueError(
                "`images` must be a list of images, or a folder. Received: a single image; wrap it in [ ]."
            )
        images = list(images)
        cameras = self._check_cameras(cameras, len(images))
        self.predictor.synchronize()
        are_paths = [isinstance(image, (str, PathLike)) for image in images]
        if any(are_paths) and not all(are_paths):
            raise ValueError(
                f"`images` must be all paths or all arrays. Received: {sum(are_paths)} paths and "
                f"{len(images) - sum(are_paths)} others"
            )
        if any(are_paths):
            if color != "rgb":
                raise ValueError(f"`color` must be 'rgb' for files. Received: color={color!r}")
            features = self._of_paths([fspath(path) for path in images], progress)
        else:
            arrays = (inputs.check_array(array, "images", number, color) for number, array in enumerate(images))
            features = self._of_arrays(arrays, len(images), color, progress)
        return self.normalizer.transform(features, cameras) if self.normalizer and images else features

    def crops(self, frames, boxes, *, color="rgb", outside="error", camera=None, progress=None):
        """Computes the features of boxes in the frames of a video.

        Args:
            frames: iterable of arrays as above, of any sizes. One batch of boxes is read ahead.
            boxes: for each frame (n, 4) numbers x0, y0, x1, y1 in pixels, x1 and y1 exclusive; n may be 0. They are
                rounded to whole pixels and clipped to the frame.
            color: order of the frames' channels, "rgb" (default) or "bgr".
            outside: treatment of a box that does not overlap its frame: "error" (default) or "skip".
            camera: with a `normalizer`, the camera of the video. Default: unknown.
            progress: function of (boxes done, boxes in all), called after every batch. Default none.

        Returns:
            (boxes of all frames, feature_dim) float32, frame by frame, in the order of the boxes. With outside="skip",
            the features of the remaining boxes, and a (boxes of all frames,) boolean array that is true for them.

        Raises:
            ValueError: if there are more or fewer frames than lists of boxes, a box is no box, or one does not overlap
                its frame (frame and box are named, from 0), or the network returns NaN.
        """
        row_of("color", color, inputs.COLORS)
        crops = inputs.Crops(frames, boxes, outside, color)
        self._check_cameras(None if camera is None else [camera], 1)
        self.predictor.synchronize()
        features = self._of_arrays(crops, crops.total, color, progress)
        if self.normalizer and len(features):
            features = self.normalizer.transform(features, [camera] * len(features))
        return (features, crops.kept) if outside == "skip" else features

    def _check_cameras(self, cameras, count):
        """Returns the cameras of the images. All errors of the normalizer come before the features are computed."""
        if self.normalizer is None and cameras is not None:
            raise ValueError("`cameras` must be None without a `normalizer`. Received: cameras of images")
        if isinstance(cameras, str) or not (cameras is None or np.iterable(cameras)):
            raise ValueError(f"`cameras` must be a list, one per image. Received: cameras={cameras!r}")
        cameras = [None] * count if cameras is None else list(cameras)
        if len(cameras) != count:
            raise ValueError(f"`cameras` must be one per image. Received: {len(cameras)} for {count} images")
        return self.normalizer.check(cameras, (count, self.feature_dim)) if self.normalizer else cameras

    def _of_paths(self, paths, progress):
        own = paths[self.predictor.own_part(len(paths))]
        try:
            features = self._predict(own, lambda path: inputs.read_resized(path, self.size), len(own), progress)
        except inputs.UnreadableFile:
            inputs.name_unreadable(own)
            raise
        return self.predictor.gather(features)

    def _of_arrays(self, arrays, total, color, progress):
        return self._predict(arrays, lambda array: inputs.array_resized(array, self.size, color), total, progress)

    def _predict(self, items, resized, total, progress):
        def load(item, rows):
            image = resized(item)
            self.predictor.normalise(np.concatenate([image, image[:, :, ::-1]]) if self.flip else image, out=rows)

        shape, dtype = self.predictor.row
        features, done = np.empty((total, self.feature_dim), "float32"), 0
        for batch in inputs.load_batches(items, load, self.batch_size, (1 + self.flip, *shape), dtype):
            rows = self.predictor.predict(batch)[self.output]
            if self.flip:
                rows = rows.reshape(-1, 2, self.feature_dim).mean(axis=1)
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                raise ValueError(
                    f"`model` must return finite {self.output}. Received: NaN or infinity for {len(bad)} images of a "
                    f"batch of {len(rows)}, first for number {done + bad[0]} (from 0)"
                )
            features[done : done + len(rows)] = rows
            done += len(rows)
            if progress:
                progress(done, total)
        return features[:done]
