"""Compares networks by their scores on test sets, with confidence intervals and a test of the differences.

    python recipes/compare.py --weights A B C --datasets market1501 --data-dir D
    python recipes/compare.py --weights A B --datasets market1501 msmt17 people --data-dir D      across domains

Every network is compared with the first one. The script writes metrics.json and, for each dataset, plots of mAP over
milliseconds per image and over the size of the network. Bootstrap samples draw people with all their queries, and the
intervals contain 95 % of the samples. A paired permutation test computes the p-values. Do not compare networks that
were trained on people of the test set.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import app  # first: it sets what TensorFlow reads when it is imported

from keras_osnet import FeatureExtractor
from keras_osnet.data import load
from keras_osnet.files import require_writable, write_json
from keras_osnet.inference.scores import features_of_splits, groups_of, labels_of, milliseconds
from keras_osnet.metrics import bootstrap, compare, query_scores
from keras_osnet.weights import load_network

SCORES = ("mAP", "rank1")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the comparison."""

    weights: tuple[str, ...]
    """At least two presets, training sets, files, folders or addresses (docs/weights.md)."""
    datasets: tuple[str, ...]
    """Rows of keras_osnet.DATASETS, of which the first split is used."""
    data_dir: Path
    """Folder that holds the datasets' official folders."""
    work_dir: Path = Path("runs/compare")
    """Folder for metrics.json and the plots."""
    metric: app.Metric = "cosine"
    """Distance between features."""
    resolution: float = 1.0
    """Input size as a multiple of 256 x 128, for weights without a size."""
    resamples: int = 10_000
    """Number of bootstrap samples and of permutations."""
    seed: int = 0


def name_of(weights, names):
    """Returns a short name that is not among `names`."""
    name = Path(weights).stem if Path(weights).suffix else Path(weights).name
    return name if name not in names else f"{name} ({weights})"


def scores_of(network, splits, options):
    """Returns score name -> (queries,) values."""
    query, gallery = features_of_splits(FeatureExtractor(network), splits)
    labels = labels_of(splits)
    found = query_scores(query, *labels[:2], gallery, *labels[2:], metric=options.metric, **groups_of(splits))
    return dict(zip(SCORES, found, strict=True))


def compared(found, people, options):
    """Returns, for each network of `found`, the estimate of each score and its comparison with the first network."""
    draw = {"groups": people, "resamples": options.resamples, "seed": options.seed}
    first, rows = next(iter(found)), {}
    for name, values in found.items():
        rows[name] = {score: bootstrap(values[score], **draw) for score in SCORES}
        if name != first:
            rows[name] |= {
                f"{score} - {first}": compare(values[score], found[first][score], **draw) for score in SCORES
            }
    return rows


def table(rows, networks):
    """Returns the table of a dataset as text."""
    lines = [f"  {'%':32s}{'mAP':>22s}{'R1':>22s}{'mAP - first':>24s}{'p':>8s}{'ms':>8s}{'parameters':>13s}"]
    for name, row in rows.items():
        estimates = [f"{100 * e.value:.2f} ({100 * e.low:.1f}..{100 * e.high:.1f})" for e in map(row.get, SCORES)]
        difference = next((value for key, value in row.items() if key.startswith("mAP - ")), None)
        real = ["", ""]
        if difference:
            d = difference.difference
            real = [f"{100 * d.value:+.2f} ({100 * d.low:+.1f}..{100 * d.high:+.1f})", f"{difference.p_value:.4f}"]
        cost = networks[name]
        texts = *estimates, *real, f"{cost['milliseconds']:.1f}", f"{cost['parameters']:,}"
        lines.append(
            f"  {name:32s}" + "".join(f"{t:>{w}s}" for t, w in zip(texts, (22, 22, 24, 8, 8, 13), strict=True))
        )
    return "\n".join(lines)


def run(options):
    """Scores all networks on all datasets."""
    if len(options.weights) < 2:
        raise ValueError(f"`weights` must name at least 2 networks. Received: {len(options.weights)}")
    require_writable(options.work_dir / "metrics.json")
    sides = {name: load(name, options.data_dir) for name in options.datasets}
    loaded = {}  # load all weights first, so that a wrong name is found early
    for weights in options.weights:
        loaded[name_of(weights, loaded)] = weights, load_network(weights, resolution=options.resolution)[0]
    found, networks = {name: {} for name in sides}, {}
    for name, (weights, network) in loaded.items():
        networks[name] = {
            "weights": weights,
            "parameters": network.count_params(),
            "milliseconds": milliseconds(network),
        }
        for dataset, splits in sides.items():
            found[dataset][name] = scores_of(network, splits, options)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    report = {"networks": networks, "datasets": {}}
    for dataset, splits in sides.items():
        rows = compared(found[dataset], [record.identity for record in splits.query], options)
        print(f"{dataset}, {options.metric}\n{table(rows, networks)}")
        report["datasets"][dataset] = {
            name: {score: asdict(value) for score, value in row.items()} for name, row in rows.items()
        }
        plot(rows, networks, options.work_dir / dataset)
    write_json(options.work_dir / "metrics.json", report)
    print(options.work_dir)


def plot(rows, networks, path):
    from keras_osnet.visual import figures  # Matplotlib takes a second

    costs = {"time": ("milliseconds", 1, "milliseconds per image"), "size": ("parameters", 1e6, "million parameters")}
    for name, (cost, unit, text) in costs.items():
        points = {network: (networks[network][cost] / unit, row["mAP"]) for network, row in rows.items()}
        figures.comparison_figure(points, x=text).savefig(f"{path}-{name}.png", dpi=160)


def parse():
    return partial(run, app.read_options(Options, __doc__))


if __name__ == "__main__":
    app.execute(parse)
