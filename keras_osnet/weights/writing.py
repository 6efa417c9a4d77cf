"""Writes weights as files for torchreid, and for programs that read torchreid's files."""

import numpy as np

from keras_osnet.files import write_atomically
from keras_osnet.weights.torchreid import FAMILIES, variables_of

PRECISIONS = ("float32", "float16")


def to_torchreid(model):
    """Returns the weights of an OSNet as a torchreid state: mapping from torchreid name to array.

    Raises:
        ValueError: if torchreid has no network of this variant, or none with these weights, such as the power of the
            pooling "gem" or those of a quantized network.
    """
    if getattr(model, "variant", None) not in FAMILIES:
        raise ValueError(
            f"`model` must be an OSNet of the variants {FAMILIES}. Received: {getattr(model, 'variant', model)!r}"
        )
    named = dict(variables_of(model))
    placed = {id(variable) for variable in named.values()}
    lost = [weight.path for weight in model.weights if id(weight) not in placed]
    if lost:
        raise ValueError(
            f"`model` must have no weights that torchreid's networks lack. Received: {', '.join(lost[:5])}"
        )
    return {name: _to_torch(name, variable.numpy()) for name, variable in named.items()}


def save_torchreid_weights(model, path, *, precision="float32"):
    """Writes the weights of an OSNet as a safetensors file with torchreid's names.

    `load_torchreid_weights`, `OSNet(weights=path)`, and in torchreid
    `model.load_state_dict(safetensors.torch.load_file(path))` take it.

    Args:
        model: `OSNet` of the variant osnet, osnet_ibn or osnet_ain.
        path: file to write.
        precision: "float32", or "float16" for the kernels; norms and biases stay float32.

    Raises:
        ValueError: as `to_torchreid`, for another precision, or a kernel beyond float16's range.
        OSError: if it cannot be written.
    """
    from safetensors.numpy import save

    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: precision={precision!r}")
    state = to_torchreid(model)
    kernels = {name for name, array in state.items() if array.ndim > 1}
    with np.errstate(over="ignore"):
        rounded = {name: array.astype(precision if name in kernels else "float32") for name, array in state.items()}
    beyond = [name for name, array in rounded.items() if not np.isfinite(array).all()]
    if beyond:
        raise ValueError(f"`model` must have finite weights within the range of {precision}. Received: {beyond}")
    write_atomically(path, save({name: np.ascontiguousarray(array) for name, array in rounded.items()}))


def _to_torch(name, array):
    """Returns an array in PyTorch's order of axes: the inverse of reading a checkpoint."""
    if array.ndim == 4:
        depthwise = name.endswith("conv2.weight")
        return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(3, 2, 0, 1)
    if array.ndim == 2:
        gate = ".gate." in name
        return array.T[:, :, None, None] if gate else array.T
    return array
