"""Weights from files: our own, and checkpoints of other OSNets."""

from collections import Counter
from pathlib import Path

import h5py
import keras

from keras_osnet.weights.torch_file import UnsafeCheckpointError, read_torch_file
from keras_osnet.weights.torchreid import LoadReport, load_torchreid_weights, settings_of

__all__ = [
    "LoadReport",
    "UnsafeCheckpointError",
    "load_network",
    "load_torchreid_weights",
    "load_weights",
    "network_of",
    "read_torch_file",
    "settings_of",
]

TORCH_SUFFIXES = (".pth", ".tar", ".pt")


def network_of(path):
    """The arguments of `OSNet` that a weights file fits: variant, width, depths, feature_dim, classes and, from a
    .keras file, the others too.

    Args:
        path: .keras, .pth or .pth.tar. A .weights.h5 holds no settings and is an error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another kind of file, or a network that is not an OSNet.
    """
    path = _existing(path)
    if path.suffix in TORCH_SUFFIXES:
        return dict(vars(settings_of(read_torch_file(path))))
    if path.suffix == ".keras":
        return _load_osnet(path).get_config()
    raise ValueError(f"`path` must be a .keras or .pth file to tell its network's settings. Received: path={path}")


def load_weights(model, path):
    """Copies the weights of a file into an `OSNet`; all of them, or none and an error.

    Args:
        model: the OSNet.
        path: .weights.h5 (of the very same network), .keras or torchreid's .pth / .pth.tar (there the classifier may
            differ or be absent).

    Returns:
        `LoadReport`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is of another network, or of no known kind.
    """
    path = _existing(path)
    if path.suffix in TORCH_SUFFIXES:
        return load_torchreid_weights(model, path)
    if path.suffix == ".keras":
        return _copy(model, _load_osnet(path), path)
    if path.name.endswith(".weights.h5"):
        return _load_h5(model, path)
    raise ValueError(f"`path` must end in .weights.h5, .keras, .pth or .pth.tar. Received: path={path}")


def load_network(path, *, width=None, variant=None, resolution=1.0):
    """The network that gives features, without a classifier, with the weights of a file.

    Args:
        path: .keras of an OSNet, or of another network, which is given as it is; torchreid's .pth / .pth.tar; or
            .weights.h5.
        width: default: as the file tells, 1 for .weights.h5, which tells nothing.
        variant: likewise, "osnet".
        resolution: of 256 x 128, where the file does not tell.

    Returns:
        the network and a `LoadReport`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is of another width or variant, or of no known kind.
    """
    from keras_osnet.models import OSNet

    path = _existing(path)
    if path.suffix == ".keras":
        network = keras.models.load_model(path, compile=False)
        if not isinstance(network, OSNet):
            return network, LoadReport(len(network.weights))
    arguments = {"input_shape": (round(256 * resolution), round(128 * resolution), 3)}
    if not path.name.endswith(".weights.h5"):
        arguments |= network_of(path)
    arguments |= {name: value for name, value in (("width", width), ("variant", variant)) if value is not None}
    network = OSNet(**arguments | {"classes": None, "name": None})
    return network, load_weights(network, path)


def _load_h5(model, path):
    """Keras leaves out, without an error, what a file lacks or has too many of: compare the shapes first."""
    shapes, before = Counter(), model.get_weights()

    def count(name, item):
        if isinstance(item, h5py.Dataset):
            shapes[item.shape] += 1

    try:
        with h5py.File(path) as file:
            file.visititems(count)
        wanted = Counter(tuple(weight.shape) for weight in model.weights)
        if shapes != wanted:
            difference = (shapes - wanted).total(), (wanted - shapes).total()
            raise ValueError("{} arrays have no place, {} are missing".format(*difference))
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        model.set_weights(before)
        raise ValueError(f"`path` does not hold weights of {model.name}: {error}. Received: path={path}") from error
    return LoadReport(len(before))


def _existing(path):
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no weights file {path}")
    return Path(path)


def _load_osnet(path):
    from keras_osnet.models import OSNet

    model = keras.models.load_model(path, compile=False)
    if not isinstance(model, OSNet):
        raise ValueError(f"`path` must hold an OSNet. Received: {type(model).__name__} in {path}")
    return model


def _copy(model, other, path):
    own, theirs = model.get_config(), other.get_config()
    free = ("name", "classes", "input_shape")
    differences = [f"{k} {theirs[k]!r} instead of {own[k]!r}" for k in own if k not in free and own[k] != theirs[k]]
    if differences:
        raise ValueError(f"`path` holds another network: {'; '.join(differences)}. Received: path={path}")
    same_head = model.classes == other.classes
    assigned, dropped = 0, () if same_head else ("classifier",)
    for layer in model.layers:
        if layer.name not in dropped and layer.weights:
            layer.set_weights(other.get_layer(layer.name).get_weights())
            assigned += len(layer.weights)
    return LoadReport(assigned, dropped)
