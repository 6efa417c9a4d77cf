"""Loads checkpoints of torchreid's OSNets, name by name."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from keras_osnet.files import path_of
from keras_osnet.weights.bounds import check_size, check_values, width_of
from keras_osnet.weights.card import UNKNOWN, Card
from keras_osnet.weights.formats import read_state
from keras_osnet.weights.names import NECK, strip, unwrap

FAMILIES = ("osnet", "osnet_ibn", "osnet_ain")
SHOWN = 5  # names listed of each kind of difference


@dataclass(frozen=True)
class LoadReport:
    """Report about loaded weights.

    Args:
        assigned: number of assigned arrays.
        dropped: names of a classifier that was left out because it does not fit.
        stripped: removed keys of dictionaries and prefixes of names: ("state_dict", "module.").
        preset: name of the preset, if the file is a preset.
        card: facts about the weights: training set, scores, licences.
        digest: digest of the weights below the classifier, if facts are known. A training changes it.
    """

    assigned: int
    dropped: tuple[str, ...] = ()
    stripped: tuple[str, ...] = ()
    preset: str | None = None
    card: Card = UNKNOWN
    digest: str | None = None

    @property
    def training_set(self):
        """Name of the dataset that the weights were trained on, None if unknown."""
        return self.card.training_set


@dataclass(frozen=True)
class CheckpointSettings:
    """Settings of a network from the names and shapes of its checkpoint. `classes` is None without a classifier."""

    variant: str
    width: float
    depths: tuple[int, int, int]
    feature_dim: int
    classes: int | None
    neck: str


def settings_of(state):
    """Returns variant, width, depths, feature length and classes of a torchreid state.

    Args:
        state: mapping from torchreid name to array.

    Raises:
        ValueError: if the names are not those of an OSNet.
    """
    names = "\n".join(state)
    variant = "osnet_ain" if ".layers." in names else "osnet_ibn" if ".IN." in names else "osnet"
    sides = {name: np.shape(state.get(name)) for name in ("conv1.conv.weight", "fc.0.weight", "classifier.weight")}
    stem, feature, classifier = sides.values()
    depths = tuple(_depth(state, stage) for stage in (2, 3, 4))
    if not (stem and feature and all(depths)):
        raise ValueError(
            "it must hold an OSNet of torchreid (conv1.conv.weight, fc.0.weight, conv2.0.conv1. ...). "
            f"Received: {len(state)} names, the first: {[name[:80] for name in list(state)[:SHOWN]]}"
        )
    classes, neck = classifier[0] if classifier else None, "bnneck" if f"{NECK}.weight" in state else "fc"
    ends = [np.shape(state.get(f"{name}.conv.weight")) for name in (*(f"conv{n}.0.conv3" for n in (2, 3, 4)), "conv5")]
    width = width_of([stem[0], *(end[0] for end in ends)]) if all(ends) else None
    settings = CheckpointSettings(variant, width or stem[0] / 64, depths, feature[0], classes, neck)
    check_size(asdict(settings), sum(np.size(array) for array in state.values()))
    return settings


def load_torchreid_weights(model, source):
    """Copies the weights of a torchreid OSNet into `model`. After an error, the model has its previous weights.

    A classifier that `model` lacks, or with another number of identities, is dropped. A classifier that only `model`
    has keeps its values. A model with the neck "bnneck" drops the shift of the last norm of the neck "fc". The result
    names all of these. Counters of batches are ignored. Dictionaries around the state and prefixes of names ("module.",
    ...) are removed and named in the result.

    Args:
        model: `OSNet` of the variant osnet, osnet_ibn or osnet_ain.
        source: path of a PyTorch, safetensors or ONNX file (PyTorch is not needed), a mapping from name to array, or
            the dictionary that `torch.load` returns.

    Returns:
        `LoadReport`.

    Raises:
        ValueError: if names are missing, extra or of other shapes, or values are NaN, infinite or no real numbers. The
            error lists the names, and the variant and width of the checkpoint. Also if `model` is quantized. It is not
            changed.
        UnsafeCheckpointError: if the file holds anything but tensors and plain containers.
    """
    if not isinstance(source, Mapping):
        return assign(model, *read_state(path_of("source", source)))
    inner, keys = unwrap(source)
    others = [name for name in inner if not isinstance(name, str)]
    if others:
        raise ValueError(f"`source` must have names that are text. Received: {others[0]!r:.80}")
    state, prefixes = strip(inner)
    return assign(model, {name: _without_torch(value) for name, value in state.items()}, keys + prefixes)


def assign(model, state, stripped=()):
    """Does the work of `load_torchreid_weights` for a state with plain names."""
    variant = getattr(model, "variant", None)
    if variant not in FAMILIES:
        raise ValueError(f"`model` must be an OSNet of the variants {FAMILIES}. Received: variant={variant!r}")
    if whole := [variable.path for variable in model.variables if "int8" in str(variable.dtype)]:
        raise ValueError(f"`model` must not be quantized: load the weights first. Received: integers in {whole[0]}")
    state = {name: np.asarray(array) for name, array in state.items()}
    wanted = dict(variables_of(model))
    dropped = _unfit_classifier(state, wanted)
    if model.neck == "bnneck" and f"{NECK}.weight" not in state:
        state = {name.replace("fc.1.", f"{NECK}."): array for name, array in state.items()}
        dropped |= {f"{NECK}.bias"} & set(state)
    state = {name: array for name, array in state.items() if name not in dropped}
    wanted = {name: variable for name, variable in wanted.items() if name not in dropped}
    arrays = {name: _to_keras(name, state[name]) for name in wanted if name in state}
    misshaped = [n for n, a in arrays.items() if a.shape != tuple(wanted[n].shape)]
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra or misshaped:
        raise ValueError(_differences(model, state, arrays, wanted, missing, extra, misshaped))
    if strange := [name for name, array in arrays.items() if array.dtype.kind in "cmMOSU"]:
        raise ValueError(f"`source` must hold real numbers. Received: {strange[0]} of {arrays[strange[0]].dtype}")
    arrays = {name: array.astype("float32") for name, array in arrays.items()}
    check_values(arrays.items())
    for name, array in arrays.items():
        wanted[name].assign(array)
    return LoadReport(len(arrays), tuple(sorted(dropped)), tuple(stripped))


def _without_torch(value):
    """A tensor of PyTorch as one that NumPy takes: on the CPU, without a gradient, not of bfloat16."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return value.float() if str(value.dtype) == "torch.bfloat16" else value


