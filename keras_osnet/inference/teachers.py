"""Trained networks whose outputs a new network learns to give."""

import keras
import numpy as np
from keras import ops

from keras_osnet.inference.predictor import predictor_of
from keras_osnet.inference.runtimes import RUNTIMES
from keras_osnet.preprocessing import IMAGENET


class Teachers(keras.layers.Layer):
    """Outputs of trained networks in inference, without a gradient, for the normalised images of a training step.

    The networks do not belong to the layer: they are neither trained nor saved with it. A network with another input
    size or normalisation gets resized (bilinear, antialiased) or normalised images.

    Args:
        models: list of networks, or of what `FeatureExtractor` accepts: presets, weights, .tflite and .onnx files.
        output: "features" (default), or "logits" for networks with a classifier of the same classes.
        preprocessing: `Preprocessing` of the images that the layer gets. Default: ImageNet's.

    Attributes:
        sizes: list of (height, width), the input size of each network.

    Input shape: (B, H, W, 3). Output shape: (B, networks, D), float32. D is the length of the longest output; others
        are filled up with zeros.

    Raises:
        ValueError: if `models` is no list, if a network cannot be read or lacks the output, if its output of images of
            noise is not finite, or if logits have different lengths.
        ImportError: for a .tflite or .onnx file on another backend than TensorFlow.
    """

    def __init__(self, models, output="features", preprocessing=IMAGENET, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        if not isinstance(models, list | tuple):  # a name would be its letters
            raise ValueError(f"`models` must be a list of networks. Received: models={models!r}")
        self.output_name, self.preprocessing = output, preprocessing
        self.sizes, lengths, self._functions = [], [], []
        for model in models:
            predictor = predictor_of(model, classifier=output == "logits")
            self.sizes.append(predictor.size)
            lengths.append(_checked_length(model, predictor, output))
            compute = _by_file if isinstance(predictor, tuple(RUNTIMES.values())) else _by_keras
            self._functions.append(compute(predictor, output))
        if not lengths or (output == "logits" and len(set(lengths)) > 1):
            raise ValueError(f"`models` must be one or more networks, of the same classes. Received: {lengths}")
        self.lengths = tuple(lengths)

    def call(self, images):
        scale, mean, std = self.preprocessing.scale, self.preprocessing.mean, self.preprocessing.std
        levels = ops.clip((ops.cast(images, "float32") * np.float32(std) + np.float32(mean)) * scale, 0.0, scale)
        levels, rows, longest = levels * (255 / scale), [], max(self.lengths)
        for function, length in zip(self._functions, self.lengths, strict=True):
            rows.append(ops.pad(function(levels), ((0, 0), (0, longest - length))))
        return ops.stop_gradient(ops.stack(rows, axis=1))

    def get_config(self):
        raise ValueError("A network with `Teachers` cannot be saved. Save the network that `with_objective` was given.")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.lengths), max(self.lengths))


def _checked_length(model, predictor, output):
    length = predictor.outputs.get(output)
    if not isinstance(length, int):
        raise ValueError(f"A teacher must return {output}. Received: {model}, with {', '.join(predictor.outputs)}")
    noise = np.random.default_rng(0).integers(0, 256, (2, *predictor.size, 3), "uint8")
    values = predictor.predict(predictor.normalise(noise))[output]
    if not np.isfinite(values).all():
        raise ValueError(f"A teacher must return finite {output}. Received: NaN or infinity, from {model}")
    return length


def _by_keras(predictor, output):
    network = predictor.network_of(output)

    def compute(levels):
        levels = _resized(levels, predictor.size)
        return ops.cast(network(predictor.normalise(levels), training=False), "float32")

    return compute


def _by_file(predictor, output):
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"A .tflite or .onnx file as teacher needs Keras on TensorFlow. Received: {type(predictor).__name__}"
        )
    import tensorflow as tf

    def numbers(levels):
        return predictor.predict(predictor.normalise(np.rint(levels).astype("uint8")))[output].astype("float32")

    def compute(levels):
        levels = _resized(levels, predictor.size)
        return tf.ensure_shape(tf.numpy_function(numbers, [levels], "float32"), (None, predictor.outputs[output]))

    return compute


def _resized(levels, size):
    if tuple(levels.shape[1:3]) == size:
        return levels
    return ops.clip(ops.image.resize(levels, size, "bilinear", antialias=True, data_format="channels_last"), 0.0, 255.0)
