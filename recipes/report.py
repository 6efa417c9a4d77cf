"""A report about a network on a test set: an HTML page, and its figures as PNG files.

    python recipes/report.py --weights FILE --dataset ROW --data-dir D
    python recipes/report.py --weights FILE --dataset ROW --data-dir D --compare FILE      activation maps side by side

The page shows hard triplets, rankings, activation maps, gates, a map of the features, curves and scores (paper, Figures
1, 5, 6 and 7). It is a single file that loads nothing else. Times: recipes/README.md.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported

from keras_osnet import AttributeRecogniser
from keras_osnet.data import DATASETS, load
from keras_osnet.data.images import first_three
from keras_osnet.files import require_writable
from keras_osnet.inference.attributes import attribute_heads
from keras_osnet.report import write_report
from keras_osnet.weights import load_network, locate


@dataclass(frozen=True)
class Report:
    """Options of the report."""

    weights: Path
    """Preset, file, work dir or address (docs/weights.md). The training curves are those of metrics.jsonl beside it."""
    dataset: str
    """Row of keras_osnet.DATASETS."""
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path | None = None
    """Folder for report.html and the folder report. Default: runs/report-DATASET."""
    compare: Path | None = None
    """Weights of a second network, whose activation maps are shown too, for example of osnet_t1."""
    split: int = 0
    """Index of the split, for datasets that have several."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    resolution: float = 1.0
    """Input size as a multiple of the preset's, or of 256 x 128. Other weights that have one keep it."""
    layer: str = "conv5"
    """Layer of the activation maps."""
    block: str | None = None
    """Block whose gates are clustered, for example conv4_2. Default: the last block."""


def attributes_of(network, splits):
    """Returns attribute names, and probabilities and labels of the queries. Returns None without attributes."""
    if not attribute_heads(network) or not splits.attribute_names:
        return None
    recogniser = AttributeRecogniser(network)
    if recogniser.names != splits.attribute_names:
        raise ValueError(
            f"`weights` must recognise the attributes of the dataset: {', '.join(splits.attribute_names)}. "
            f"Received: {', '.join(recogniser.names)}"
        )
    without = [record.path for record in splits.query if not record.attributes]
    if without:
        raise ValueError(
            "`dataset` must have the attributes of every query. "
            f"Received: {len(without)} of {len(splits.query)} queries without: {first_three(without)}"
        )
    probabilities = recogniser.probabilities([record.path for record in splits.query])
    return recogniser.names, probabilities, [record.attributes for record in splits.query]


def names_of(networks, paths):
    """Returns the names of the networks. The end of the path is added to equal names, until they differ."""
    names = [network.name for network in networks]
    if len(set(names)) == len(names):
        return names
    parts = [path.absolute().parts for path in paths]
    length = next((n for n in range(1, 1 + max(map(len, parts))) if len({each[-n:] for each in parts}) > 1), 1)
    return [f"{name} ({'/'.join(each[-length:])})" for name, each in zip(names, parts, strict=True)]


def run(settings):
    """Writes the report."""
    work_dir = settings.work_dir or Path("runs") / f"report-{settings.dataset}"
    require_writable(work_dir / "report.html")
    splits = load(settings.dataset, settings.data_dir, settings.split)
    paths = [settings.weights] if settings.compare is None else [settings.weights, settings.compare]
    networks = [load_network(path, resolution=settings.resolution)[0] for path in paths]
    page = write_report(
        work_dir,
        networks[0],
        splits,
        dataset=settings.dataset,
        compare=networks[1] if len(networks) > 1 else None,
        names=names_of(networks, paths),
        attributes=partial(attributes_of, networks[0], splits),
        metric=settings.metric,
        protocol=DATASETS[settings.dataset].protocol,
        layer=settings.layer,
        block=settings.block,
        training_dir=locate(settings.weights).path.parent,
        progress=lambda part, seconds: print(f"  {part:32s}{seconds:6.1f} s", flush=True),
    )
    print(page)


def main():
    app.execute(lambda: partial(run, app.read_options(Report, __doc__)))


if __name__ == "__main__":
    main()