def digest_of(model):
    """Returns the SHA-256 of the weights below the classifier."""
    digest = hashlib.sha256()
    for layer in model.layers:
        if layer.name != "classifier":
            for weight in layer.weights:
                digest.update(np.ascontiguousarray(weight.numpy()))
    return digest.hexdigest()


def card_of(model):
    """Returns the `Card` of the weights of a model, `UNKNOWN` if they were changed since they were loaded."""
    report = getattr(model, "load_report", None)
    return report.card if report is not None and report.digest == digest_of(model) else UNKNOWN


def _depth(state, stage):
    """Returns the number of blocks of a stage, numbered from 0 without gaps."""
    blocks = {match[1] for match in (re.match(rf"conv{stage}\.(\d+)\.conv1\.", name) for name in state) if match}
    return next(i for i in range(len(blocks) + 1) if str(i) not in blocks)


def _unfit_classifier(state, wanted):
    """Returns the names of the classifier, of both sides, if the sides differ in it."""
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
    try:
        looks = settings_of(state)
        settings = {"variant": looks.variant, "width": looks.width, "depths": looks.depths}
    except ValueError:
        settings = "no whole OSNet"
    own = {"variant": model.variant, "width": model.width, "depths": model.depths}
    return (
        f"the weights do not fit `model` {own}; they look like {settings}. Nothing was loaded."
        + (listed("missing", missing) if missing else "")
        + (listed("extra", extra) if extra else "")
        + (listed("of another shape", shapes) if shapes else "")
    )


def variables_of(model):
    """Yields (torchreid name, variable) of every weight of a model.

    Raises:
        ValueError: for a model whose feature has parts, which torchreid's networks do not have.
    """
    if hasattr(model.get_layer("embedding"), "lengths"):  # Keras, which `PartEmbedding` needs, may not be installed
        raise ValueError(f"`model` must have a feature without parts. Received: pooling={model.pooling!r}")
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
    yield from _norm("fc.1" if model.neck == "fc" else NECK, embedding.norm)
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
    if layer.beta is not None:
        yield f"{prefix}.bias", layer.beta
    if hasattr(layer, "moving_mean"):
        yield f"{prefix}.running_mean", layer.moving_mean
        yield f"{prefix}.running_var", layer.moving_variance
