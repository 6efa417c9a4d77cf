"""Finds the file on this machine for a name, path or address of weights."""

import os
import re
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

from keras_osnet.files import cache_folder, read_json, reading
from keras_osnet.weights.card import UNKNOWN, Card, card_of_values
from keras_osnet.weights.download import fetch, fetch_url, file_sha256, mirrored
from keras_osnet.weights.formats import STATES, format_of
from keras_osnet.weights.presets import PACKAGED, PRESETS, TRAINING_SETS, nearest, preset_trained_on
from keras_osnet.weights.torchreid import settings_of

CONFIG = "config.json"
FOLDER_WEIGHTS = "model.weights.h5"
LARGEST_KNOWN = 2**26  # bytes; no preset is larger


@dataclass(frozen=True)
class Source:
    """A weights file on this machine.

    Args:
        path: the file, or the folder that `save_to_preset` wrote.
        format: "torch", "safetensors", "onnx", "keras", "h5" or "folder".
        preset: name of the preset, or None.
        card: facts about the weights.
    """

    path: Path
    format: str
    preset: str | None = None
    card: Card = UNKNOWN


def locate(weights, *, width=None, variant=None):
    """Finds weights, and downloads them if they are not on this machine.

    Args:
        weights: name of a preset; name of a training set, for its preset of `width` and `variant`; path of a file of
            any known format; folder written by `save_to_preset`, or work dir of a training; "https://...";
            "hf://user/repository[/file]".
        width, variant: expected width and variant. A preset of others is an error, before its download. With the name
            of a training set they default to 1.0 and "osnet".

    Returns:
        `Source`.

    Raises:
        ValueError: if `weights` has none of these forms; the error suggests similar names. If `width` is no number.
        FileNotFoundError: if a path does not exist.
        OSError: if a download fails.
        ImportError: for hf:// if huggingface_hub is not installed.
    """
    if not isinstance(weights, str | os.PathLike):
        raise ValueError(
            f"`weights` must be a preset, a training set, a file, a folder or an address. Received: weights={weights!r}"
        )
    if not (width is None or isinstance(width, Real)):
        raise ValueError(f"`width` must be a number. Received: width={width!r}")
    text = address_of(weights)
    if not text:
        raise ValueError("`weights` must not be empty.")
    known = isinstance(weights, str) or not Path(text).exists()
    if known and text in PRESETS:
        _check_network(PRESETS[text], width, variant)
        return preset_source(PRESETS[text])
    if known and text in TRAINING_SETS:
        return preset_source(preset_trained_on(text, 1.0 if width is None else width, variant or "osnet"))
    if text.startswith(("hf://", "https://", "http://")):
        return _local(download(text))
    return _local(Path(os.path.expanduser(text)))  # which leaves the name of an unknown user as it is


def address_of(weights):
    """Returns weights as text, an address with both of its slashes: a `Path` drops one."""
    return re.sub("^(https?|hf):/(?!/)", r"\1://", os.fsdecode(weights))


def download(address, check=format_of):
    """Returns the file of an address in the cache folder. For `check`, see `fetch_url`."""
    return _from_hugging_face(address) if address.startswith("hf://") else fetch_url(address, check=check)


def _check_network(preset, width, variant):
    for name, value in (("width", width), ("variant", variant)):
        if value not in (None, getattr(preset, name)):
            raise ValueError(
                f"`{name}` must be {getattr(preset, name)!r} for the weights {preset.name}; "
                f"OSNet.from_preset({preset.name!r}) takes it from the preset. Received: {name}={value!r}"
            )


def preset_source(preset):
    """Returns the file of a preset. Downloads it if it is not in the cache folder."""
    path = PACKAGED / preset.file
    if preset.addresses:
        names = (preset.file, preset.name + Path(preset.file).suffix, preset.name)

        def check(path):
            _check_file(path, preset)

        addresses = mirrored(preset.addresses, *names)
        path = fetch(preset.file, addresses, sha256=preset.sha256, size=preset.size, check=check)
    return Source(path, format_of(path), preset.name, preset.card)


def _check_file(path, preset):
    """Raises ValueError if the network of a file is not that of a preset, whose hash is unknown."""
    format = format_of(path)
    if format not in STATES:
        raise ValueError(f"a {format} file")
    found = settings_of(STATES[format](path)[0])
    for name in ("width", "variant"):
        if getattr(found, name) != getattr(preset, name):
            raise ValueError(f"its {name} is {getattr(found, name)}, not {getattr(preset, name)}")


def _local(path):
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise _not_found(path)
    if not path.is_file():
        raise ValueError(f"`weights` must be a file or a folder. Received: {path}, which is neither")
    source = Source(path, format_of(path))
    digest = file_sha256(path) if path.stat().st_size <= LARGEST_KNOWN else None
    preset = next((row for row in PRESETS.values() if digest and row.sha256 == digest), None)
    return replace(source, preset=preset.name, card=preset.card) if preset else source


def is_network(config):
    """Whether a config.json is one of `save_to_preset`."""
    network = config.get("network") if isinstance(config, dict) else None
    return isinstance(network, dict) and {"variant", "width", "depths"} <= set(network)


def _folder(path):
    """Returns the weights of a folder that `save_to_preset` wrote, or of the work dir of a training."""
    config = read_json(path / CONFIG) if (path / CONFIG).is_file() else {}
    if is_network(config):
        with reading(path / CONFIG, "written by `save_to_preset`"):
            return Source(path, "folder", None, card_of_values(config.get("card") or {}))
    model = path / "model.keras"
    if not model.is_file():
        what = "it holds neither config.json with a network nor model.keras"
        raise ValueError(f"`weights` must be a folder of `save_to_preset` or a work dir. Received: {path}, but {what}")
    # An evaluation leaves a config.json too, whose dataset is not the one that the weights were trained on.
    settings = config.get("settings") if isinstance(config, dict) else None
    trained = isinstance(settings, dict) and "epochs" in settings and isinstance(settings.get("dataset"), str)
    return Source(model, format_of(model), None, Card(settings["dataset"]) if trained else UNKNOWN)


def _not_found(path):
    """Returns the error for an unknown name, with similar names."""
    close = nearest(path.stem if path.suffix else path.name)
    offered = f" Did you mean the preset {' or '.join(close)}?" if close else ""
    if path.suffix or len(path.parts) > 1:
        return FileNotFoundError(f"There is no weights file {path}.{offered}")
    return ValueError(
        "`weights` must be a preset (keras_osnet.PRESETS), a training set, a file, a folder, https://... or hf://... . "
        f"Received: {str(path)!r}.{offered or f' Training sets: {list(TRAINING_SETS)}.'}"
    )


def _from_hugging_face(address):
    """Returns a file of a repository, or the folder of its files that `save_to_preset` writes."""
    user, _, rest = address.removeprefix("hf://").partition("/")
    name, _, file = rest.partition("/")
    if not (user and name):
        raise ValueError(f"`weights` must be hf://user/repository[/file]. Received: {address!r}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            "hf:// needs huggingface_hub: pip install 'keras-osnet[hub]'", name="huggingface_hub"
        ) from error
    places = {"cache_dir": cache_folder() / "hub", "endpoint": os.environ.get("HF_ENDPOINT")}
    try:
        files = [file] if file else [CONFIG, FOLDER_WEIGHTS]
        paths = [Path(hf_hub_download(f"{user}/{name}", part, **places)) for part in files]
    except Exception as error:  # of several HTTP libraries
        raise OSError(f"{address} cannot be downloaded: {type(error).__name__}: {error}") from error
    return paths[0] if file else paths[0].parent
