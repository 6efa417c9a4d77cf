"""Keras' files, .keras and .weights.h5. Their sizes are checked before a network is built."""

import io
import json
import re
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from math import inf, prod
from pathlib import Path

import h5py
import keras

from keras_osnet.files import open_zip, reading
from keras_osnet.layers.initial import undrawn
from keras_osnet.weights.bounds import MOST_PIXELS, SIZES, check_size, check_values, room, width_of

LARGEST_CONFIG = 2**22  # bytes
MOST_OBJECTS = 10_000  # of a config: layers, initializers, ...; MobileNetV2 has 900
LONGEST_NAME = 1000  # characters; with a million of them Keras takes minutes
OPTIMIZER = "optimizer"  # group of its state in .weights.h5 files of compiled models
WEIGHTS_NAMES = ("model.weights.h5", "model.weights.npz")


def load_keras(path):
    """Returns the network of a .keras file, whatever the file's name.

    Raises:
        ValueError: for any content that is not a network that Keras and this package can build and fill.
        OSError: if the file cannot be read.
    """
    with reading(path, "a .keras file of a network"):
        with open(path, "rb") as file:
            _check_archive(file)
        with _with_suffix(path, ".keras") as named, undrawn():
            network = keras.saving.load_model(named, compile=False, safe_mode=True)
        if not isinstance(network, keras.Model):
            raise ValueError(f"it holds a {type(network).__name__}")
        check_values(_named_weights(network))
    return network


def config_of(path):
    """Returns the config of a .keras file. Errors are as for `load_keras`."""
    with reading(path, "a .keras file of a network"), open(path, "rb") as file:
        return _config_in(open_zip(file))


def h5_of(model):
    """Returns the content of a .weights.h5 file of a model, without the state of an optimizer, which Keras adds."""
    with tempfile.TemporaryDirectory() as folder:
        path, bare = Path(folder, WEIGHTS_NAMES[0]), Path(folder, "bare.h5")
        model.save_weights(path)
        with h5py.File(path) as arrays:
            if OPTIMIZER not in arrays:
                return path.read_bytes()
            with h5py.File(bare, "w") as file:
                for name in arrays.keys() - {OPTIMIZER}:
                    arrays.copy(name, file)
        return bare.read_bytes()


def _uncompiled(model):
    """Returns an `OSNet` as it is, or a copy of a compiled one, whose learning rate Keras would read with weights."""
    if getattr(model, "optimizer", None) is None:
        return model
    with undrawn():
        copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def fill_from_h5(model, path):
    """Fills a network from a .weights.h5 file, and checks its arrays: Keras ignores missing and additional arrays.

    The state of an optimizer in the file is ignored.

    Raises:
        ValueError: if the file is of another network, or damaged. The model is not changed.
        OSError: if the file cannot be read.
    """
    filled = _uncompiled(model)
    before = filled.get_weights()
    try:
        with reading(path, f"weights of {model.name}"):
            with h5py.File(path) as arrays:
                _check_arrays(filled, shapes_of(arrays, room(Path(path).stat().st_size)))
            with _with_suffix(path, ".weights.h5") as named:
                filled.load_weights(named)
            check_values(_named_weights(filled))
    except BaseException:
        filled.set_weights(before)
        raise
    if filled is not model:
        model.set_weights(filled.get_weights())


def settings_of_h5(path):
    """Returns the settings of `OSNet` from the names and shapes of a .weights.h5 file: all but pooling and input size.

    Raises:
        ValueError: if the file is damaged, or of another network.
        OSError: if the file cannot be read.
    """
    with reading(path, "a .weights.h5 file of an OSNet"), h5py.File(path) as arrays:
        size = Path(path).stat().st_size
        settings = _settings(shapes_of(arrays, room(size)))
        check_size(settings, size)
    return settings


def shapes_of(file, most):
    """Returns the shape of each array of an open HDF5 file, by path.

    Raises:
        ValueError: if the arrays take more than `most` bytes, or are in another file.
    """
    shapes, left = {}, most

    def note(name, item):
        nonlocal left
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise ValueError(f"its array {name} lies in another file")
            left -= item.nbytes
            if left < 0:
                raise ValueError(f"its arrays take more than {most:,} bytes")
            shapes[name] = item.shape

    file.visititems(note)
    return shapes


@contextmanager
def _with_suffix(path, suffix):
    """Yields the path of a file, or of a copy with the suffix that Keras requires."""
    if str(path).endswith(suffix):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield shutil.copyfile(path, Path(folder) / f"network{suffix}")


