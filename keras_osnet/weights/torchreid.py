"""Checkpoints of torchreid's OSNets into ours, name by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_osnet.layers import BatchNorm
from keras_osnet.weights.torch_file import read_torch_file

FAMILIES = ("osnet", "osnet_ibn", "osnet_ain")
SHOWN = 5  # names listed of each kind of difference


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint brought: arrays assigned, and classifier names left out because they do not fit."""

    assigned: int
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointSettings:
    """What the names and shapes of a checkpoint say about its network. `classes` is None without classifier."""

    variant: str
    width: float
    depths: tuple[int, int, int]
    feature_dim: int
    classes: int | None


def settings_of(state):
    """Reads variant, width, depths, feature length and classes off a torchreid state.

    Args:
        state: mapping from torchreid name to array.

    Raises:
        ValueError: if the names are not those of an OSNet.
    """
    try:
        width = state["conv1.conv.weight"].shape[0] / 64
        feature_dim = state["fc.0.weight"].shape[0]
        depths = tuple(1 + max(int(b) for b in _blocks(state, stage)) for stage in (2, 3, 4))
    except (KeyError, ValueError):
        raise ValueError(
            "`source` must hold an OSNet of torchreid (conv1.conv.weight, fc.0.weight, conv2.0.conv1. ...). "
            f"Received: {len(state)} names, the first: {list(state)[:SHOWN]}"
        ) from None
    names = "\n".join(state)
    variant = "osnet_ain" if ".layers." in names else "osnet_ibn" if ".IN." in names else "osnet"
    classes = state["classifier.weight"].shape[0] if "classifier.weight" in state else None
    return CheckpointSettings(variant, width, depths, feature_dim, classes)


def load_torchreid_weights(model, source):
    """Copies the weights of a torchreid OSNet into `model`; all of them, or none and an error.

    A classifier that `model` lacks, or of another number of identities, is dropped and named in the result (as is
    one that only `model` has, which keeps its values). `num_batches_tracked` and a prefix `module.` are ignored.

    Args:
        model: `OSNet` of the variant osnet, osnet_ibn or osnet_ain.
        source: path to a .pth / .pth.tar file (PyTorch is not needed), or a mapping from name to array.

    Returns:
        `LoadReport`.

    Raises:
        ValueError: if names are missing, extra or of other shapes: they are listed, with the variant and width that
            the checkpoint looks like. `model` is left as it was.
        UnsafeCheckpointError: if the file asks for anything but tensors and plain containers.
    """
    variant = getattr(model, "variant", None)
    if variant not in FAMILIES:
        raise ValueError(f"`model` must be an OSNet of the variants {FAMILIES}. Received: variant={variant!r}")
    state = dict(source) if isinstance(source, Mapping) else read_torch_file(source)
    state = {name.removeprefix("module."): np.asarray(array) for name, array in state.items()}
    state = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    wanted = dict(_names(model))
    dropped = _unfit_classifier(state, wanted)
    state = {name: array for name, array in state.items() if name not in dropped}
    wanted = {name: variable for name, variable in wanted.items() if name not in dropped}
    arrays = {name: _to_keras(name, state[name]) for name in wanted if name in state}
    misshaped = [n for n, a in arrays.items() if a.shape != tuple(wanted[n].shape)]
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra or misshaped:
        raise ValueError(_differences(model, state, arrays, wanted, missing, extra, misshaped))
    for name, array in arrays.items():
        wanted[name].assign(array)
    return LoadReport(len(arrays), tuple(sorted(dropped)))


def _blocks(state, stage):
    return {m[1] for m in (re.match(rf"conv{stage}\.(\d+)\.conv1\.", name) for name in state) if m}


def _unfit_classifier(state, wanted):
    """Names of the classifier, on either side, if the two sides differ in it."""
    names = ("classifier.weight", "classifier.bias")
    shapes = [[np.shape(side[n])[:: -1 if side is wanted else 1] if n in side else None for n in names]
              for side in (state, wanted)]  # fmt: skip
    return {n for n in names if n in state or n in wanted} if shapes[0] != shapes[1] else set()


