"""Loads weights from any source into networks."""

from dataclasses import asdict, replace
from inspect import signature

from keras_osnet.files import read_json, reading
from keras_osnet.layers.checks import number
from keras_osnet.layers.composite import freeze_alike
from keras_osnet.layers.initial import undrawn
from keras_osnet.models.parts import PARTS, start_parts
from keras_osnet.preprocessing import IMAGENET
from keras_osnet.weights.card import MATCH_FIELDS, UNKNOWN
from keras_osnet.weights.folder import load_folder
from keras_osnet.weights.formats import STATES
from keras_osnet.weights.keras_file import config_of, fill_from_h5, load_keras, settings_of_h5
from keras_osnet.weights.onnx_file import read_onnx_input
from keras_osnet.weights.presets import PRESETS
from keras_osnet.weights.sources import CONFIG, Source, locate
from keras_osnet.weights.torchreid import LoadReport, assign, card_of, digest_of, settings_of

# Settings that must be equal for two networks to have the same weights.
ARCHITECTURE = ("width", "variant", "depths", "stem", "feature_dim", "pooling", "neck")


def load_weights(model, weights):
    """Copies weights into an `OSNet`. After an error, the model has its previous weights.

    The model gets the preprocessing of the weights, where they say it: presets have ImageNet's.

    Args:
        model: the OSNet.
        weights: argument of `locate`: a preset, a training set, a file, a folder, an address; or the `Source` that it
            returned. A .weights.h5 file must be of exactly the same network; in other formats the classifier may differ
            or be absent. A feature of parts starts from a network with one pooled map too (`start_parts`).

    Returns:
        `LoadReport`, which `model.load_report` keeps.

    Raises:
        ValueError: if the weights are of another network, or of no known format, or the model is no OSNet.
        OSError: if they cannot be read or downloaded.
    """
    from keras_osnet.models import OSNet

    if not isinstance(model, OSNet):
        raise ValueError(f"`model` must be an OSNet. Received: model={model!r:.200}")
    source, size = weights, None
    if not isinstance(weights, Source):
        source = locate(weights, width=model.width, variant=model.variant)
    if source.format == "h5":
        fill_from_h5(model, source.path)
        return _kept(model, LoadReport(len(model.weights)), source)
    other, pooling = None, "avg"  # of files of torchreid's form, which do not say it
    if source.format not in STATES:
        other, card = load_folder(source.path) if source.format == "folder" else (load_keras(source.path), source.card)
        _require_osnet(other, source)
        source, size, pooling = replace(source, card=card), other.input_shape[1:], other.pooling
    whole = _whole(model, pooling) if model.pooling in PARTS and pooling not in PARTS else model
    preprocessing = IMAGENET if source.preset else None
    if source.format == "onnx":
        size, preprocessing = read_onnx_input(source.path)
    report = _copy(whole, other, source) if other else _assign(whole, source, *STATES[source.format](source.path))
    whole.preprocessing = preprocessing or whole.preprocessing
    if whole is not model:
        start_parts(model, whole)
    if model.pooling != pooling:  # another feature: what was measured is not true of it
        measured = {"scores": (), "thresholds": (), **dict.fromkeys(MATCH_FIELDS.values())}
        source = replace(source, card=replace(source.card, **measured))
    return _kept(model, report, source, size)


def input_shape_of(source):
    """Returns (height, width, 3) of the images for which weights were trained, None if they do not say it.

    Args:
        source: `Source`.
    """
    if source.preset:
        return PRESETS[source.preset].input_shape
    if source.format == "onnx":
        return read_onnx_input(source.path)[0]
    if source.format not in ("folder", "keras"):
        return None
    facts = read_json(source.path / CONFIG) if source.format == "folder" else config_of(source.path)
    settings = facts.get("network" if source.format == "folder" else "config") if isinstance(facts, dict) else None
    shape = settings.get("input_shape") if isinstance(settings, dict) else None
    return tuple(shape) if isinstance(shape, list) and len(shape) == 3 else None