def _check_archive(file):
    """Raises ValueError if the archive lacks a part, or if its network is larger than its weights allow."""
    archive = open_zip(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    config = _config_in(archive)
    most = room(file.seek(0, io.SEEK_END))
    if sum(entry.file_size for entry in entries.values()) > most:
        raise ValueError(f"its parts take more than {most:,} bytes")
    weights = next((name for name in WEIGHTS_NAMES if name in entries), None)
    if weights is None:
        raise ValueError(f"it has none of {WEIGHTS_NAMES}")
    content = archive.read(weights)
    if weights.endswith(".h5"):
        with h5py.File(io.BytesIO(content)) as arrays:
            shapes_of(arrays, most)
    _check_config(config, len(content))


def _config_in(archive):
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if "config.json" not in sizes:
        raise ValueError("it has no config.json")
    if sizes["config.json"] > LARGEST_CONFIG:
        raise ValueError(f"its config.json has more than {LARGEST_CONFIG:,} bytes")
    return json.loads(archive.read("config.json"))


def _check_config(config, size):
    """Raises ValueError if the layers of a config need more parameters than `size` bytes of weights can hold."""
    waiting, objects, units = [config], 0, []
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if isinstance(value.get("name"), str) and len(value["name"]) > LONGEST_NAME:
                raise ValueError(f"it has a name of more than {LONGEST_NAME:,} characters")
            settings = value.get("config")
            if "class_name" not in value or not isinstance(settings, dict):
                continue
            objects += 1
            if value["class_name"] == "OSNet" and "depths" in settings:
                check_size({"feature_dim": 512, "classes": None} | settings, size)
                continue
            window = settings.get("kernel_size")
            window = prod(window) if isinstance(window, list) and all(type(side) is int for side in window) else 1
            units += [
                units * (window if key == "filters" else 1)
                for key, units in settings.items() if key in SIZES and isinstance(units, int | float)
            ]  # fmt: skip
            shape = settings.get("batch_shape")
            sides = [side for side in shape[1:] if isinstance(side, int | float)] if isinstance(shape, list) else []
            if not 0 <= prod(sides) <= 3 * MOST_PIXELS:
                raise ValueError(f"its network takes inputs of {shape}, more than {MOST_PIXELS:,} pixels")
    if objects > MOST_OBJECTS:
        raise ValueError(f"its config.json has more than {MOST_OBJECTS:,} objects")
    if not all(0 <= one < inf for one in units):
        raise ValueError("its layers have sizes that are negative or not finite")
    # No layer knows its input here: take the largest of all.
    if sum(units) * max(units, default=0) > 16 * size + 2**20:
        raise ValueError(f"its layers have up to {max(units):,} units, more than {size:,} bytes of weights can be for")


def _named_weights(model):
    return ((weight.path, keras.ops.convert_to_numpy(weight)) for weight in model.weights)


def _check_arrays(model, shapes):
    """Raises ValueError if the arrays of a network and of a file differ in names or shapes."""
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(f"{OPTIMIZER}/")}
    wanted, found = Counter(tuple(weight.shape) for weight in model.weights), Counter(shapes.values())
    if wanted == found:
        return
    try:
        theirs = _settings(shapes)
    except ValueError:
        theirs = {}
    if model.variant.startswith("osnet_") and theirs.get("variant") == "osnet":
        del theirs["variant"]  # the names do not tell the rows of the paper's Table 5
    differences = [f"{k} {v!r}, not {getattr(model, k)!r}" for k, v in theirs.items() if v != getattr(model, k, v)]
    if differences:
        raise ValueError(f"it is of another network: {', '.join(differences)}")
    counts = (found - wanted).total(), (wanted - found).total()
    raise ValueError("{} of its arrays have no place, and {} are missing".format(*counts))


def _settings(shapes):
    """Returns the settings of `OSNet` from the paths and shapes of its arrays."""

    def shape(pattern):
        return next((shape for name, shape in shapes.items() if re.fullmatch(pattern, name)), None)

    stem, embedding = shape("layers/conv_norm/conv/vars/0"), shape("layers/embedding/dense/vars/0")
    stages, blocks = ("stage", "stage_1", "stage_2"), r"layers/{}/blocks/([^/]+)/conv1/conv/vars/0"
    depths = [sum(re.fullmatch(blocks.format(stage), name) is not None for name in shapes) for stage in stages]
    if len(stem or ()) != 4 or len(embedding or ()) != 2 or not all(depths):
        raise ValueError("its arrays are not those of an OSNet")
    counts = [len({name for name in shapes if re.fullmatch(rf"layers/{part}/vars/\d", name)})
              for part in ("conv_norm/norm", "stage/blocks/omni_scale_block/conv3/norm")]  # fmt: skip
    last = [f"{stage}/blocks/omni_scale_block/conv3" for stage in stages] + ["conv_norm_3"]
    ends = [shape(f"layers/{part}/conv/vars/0") for part in last]
    width = width_of([stem[3], *(end[-1] for end in ends)]) if all(ends) else None
    variant = {(2, 2): "osnet_ain", (2, 4): "osnet_ibn"}.get(tuple(counts), "osnet")
    classifier = shape("layers/dense/vars/0")
    return {
        "width": width or stem[3] / 64,
        "variant": variant,
        "depths": tuple(depths),
        "stem": "reid" if stem[0] == 7 else "cifar",
        "feature_dim": embedding[1],
        "classes": classifier and classifier[1],
        "neck": "fc" if shape("layers/embedding/norm/vars/3") else "bnneck",
    }