def _to_keras(name, array):
    if array.ndim == 4:
        if ".fc" in name and array.shape[2:] == (1, 1):  # the gate's 1x1 convolutions are dense layers here
            return array[:, :, 0, 0].T
        depthwise = name.endswith("conv2.weight")
        return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _differences(model, state, arrays, wanted, missing, extra, misshaped):
    def listed(title, names):
        return f"\n  {title} ({len(names)}): {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"

    shapes = [f"{n} {arrays[n].shape} instead of {tuple(wanted[n].shape)}" for n in misshaped]
    looks = settings_of(state)
    settings = {"variant": looks.variant, "width": looks.width, "depths": looks.depths}
    own = {"variant": model.variant, "width": model.width, "depths": model.depths}
    return (
        f"`source` does not fit `model` {own}; it looks like {settings}. Nothing was loaded."
        + (listed("missing", missing) if missing else "")
        + (listed("extra", extra) if extra else "")
        + (listed("of another shape", shapes) if shapes else "")
    )


def _names(model):
    """(torchreid name, variable) of every weight of a model."""
    ain = model.variant == "osnet_ain"
    yield from _conv_norm("conv1", model.get_layer("conv1"))
    for stage, depth in zip((2, 3, 4), model.depths, strict=True):
        for b, block in enumerate(model.get_layer(f"conv{stage}").blocks):
            yield from _block(f"conv{stage}.{b}", block, ain)
        if stage < 4:
            prefix = f"pool{stage}.0" if ain else f"conv{stage}.{depth}.0"
            yield from _conv_norm(prefix, model.get_layer(f"transition{stage}"))
    yield from _conv_norm("conv5", model.get_layer("conv5"))
    embedding = model.get_layer("embedding")
    yield from _dense("fc.0", embedding.dense)
    yield from _norm("fc.1", embedding.norm)
    if model.classes is not None:
        yield from _dense("classifier", model.get_layer("classifier"))


def _block(prefix, block, ain):
    yield from _conv_norm(f"{prefix}.conv1", block.conv1)
    convs = iter(block.stream_convs)
    for stream, t in enumerate(block.exponents):
        for i in range(t):
            if ain:
                name = f"{prefix}.conv2.{stream}.layers.{i}"
            else:
                name = f"{prefix}.conv2{'abcd'[stream]}" + (f".{i}" if t > 1 else "")
            conv = next(convs)
            yield f"{name}.conv1.weight", conv.pointwise.kernel
            yield f"{name}.conv2.weight", conv.depthwise.kernel
            yield from _norm(f"{name}.bn", conv.norm)
    gate = block.fusion.gate_of(0)
    yield from _dense(f"{prefix}.gate.fc1", gate.fc1)
    yield from _dense(f"{prefix}.gate.fc2", gate.fc2)
    yield f"{prefix}.conv3.conv.weight", block.conv3.conv.kernel
    in_residual = block.instance_norm_name == "residual"
    yield from _norm(f"{prefix}.IN" if in_residual else f"{prefix}.conv3.bn", block.conv3.norm)
    if block.instance_norm is not None:
        yield from _norm(f"{prefix}.IN", block.instance_norm)
    if block.downsample is not None:
        yield from _conv_norm(f"{prefix}.downsample", block.downsample)


def _conv_norm(prefix, layer):
    yield f"{prefix}.conv.weight", layer.conv.kernel
    yield from _norm(f"{prefix}.bn", layer.norm)


def _dense(prefix, layer):
    yield f"{prefix}.weight", layer.kernel
    yield f"{prefix}.bias", layer.bias


def _norm(prefix, layer):
    yield f"{prefix}.weight", layer.gamma
    yield f"{prefix}.bias", layer.beta
    if isinstance(layer, BatchNorm):
        yield f"{prefix}.running_mean", layer.moving_mean
        yield f"{prefix}.running_var", layer.moving_variance
