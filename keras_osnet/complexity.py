"""Parameters and mult-adds, counted as the paper counts them."""

from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import keras
import numpy as np

from keras_osnet.models import VARIANTS

COUNTED = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class Complexity:
    """`params`: learnt numbers, each shared one once. `mult_adds`: multiply-adds for one picture."""

    params: int
    mult_adds: int


def complexity(model):
    """Counts the parameters and the mult-adds of a model.

    Mult-adds of a convolution or dense layer: output positions x kernel size, plus one per output value where there
    is a bias; a layer that is called several times (a shared gate) counts each time. Norms, activations and pooling
    count nothing. Running statistics are no parameters.

    Args:
        model: a built `keras.Model` with one picture-like input; sides that are None count as the default 256 x 128.

    Returns:
        `Complexity` with `.params` and `.mult_adds`.

    Reference: paper, Tables 1 and 6 (width 1.0 at 256 x 128: 2.2M, 978.9M).
    """
    default = (256, 128, 3)
    shape = [side or default[i] for i, side in enumerate(model.input_shape[1:])]
    total = 0

    def recorded(layer):
        call = layer.call

        def record(*args, **kwargs):
            nonlocal total
            outputs = call(*args, **kwargs)
            kernel, size = layer.kernel.shape, int(np.prod(outputs.shape))
            # A depthwise kernel (k, k, C, 1) makes C outputs per position, any other one its last side.
            made = kernel[-1] * kernel[-2] if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel[-1]
            total += size // made * int(np.prod(kernel)) + layer.use_bias * size
            return outputs

        return record

    with ExitStack() as stack:
        # Keras has no public way to walk nested layers.
        for layer in model._flatten_layers(include_self=False):
            if isinstance(layer, COUNTED):
                stack.enter_context(mock.patch.object(layer, "call", recorded(layer)))
        model(np.zeros((1, *shape), "float32"), training=False)
    params = sum(int(np.prod(w.shape)) for w in model.weights if w.name not in STATISTICS)
    return Complexity(params, total)


def depth(model):
    """Layers of an `OSNet` on its longest way, counted as the paper does.

    2 + 2 T + 2 for each block (conv1, conv3; two convolutions for each Lite 3x3 of the longest stream, one for a full
    3x3; the two dense layers of an input-dependent gate), and conv1, two transitions, conv5, fc, classifier.

    Args:
        model: the OSNet, with or without classifier.

    Reference: paper, Section 4.3: 78 layers at depths (2, 2, 2), 210 at (3, 8, 6).
    """
    row = VARIANTS[model.variant]
    stream = max(row.exponents) * (1 if row.convolution == "full" else 2)
    gate = 2 if row.fusion in ("unified_gate", "separate_gates", "streamwise_gate") else 0
    return sum(model.depths) * (2 + stream + gate) + 6
