"""Trained weights by name.

    python recipes/weights.py list [WORD]                     the table of presets, or its rows that contain a word
    python recipes/weights.py info NAME                       all facts about a preset
    python recipes/weights.py download NAME [NAME ...]        into the cache folder, without loading them
    python recipes/weights.py score NAME --dataset market1501 --data-dir D      writes a folder with a model card

NAME may also be a file, a folder, https://... or hf://user/repository[/file]. The environment variable
KERAS_OSNET_CACHE names the cache folder, and KERAS_OSNET_MIRROR an address that is tried first.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import tyro

from keras_osnet.weights import PRESETS, Score, Threshold, locate
from keras_osnet.weights.presets import TRAINING_SETS, preset_trained_on


def list_(word: tyro.conf.Positional[str] = ""):
    """Prints the presets.

    Args:
        word: part of the name or training set, such as "market1501" or "osnet_ain".
    """
    rows = [row for row in PRESETS.values() if word in f"{row.name} {row.title}"]
    if not rows:
        raise ValueError(f"`word` must be in the name or training set of a preset. Received: {word!r}")
    print(f"{'name':28s}{'input':>10s}{'classes':>9s}{'MB':>7s}  {'training set':40s}reported Rank-1 / mAP, %")
    for row in rows:
        size = f"{row.size / 1e6:.1f}" if row.size else ""
        sides = "x".join(map(str, row.input_shape[:2]))
        print(f"{row.name:28s}{sides:>10s}{row.classes or '':>9}{size:>7s}  {row.title:40s}{scores_of(row)}")


def scores_of(card):
    return ", ".join(f"{score.dataset} {100 * score.rank1:.1f} / {100 * score.mAP:.1f}" for score in card.scores)


def info(name: tyro.conf.Positional[str]):
    """Prints all facts about weights. A preset is not downloaded.

    Args:
        name: preset, training set of one of width 1, file, folder or address.
    """
    row = preset_trained_on(name, 1.0, "osnet") if name in TRAINING_SETS else PRESETS.get(name)
    if row is None:
        source = locate(name)
        facts, card = {"file": source.path, "format": source.format, "preset": source.preset}, source.card
    else:
        card = row.card
        facts = {"network": f"{row.variant} x{row.width:g}", "input": row.input_shape, "classes": row.classes}
        facts |= {"file": row.file, "bytes": row.size, "SHA-256": row.sha256}
    facts |= {"training set": row.title if row else card.training_set, "licence of the weights": card.weights_licence}
    facts |= {"licence of the images": card.images_licence, "reported Rank-1 / mAP": scores_of(card) or None}
    facts |= {"match probability": card.match_probability, "of two tracks": card.track_match_probability}
    for key, value in facts.items():
        print(f"{key:24s}{'not known' if value is None else value}")
    for address in row.addresses if row else ():
        print(f"{'address':24s}{address}")


def download(names: tyro.conf.Positional[tuple[str, ...]]):
    """Downloads weights into the cache folder and prints their paths.

    Args:
        names: presets or addresses.
    """
    for name in names:
        print(locate(name).path)


def score(
    name: tyro.conf.Positional[str],
    dataset: str,
    data_dir: Path,
    output: Path | None = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
):
    """Scores weights on the test set of a dataset, and writes a folder for `OSNet.from_preset` with a model card.

    Args:
        name: preset, file, folder or address.
        dataset: row of keras_osnet.DATASETS.
        data_dir: folder that holds the dataset's official folder.
        output: folder for the weights and the model card. Default: runs/NAME.
        metric: distance between features.
    """

    from keras_osnet import DATASETS, FeatureExtractor, OSNet, __version__
    from keras_osnet.data import load_splits
    from keras_osnet.files import path_of, require_writable
    from keras_osnet.inference.evaluation import Scoring, check_scoring, evaluate_test_set
    from keras_osnet.inference.scores import describe, table, verification_rows
    from keras_osnet.weights.folder import refuse_foreign_files
    from keras_osnet.weights.sources import CONFIG

    folder = path_of("output", output or Path("runs") / Path(name).name.split(".")[0])
    refuse_foreign_files(folder)
    require_writable(folder / CONFIG)
    test_set = load_splits(dataset, data_dir)
    known = not any(splits.grouped for splits in test_set)  # else a person has another label in each group
    scoring = Scoring(metric=metric, verification=known, match_probability=known)
    check_scoring(scoring, test_set, dataset)
    print(describe(test_set[0], DATASETS[dataset].protocol))  # now, so that its errors come before the features
    network, report = app.load_network(name)
    if not isinstance(network, OSNet):
        raise ValueError(f"`name` must be an OSNet. Received: {name}, a network {network.name}")
    protocol, fitted_on = DATASETS[dataset].protocol, f"{dataset}, test set"
    rows, pairs = evaluate_test_set(FeatureExtractor(network), test_set, scoring, protocol, fitted_on=fitted_on)
    print(f"{dataset}: trained on {report.training_set or 'an unknown training set'}\n{table(rows)}")
    print(pairs.text())
    found = Score(dataset, rows[metric]["rank1"], rows[metric]["mAP"], metric, f"measured, keras_osnet {__version__}")
    possible = verification_rows(pairs.verification) if known else ()
    measured = [row for row in possible if row["distance"] and not row["below_one_impostor"]]
    thresholds = tuple(Threshold(dataset, row["far"], row["distance"], metric) for row in measured)
    facts = {"scores": (*report.card.scores, found), "thresholds": report.card.thresholds + thresholds}
    fitted = {"match_probability": pairs.match, "track_match_probability": pairs.track_match}
    facts |= {field: match.to_dict() for field, match in fitted.items() if match}
    card = replace(report.card, **facts)
    network.save_to_preset(folder, card=card)
    print(f"{folder}: load it with OSNet.from_preset; README.md is the model card")


def parse():
    return app.parse_verbs({"list": list_, "info": info, "download": download, "score": score}, __doc__)


def main():
    app.execute(parse)


if __name__ == "__main__":
    main()