def load_network(weights, *, width=None, variant=None, resolution=1.0, classifier=False, **changes):
    """Returns the network of weights, by default without its classifier, so that it returns features.

    Args:
        weights: argument of `locate`. A network in a .keras file that is not an OSNet is returned unchanged.
        width, variant: expected width and variant; an error if the weights have others. Default: those of the weights.
            A .weights.h5 file alone does not determine the row of the paper's Table 5, nor the pooling where it is
            "max" or "gem": such a network is made first, and filled with `load_weights`.
        resolution: input size as a multiple of the preset's, or of 256 x 128. Other weights that have one keep it.
        classifier: whether to keep the classifier of the weights.
        changes: arguments of `OSNet` that replace those of the weights: classes, input_shape, name.

    Returns:
        the network and a `LoadReport`.

    Raises:
        ValueError: if the weights are of another width or variant, or of no known format.
        TypeError: if a change is no argument of `OSNet`.
        OSError: if they cannot be read or downloaded.
    """
    from keras_osnet.models import OSNet

    unknown = changes.keys() - signature(OSNet).parameters.keys()
    if unknown:
        raise TypeError(f"`changes` must be arguments of `OSNet`. Received: {', '.join(sorted(unknown))}")
    number("resolution", resolution, "above 0 and at most 16", lambda r: 0 < r <= 16)
    asked = {name: value for name, value in (("width", width), ("variant", variant)) if value is not None}
    source, head = locate(weights, **asked), {} if classifier else {"classes": None}
    height, length, _ = PRESETS[source.preset].input_shape if source.preset else (256, 128, 3)
    size = {"input_shape": (round(height * resolution), round(length * resolution), 3)}
    if source.format in STATES:
        state, stripped = STATES[source.format](source.path)
        with reading(source.path, "an OSNet"):
            settings = asdict(settings_of(state))
        _check_asked(asked, settings, source)
        if source.format == "onnx":
            shape, settings["preprocessing"] = read_onnx_input(source.path)
            size["input_shape"] = shape or size["input_shape"]
        with undrawn():
            network = OSNet(**size | settings | head | changes)
        return network, _kept(network, _assign(network, source, state, stripped), source)
    if source.format == "h5":
        settings = settings_of_h5(source.path)
        _check_asked({"width": width} if width else {}, settings, source)
        with undrawn():
            filled = OSNet(**size | settings | asked)
        fill_from_h5(filled, source.path)
        return _with_changes(filled, head | changes, source)
    if source.format == "folder":
        filled, card = load_folder(source.path)
        source = replace(source, card=card)
    else:
        filled = load_keras(source.path)
    if not isinstance(filled, OSNet):
        if asked or changes:
            _require_osnet(filled, source)
        return filled, replace(LoadReport(len(filled.weights)), card=source.card)
    _check_asked(asked, filled.settings, source)
    return _with_changes(filled, head | changes, source)


def network_of(weights):
    """Returns the arguments of `OSNet` for weights: variant, width, depths, feature_dim, classes, and others if known.

    Raises:
        ValueError: if they are not of an OSNet.
        OSError: if they cannot be read or downloaded.
    """
    source = locate(weights)
    if source.format in STATES:
        with reading(source.path, "an OSNet"):
            return asdict(settings_of(STATES[source.format](source.path)[0]))
    if source.format == "h5":
        return settings_of_h5(source.path)
    network = load_folder(source.path)[0] if source.format == "folder" else load_keras(source.path)
    _require_osnet(network, source)
    return network.settings


def match_probabilities_of(model):
    """Returns values of the `MatchProbability`s of a model's weights, by the keys of `card.MATCH_FIELDS`.

    One is None if it is not known, if the weights have changed since they were loaded, or if they were loaded for
    images of another size.
    """
    return card_of(model).match_probabilities


def _kept(model, report, source, size=None):
    """Keeps what is known of the weights. `size` is the input shape of their network. Default: that of the preset."""
    known, card = source.preset is not None or source.card != UNKNOWN, source.card
    size = PRESETS[source.preset].input_shape if size is None and source.preset else size
    if size is not None and tuple(size) != tuple(model.input_shape[1:]):  # probabilities of a match are of one size
        card = replace(card, **dict.fromkeys(MATCH_FIELDS.values()))
    digest = digest_of(model) if known else None
    model.load_report = replace(report, preset=source.preset, card=card, digest=digest)
    return model.load_report


def _whole(model, pooling):
    """An OSNet with the same settings, but this pooling, and with the classifier of the model."""
    whole = type(model)(**model.settings | {"pooling": pooling})
    if model.classes is not None:
        whole.get_layer("classifier").set_weights(model.get_layer("classifier").get_weights())
    return whole


def _assign(model, source, state, stripped):
    with reading(source.path, f"weights of {model.name}"):
        return assign(model, state, stripped)


def _with_changes(network, changes, source):
    """Returns the network with the changes, and the report."""
    if all(network.settings[name] == value for name, value in changes.items()):
        return network, _kept(network, LoadReport(len(network.weights)), source)
    with undrawn():
        if changes == {"classes": None}:
            made = network.with_head(None)
        else:
            made = type(network)(**network.settings | changes)
            freeze_alike(made, network, ("classifier",))
    return made, _kept(made, _copy(made, network, source), source, network.input_shape[1:])


def _copy(model, other, source):
    own, theirs = model.settings, other.settings
    different = [f"{k} {theirs[k]!r} instead of {own[k]!r}" for k in ARCHITECTURE if own[k] != theirs[k]]
    if different:
        raise ValueError(
            f"`weights` must be of the same network. Received: {source.path}, of another one: {'; '.join(different)}"
        )
    dropped = () if model.classes == other.classes else ("classifier",)
    layers = [layer for layer in model.layers if layer.weights and layer.name not in dropped]
    arrays = [other.get_layer(layer.name).get_weights() for layer in layers]
    if any(len(values) != len(layer.weights) for values, layer in zip(arrays, layers, strict=True)):
        raise ValueError(f"`weights` must not be quantized, to be changed. Received: {source.path}")
    for layer, values in zip(layers, arrays, strict=True):
        layer.set_weights(values)
    model.preprocessing = other.preprocessing
    return LoadReport(sum(map(len, arrays)), dropped)


def _require_osnet(network, source):
    from keras_osnet.models import OSNet

    if not isinstance(network, OSNet):
        raise ValueError(
            f"`weights` must hold an OSNet, which alone has a width and variant. Received: {type(network).__name__} in "
            f"{source.path}"
        )


def _check_asked(asked, settings, source):
    for name, value in asked.items():
        if value != settings[name]:
            raise ValueError(f"`{name}` must be {settings[name]!r}, as in {source.path}. Received: {name}={value!r}")
