"""Folders with settings, weights and model card of one network, as in keras-hub."""

import json
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from keras_osnet.files import path_of, read_json, reading, write_atomically, write_json
from keras_osnet.layers.initial import undrawn
from keras_osnet.layers.norms import parameters
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights.bounds import check_size, room
from keras_osnet.weights.card import Card, card_of_values
from keras_osnet.weights.download import file_sha256
from keras_osnet.weights.keras_file import fill_from_h5, h5_of
from keras_osnet.weights.presets import TRAINING_SETS
from keras_osnet.weights.sources import CONFIG, FOLDER_WEIGHTS, is_network
from keras_osnet.weights.torchreid import card_of

FORMAT = 1  # of config.json: a reader refuses a higher one
CARD_FILE = "README.md"


def save_to_preset(model, folder, *, card=None):
    """Writes a network so that `from_preset` of the folder returns the same one.

    Args:
        model: `OSNet`.
        folder: folder to write, created if it is absent. A folder with files of these names that are not of a preset is
            refused.
        card: facts about the weights. Default: the facts at loading, unless the weights were trained since.

    Raises:
        ValueError: if the folder holds a config.json, README.md or model.weights.h5 of another program, or a number of
            the card is not finite.
        TypeError: if the card is no `Card` of plain values.
        OSError: if it cannot be written.
    """
    folder = path_of("folder", folder)
    refuse_foreign_files(folder)
    config = folder / CONFIG
    card = card_of(model) if card is None else card
    page = _page(model, card)  # what cannot be written, or read again, is an error before anything is replaced
    folder.mkdir(parents=True, exist_ok=True)
    network = {key: value for key, value in model.settings.items() if key != "preprocessing"}
    if not config.exists():  # from now on the folder is a preset's, although not a whole one
        write_json(config, {"network": network})
    content = h5_of(model)
    write_atomically(folder / FOLDER_WEIGHTS, content)
    height, width = model.input_shape[1:3]
    facts = {
        "format": FORMAT,
        "keras_osnet": _version(),
        "network": network,
        "layers": {name: value for name, value in model.get_config().items() if name not in model.settings},
        "weights_sha256": sha256(content).hexdigest(),
        "preprocessing": {"height": height, "width": width, **asdict(model.preprocessing)},
        "card": asdict(card),
    }
    write_atomically(folder / CARD_FILE, page)
    write_json(config, facts)


def refuse_foreign_files(folder):
    """Raises a ValueError if a folder has files that `save_to_preset` would replace, and that are not of a preset."""
    config = folder / CONFIG
    if config.exists() and not is_network(read_json(config)):
        raise ValueError(f"`folder` must not hold a config.json of another program. Received: {folder}")
    foreign = [name for name in (CARD_FILE, FOLDER_WEIGHTS) if (folder / name).exists() and not config.exists()]
    if foreign:
        raise ValueError(f"`folder` must not hold a {foreign[0]} of another program. Received: {folder}")


def load_folder(folder):
    """Returns the network of a folder that `save_to_preset` wrote, and its card.

    Raises:
        ValueError: if a file is damaged, or of a newer version.
        OSError: if a file cannot be read.
    """
    from keras_osnet.models import OSNet

    path, weights = Path(folder) / CONFIG, Path(folder) / FOLDER_WEIGHTS
    with reading(path, "written by `save_to_preset`"):
        facts = read_json(path)
        if facts["format"] > FORMAT:
            raise ValueError(f"keras_osnet {facts['keras_osnet']} wrote it, which is newer: upgrade keras_osnet")
        settings = dict(facts["network"])
        check_size(settings, room(weights.stat().st_size))
        if facts.get("weights_sha256", digest := file_sha256(weights)) != digest:
            raise ValueError(f"{weights} is of another call, which did not end: save the network again")
        values = {key: value for key, value in facts["preprocessing"].items() if key not in ("height", "width")}
        layers = facts.get("layers", {})  # old folders have none
        with undrawn():
            network = OSNet.from_config(settings | layers | {"preprocessing": asdict(Preprocessing(**values))})
        card = card_of_values(facts["card"])
    fill_from_h5(network, weights)
    return network, card


def _version():
    try:
        return version("keras-osnet")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _page(model, card):
    """Returns the bytes of the model card. Raises for a card as `save_to_preset`."""
    if not isinstance(card, Card):
        raise TypeError(f"`card` must be a keras_osnet.weights.Card. Received: card={card!r:.200}")
    try:
        return _markdown(model, card_of_values(json.loads(json.dumps(asdict(card), allow_nan=False)))).encode()
    except (TypeError, KeyError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        received = f"{type(error).__name__}: {error}"
        raise kind(f"`card` must be a keras_osnet.weights.Card of plain values. Received: {received}") from error


def _markdown(model, card):
    """Returns the model card, with the metadata for the Hugging Face Hub."""
    rules, sides = model.preprocessing, model.input_shape[1:3]
    size = "of any size" if None in sides else f"resized to {sides[0]} x {sides[1]} ({rules.resizing})"
    title = TRAINING_SETS.get(card.training_set, (card.training_set or "not stated",))[0]
    lines = [
        "---", "library_name: keras", "tags: [person-re-identification, osnet]", "---",
        f"# {model.name}", "",
        f"{model.variant} x{model.width:g} for Keras 3, {parameters(model):,} parameters: images of people -> "
        + (f"{model.feature_dim} features." if model.classes is None else f"{model.classes} logits."), "",
        "```py", "import keras_osnet", "", 'model = keras_osnet.OSNet.from_preset("FOLDER")',
        'features = keras_osnet.FeatureExtractor(model)(["a.jpg", "b.jpg"])', "```", "",
        f"- Training set: {title}",
        f"- Licence of the weights: {card.weights_licence or 'not stated'}",
        f"- Licence of the training images: {card.images_licence or 'not stated'}",
        f"- Input: RGB, {size}, (x / {rules.scale:g} - mean) / std with mean {', '.join(map(str, rules.mean))} and std "
        f"{', '.join(map(str, rules.std))}", "",
    ]  # fmt: skip
    if card.scores:
        lines += ["| test set | distance | Rank-1 | mAP | source |", "|---|---|---|---|---|"]
        lines += [f"| {s.dataset} | {s.metric} | {s.rank1:.1%} | {s.mAP:.1%} | {s.source} |" for s in card.scores]
    else:
        lines += ["Scores: not stated."]
    if card.thresholds:
        lines += ["", "| test set | false accept rate | distance |", "|---|---|---|"]
        lines += [f"| {t.dataset} | {t.false_accept_rate:g} | {t.metric} {t.distance:.4f} |" for t in card.thresholds]
    match = card.match_probability
    if match:
        evidence = f"sigmoid({match['offset']:.3f} - {match['slope']:.3f} {match['metric']} distance)"
        lines += [
            "",
            f"Two images show one person with the probability {evidence}, if half of all pairs show one person. Fitted "
            f"on {match['same'] + match['different']:,} pairs across cameras: {match['fitted_on'] or 'not stated'}.",
        ]
    return "\n".join(lines) + "\n"
