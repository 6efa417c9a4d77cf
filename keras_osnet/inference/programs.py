"""Networks compiled by JAX, kept on the disk: the next process neither makes the network nor compiles it.

Both take most of the time to a first feature. JAX's own compilation cache keeps programs too, but a process must make
and trace the network before it can look there. A program is machine code, so it is read only from a folder that no
other user can write to.
"""

import os
import pickle
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from keras_osnet.files import cache_folder, read_json, reading, write_atomically, write_json, writing_atomically
from keras_osnet.inference.jax_function import JaxFunction, padded_size, run
from keras_osnet.inference.predictor import Predictor
from keras_osnet.inference.runtimes import OneDevice
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights.card import MATCH_FIELDS, Card
from keras_osnet.weights.download import file_sha256
from keras_osnet.weights.sources import CONFIG, FOLDER_WEIGHTS, locate

FOLDER, MOST = "jax_programs", 32  # networks whose programs are kept: those that were used last
FACTS, WEIGHTS, NETWORK = "facts.json", "weights.npz", "network.keras"
PACKAGE, PARTS = Path(__file__).resolve().parents[1], ("inference", "layers", "models", "weights")


def kept_predictor(weights, make):
    """Returns the predictor of weights. By JAX on the CPU, that of an OSNet keeps its programs for the next process.

    They are below the cache folder of downloads, on Linux only. $KERAS_OSNET_PROGRAMS=0 turns this off.

    Args:
        weights: argument of `locate`.
        make: function that returns the `Predictor` of the weights.

    Raises:
        what `locate` and `make` raise.
    """
    wanted = sys.platform == "linux" and os.environ.get("KERAS_OSNET_PROGRAMS") != "0"
    if not wanted or _keras_settings()[0] != "jax" or not all(map(find_spec, ("jax", "keras"))):
        return make()
    import jax

    if jax.default_backend() != "cpu":
        return make()
    source = locate(weights)
    try:
        key = _key(source)
        folder = cache_folder() / FOLDER / key
    except (OSError, RuntimeError):  # no weights, other code, no home folder: `make` says what it cannot do without
        return make()
    with suppress(OSError, ValueError):  # there is none, or it is damaged
        return KeptPredictor(folder, source, make)
    predictor = make()
    with suppress(OSError, ValueError):  # it cannot be written, or not be read again
        if key == _key(source) and _write(folder, predictor):
            kept = KeptPredictor(folder, source, make)
            kept.predictor = predictor
            return kept
    return predictor


class KeptPredictor(OneDevice):
    """A `Predictor` that makes the network only for what is not on the disk.

    Args:
        folder: folder that `_write` filled.
        source: `Source` of the weights.
        make: function that returns the `Predictor` of the weights, where the network in the folder is damaged.

    Raises:
        OSError: if the folder cannot be read, or other users can write to it.
        ValueError: if it is damaged.
    """

    normalise, row = Predictor.normalise, Predictor.row

    def __init__(self, folder, source, make):
        import jax

        for each in (folder.parent, folder):
            _refuse_shared(each)
        self._folder, self._source, self._make = folder, source, make
        self._programs, self._tried = {}, set()  # by number of images
        self._handed_out = False  # whether the network's weights and layers may have been changed
        with reading(folder, "a folder of programs"):
            facts = read_json(folder / FACTS)
            self.size, self.outputs = tuple(facts["size"]), facts["outputs"]
            self.preprocessing = Preprocessing.of_metadata(facts["preprocessing"])
            self._card = Card(**facts["card"])
            with np.load(folder / WEIGHTS) as arrays:
                self._weights = jax.device_put([arrays[name] for name in arrays.files])
        with suppress(OSError):
            os.utime(folder)

    @cached_property
    def predictor(self):
        """The `Predictor` of the network, which is kept too: the file of the weights may be gone, or be another."""
        from keras_osnet.weights.keras_file import load_keras
        from keras_osnet.weights.torchreid import LoadReport, digest_of

        try:
            model = load_keras(self._folder / NETWORK)
        except (OSError, ValueError):  # damaged, or removed because others were used later
            if _key(self._source) != self._folder.name:
                raise
            return self._make()
        model.load_report = LoadReport(len(model.weights), card=self._card, digest=digest_of(model))
        return Predictor(model)

    @property
    def match_probabilities(self):
        return self.predictor.match_probabilities if self._handed_out else self._card.match_probabilities

    def predict(self, batch):
        batch = np.asarray(batch, "float32")
        if self._handed_out:
            return self.predictor.predict(batch)
        size = padded_size(batch)
        with suppress(Exception):  # none, or damaged: whatever JAX raises, the network can be made
            if size not in self._programs:
                with self._path(size).open("rb") as file:
                    _refuse_shared(file.fileno())
                    self._programs[size] = _loaded(file.read())
            return run(self._programs[size], self._weights, batch)
        outputs = self.predictor.predict(batch)
        self._keep(size, batch)
        return outputs

    def network_of(self, output):
        self._handed_out = True
        return self.predictor.network_of(output)

    def _path(self, size):
        return self._folder / f"{size}.program"

    def _keep(self, size, batch):
        from jax.experimental.serialize_executable import serialize

        if size in self._tried:
            return
        self._tried.add(size)
        with suppress(Exception):  # JAX cannot keep each program: not those from its own compilation cache
            if _key(self._source) != self._folder.name:  # settings or files have changed
                return
            content = pickle.dumps(serialize(self.predictor.function.program(size, self._weights)))
            run(_loaded(content), self._weights, batch)
            write_atomically(self._path(size), content)
            self._path(size).chmod(0o600)  # with the umask of many systems the group might write it


