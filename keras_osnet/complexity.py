"""Parameters and mult-adds, counted as the paper counts them."""

import sys
from dataclasses import dataclass
from math import prod
from types import ModuleType

import keras

from keras_osnet.layers.block import Stage
from keras_osnet.layers.composite import Composite
from keras_osnet.layers.norms import parameters
from keras_osnet.models.heads import ClassLayer

DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
COUNTED = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, *DEPTHWISE, keras.layers.Dense)


@dataclass(frozen=True)
class Complexity:
    """`params`: learnt numbers, each shared one once. `mult_adds`: multiply-adds for one image."""

    params: int
    mult_adds: int


def complexity(model):
    """Counts the parameters and the mult-adds of a model.

    Mult-adds of a convolution or dense layer: output positions x kernel size, plus one per output value where there
    is a bias; a layer that is called several times (a shared gate) counts each time. Norms, activations, pooling and
    this package's layers of classes in training count nothing. Running statistics are no parameters.

    Args:
        model: a functional or sequential model with one input, an image; sides that are None count as the default
            256 x 128.

    Returns:
        `Complexity` with `.params` and `.mult_adds`.

    Raises:
        ValueError: for another model, another layer with a kernel, such as a transposed or separable convolution, or a
            layer that holds such layers and is no `Composite`.

    Reference: paper, Tables 1 and 6 (width 1.0 at 256 x 128: 2.2M, 978.9M).
    """
    if not isinstance(model, keras.Model) or not isinstance(getattr(model, "input_shape", None), tuple):
        raise ValueError(f"`model` must be a functional or sequential model with one input. Received: {model!r}")
    default = (256, 128, 3)
    shape = (1, *(side or default[i] for i, side in enumerate(model.input_shape[1:])))
    return Complexity(parameters(model), _mult_adds(model, [shape]))


def depth(model):
    """Layers with weights on the longest way through an `OSNet`, as the paper counts them.

    The stages count themselves; conv1, two transitions, conv5, fc and classifier are 6 more.

    Args:
        model: the OSNet, with or without classifier.

    Reference: paper, Section 4.3: 78 layers at depths (2, 2, 2), 210 at (3, 8, 6).
    """
    return sum(layer.depth for layer in model.layers if isinstance(layer, Stage)) + 6


class _Counter(keras.layers.Layer):
    """Stands in for a layer: has its outputs, which are symbolic, and adds its mult-adds to a list at each call."""

    def __init__(self, layer, counts):
        super().__init__(name=layer.name)
        self.count = lambda *inputs, **options: _count(layer, counts, *inputs, **options)

    def compute_output_spec(self, *inputs, **options):
        return self.count(*inputs, **options)


def _mult_adds(model, shapes):
    """Mult-adds of a model for inputs of these shapes, in the order of its own."""
    counts, inputs = [], [keras.Input(shape[1:], shape[0]) for shape in shapes]

    def stand_in(operation):
        return _Counter(operation, counts) if isinstance(operation, keras.layers.Layer) else operation

    alone = isinstance(model, keras.Sequential)  # a functional model may have its inputs in a list or dict
    inputs = inputs[0] if alone else keras.tree.pack_sequence_as(model.input, inputs)
    keras.models.clone_model(model, inputs, clone_function=stand_in)
    return sum(counts)


def _count(layer, counts, *inputs, **options):
    """The symbolic outputs of a layer, whose mult-adds are appended to `counts`."""
    if isinstance(layer, Composite):
        return layer.flow(*inputs, lambda part, x: _count(part, counts, x))
    outputs = layer.compute_output_spec(*inputs, **options)
    if isinstance(layer, keras.Model):
        counts.append(_mult_adds(layer, [each.shape for each in keras.tree.flatten(inputs)]))
    elif isinstance(layer, COUNTED):
        kernel, size = layer.kernel.shape, prod(outputs.shape)
        # A depthwise kernel (k, k, C, 1) makes C outputs per position, any other one its last side.
        made = kernel[-1] * kernel[-2] if isinstance(layer, DEPTHWISE) else kernel[-1]
        counts.append(size // made * prod(kernel) + layer.use_bias * size)
    elif any("kernel" in weight.name for weight in layer.weights) and not isinstance(layer, ClassLayer):
        raise ValueError(
            f"`model` must have no layers with kernels but {', '.join(kind.__name__ for kind in COUNTED)}, models and "
            f"`keras_osnet.layers.Composite`s. Received: a {type(layer).__name__} named {layer.name!r}"
        )
    return outputs


class _Callable(ModuleType):
    """This module, which `keras_osnet.complexity` is in place of the function if it is imported before Keras."""

    def __call__(self, model):
        return complexity(model)


sys.modules[__name__].__class__ = _Callable
