"""Preprocessing of images: size, range and normalisation."""

import math
from dataclasses import dataclass, fields

import numpy as np

RESIZINGS = ("bilinear",)


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of RGB images for a network: resizing to its input size, then (x / scale - mean) / std.

    Args:
        mean, std: mean and standard deviation of each channel, after division by `scale`. Default: ImageNet's.
        scale: level that becomes 1. Default 255.
        resizing: row of `RESIZINGS`, antialiased as in Pillow and rounded to whole levels.

    Raises:
        ValueError: if a number is not finite, `scale` or a value of `std` is not positive, or `resizing` is unknown.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    resizing: str = "bilinear"

    def __post_init__(self):
        received = f"mean={self.mean!r}, std={self.std!r}, scale={self.scale!r}"
        try:
            for name in ("mean", "std"):
                object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            object.__setattr__(self, "scale", float(self.scale))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"`mean`, `std` and `scale` must be numbers. Received: {received}") from error
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3 or not all(map(math.isfinite, getattr(self, name))):
                raise ValueError(f"`{name}` must be three finite numbers. Received: {name}={getattr(self, name)}")
        if not (0 < self.scale < math.inf and min(self.std) > 0):
            raise ValueError(f"`scale` and `std` must be positive. Received: scale={self.scale}, std={self.std}")
        if self.resizing not in RESIZINGS:
            raise ValueError(f"`resizing` must be one of {RESIZINGS}. Received: resizing={self.resizing!r}")

    @classmethod
    def of_metadata(cls, facts):
        """Returns the preprocessing in a file's metadata, a dict. Values that are missing there are ImageNet's."""
        return cls(**{field.name: facts[field.name] for field in fields(cls) if field.name in facts})


IMAGENET = Preprocessing()
MEAN, STD = np.array(IMAGENET.mean, "float32"), np.array(IMAGENET.std, "float32")


def checked(preprocessing):
    """The argument as a `Preprocessing`: one, or a dict of its arguments."""
    names = [field.name for field in fields(Preprocessing)]
    if isinstance(preprocessing, dict) and set(preprocessing) <= set(names):
        return Preprocessing(**preprocessing)
    if not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            f"`preprocessing` must be a Preprocessing, or a dict of {', '.join(names)}. Received: {preprocessing!r}"
        )
    return preprocessing


def preprocessing_of(model):
    """Returns the `Preprocessing` of a model.

    A model that has none of its own, as one that was built around an `OSNet`, takes images as its first layer does. It
    is ImageNet's where that has none either.
    """
    while model is not None and not hasattr(model, "preprocessing"):
        layers = getattr(model, "layers", ())
        model = next((layer for layer in layers if type(layer).__name__ != "InputLayer"), None)
    return getattr(model, "preprocessing", IMAGENET)


def require_training_preprocessing(model):
    """Raises a ValueError unless a model takes images as the training pipelines make them, with ImageNet's values."""
    if preprocessing_of(model) != IMAGENET:
        raise ValueError(
            "`weights` must be of a network that takes images normalised by ImageNet's mean and standard deviation, as "
            f"training does. Received: {preprocessing_of(model)}"
        )


def preprocess_input(images, preprocessing=IMAGENET):
    """Normalises images: (x / scale - mean) / std per channel, by default with ImageNet's mean and standard deviation.

    Args:
        images: (..., 3) RGB levels 0..255, NumPy or tensor, of any numeric type.
        preprocessing: `Preprocessing` of the network, `model.preprocessing`, or a dict of its arguments. Default:
            ImageNet's.

    Returns:
        float32 of the same shape: an array for an array, a tensor for a tensor.

    Raises:
        ValueError: if the last axis is not RGB, values are masked, or `preprocessing` is none.
    """
    if isinstance(images, (list, tuple)):
        try:
            images = np.asarray(images)
        except ValueError as error:
            raise ValueError(f"`images` must be an array, with rows of one length. Received: {error}") from error
    shape = getattr(images, "shape", None)
    if shape is None or len(shape) == 0 or shape[-1] != 3:
        received = type(images).__name__ if shape is None else f"shape={tuple(shape)}"
        raise ValueError(f"`images` must be RGB, channels last: (..., 3). Received: {received}")
    preprocessing = checked(preprocessing)
    if isinstance(images, np.ndarray):
        if images.dtype.kind in "cmMOSUV":
            raise ValueError(f"`images` must be real numbers. Received: images.dtype={images.dtype}")
        if np.ma.is_masked(images):
            raise ValueError(f"`images` must have no masked values. Received: {np.ma.count_masked(images)} of them")
        images = np.asarray(images)  # of a class of its own, such as a matrix
        return normalise_into(np.empty(images.shape, "float32"), images, preprocessing)
    means, factors = _means_and_factors(preprocessing)
    if str(getattr(images.dtype, "name", images.dtype)).rpartition(".")[2] != "float32":
        from keras import ops  # for tensors only: arrays need no Keras. Float32 ones may be of a tf.data pipeline

        images = ops.cast(images, "float32")
    return (images - means) * factors


def normalise_into(out, images, preprocessing):
    """Normalises arrays as `preprocess_input` into `out`, contiguous float32 of the shape of the images. Returns it."""
    # On whole rows of pixels: on an axis of three, NumPy takes 20 times as long.
    pixels = images.shape[-2] if images.ndim > 1 else 1
    means, factors = (np.tile(values, pixels) for values in _means_and_factors(preprocessing))
    shape = (*images.shape[:-2], 3 * pixels)
    rows = out.reshape(shape)
    np.subtract(images.reshape(shape), means, out=rows, dtype="float32", casting="unsafe")
    rows *= factors
    return out


def _means_and_factors(preprocessing):
    mean, std = (np.array(values, "float32") for values in (preprocessing.mean, preprocessing.std))
    return preprocessing.scale * mean, 1 / (preprocessing.scale * std)