def _loaded(content):
    from jax.experimental.serialize_executable import deserialize_and_load

    return deserialize_and_load(*pickle.loads(content))


def _write(folder, predictor):
    """Writes what a `KeptPredictor` needs beside programs. Returns whether it did: other networks have foreign code."""
    from keras_osnet.models import OSNet

    if type(predictor.model) is not OSNet or not isinstance(predictor.function, JaxFunction):
        return False
    weights = [np.asarray(weight) for weight in predictor.function.weights()]
    if any(weight.dtype.kind == "V" for weight in weights):  # bfloat16, which NumPy cannot read again
        return False
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_shared(each)
    with writing_atomically(folder / WEIGHTS) as file:
        np.savez(file, *weights)
    with tempfile.TemporaryDirectory() as made:
        predictor.model.save(Path(made) / NETWORK)
        write_atomically(folder / NETWORK, (Path(made) / NETWORK).read_bytes())
    card = {field: predictor.match_probabilities[kind] for kind, field in MATCH_FIELDS.items()}
    facts = {"size": predictor.size, "outputs": predictor.outputs, "card": card}
    write_json(folder / FACTS, facts | {"preprocessing": asdict(predictor.preprocessing)})
    own = [path for path in folder.parent.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
    for old in sorted(own, key=os.path.getmtime)[:-MOST]:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _refuse_shared(file):
    found = os.stat(file)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{file} must be writable by this user alone.")


def _keras_settings():
    """Returns Keras' backend, type of computation and order of axes. Does not import Keras, which takes a second."""
    if sys.modules.get("keras"):
        import keras  # another thread may still be at it

        return keras.backend.backend(), keras.config.dtype_policy().name, keras.config.image_data_format()
    home, found = os.path.expanduser("~"), {}
    default = Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")  # as Keras does
    with suppress(OSError, ValueError):
        found = read_json(Path(os.path.expanduser(os.environ.get("KERAS_HOME", default)), "keras.json"))
    found = found if isinstance(found, dict) else {}
    backend = os.environ.get("KERAS_BACKEND") or found.get("backend")
    return backend, found.get("floatx", "float32"), found.get("image_data_format", "channels_last")


def _key(source):
    """Returns a name for the programs of weights: another one if anything differs that they depend on."""
    import jax
    import jaxlib

    names = [source.path / name for name in (CONFIG, FOLDER_WEIGHTS)] if source.format == "folder" else [source.path]
    processor = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    if CODE is None or _code() != CODE:
        raise OSError("The files of this package are not those that this process runs.")
    facts = (
        [file_sha256(name) for name in names],
        (source.format, source.preset, source.card),
        (CODE, *_keras_settings()),
        (jax.__version__, jaxlib.__version__, sorted(jax.config.values.items()), os.environ.get("XLA_FLAGS")),
        [line for line in processor if line.startswith(("model name", "flags", "Features", "CPU part"))],
        os.cpu_count(),
    )
    return sha256(repr(facts).encode()).hexdigest()[:32]


def _code():
    """Returns the version of Keras and the hashes of our files that make a network, None if there is no Keras."""
    files = sorted(path for part in PARTS for path in (PACKAGE / part).rglob("*.py"))
    with suppress(ImportError):
        return version("keras"), [file_sha256(path) for path in files]


CODE = _code()  # of this process: files may change while it runs
