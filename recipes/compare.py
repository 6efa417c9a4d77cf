"""Compares networks by their scores on test sets, with confidence intervals and a test of the differences.

    python recipes/compare.py --weights A B C --datasets market1501 --data-dir D
    python recipes/compare.py --weights A B --datasets market1501 msmt17 people --data-dir D      across domains
    python recipes/compare.py --weights A B --datasets pa100k --data-dir D --attributes           attribute networks

Every network is compared with the first one. The script writes metrics.json and, for each dataset, plots of mAP over
milliseconds per image and over the size of the network. With several datasets it prints a matrix of networks and
datasets too. Bootstrap samples draw people with all their queries, and the intervals contain 95 % of the samples. A
paired permutation test computes the p-values. Do not compare networks that were trained on people of the test set.

With `--attributes` the scores are mA and accuracy, of the test images, and a table compares each attribute.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import app  # first: it sets what TensorFlow reads when it is imported

from keras_osnet import DATASETS, AttributeRecogniser, FeatureExtractor
from keras_osnet.data import load, load_attributes
from keras_osnet.data.images import first_three
from keras_osnet.files import refuse_foreign, require_writable, write_json, writing_atomically
from keras_osnet.inference import attribute_scores
from keras_osnet.inference.scores import describe, features_of_splits, groups_of, labels_of, milliseconds
from keras_osnet.layers.norms import parameters
from keras_osnet.metrics import attribute_image_scores, attribute_table, bootstrap, compare, query_scores
from keras_osnet.weights import load_network

# Ending of a plot -> key of a network's cost, its unit, and what the axis says.
COSTS = {"time": ("milliseconds", 1, "milliseconds per image"), "size": ("parameters", 1e6, "million parameters")}


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
    attributes: bool = False
    """Compare attribute networks, attribute by attribute."""
    threshold: float = 0.5
    """Smallest probability of a predicted attribute."""
    metric: app.Metric = "cosine"
    """Distance between features."""
    resolution: float = 1.0
    """Input size as a multiple of the preset's, or of 256 x 128. Other weights that have one keep it."""
    resamples: int = 10_000
    """Number of bootstrap samples and of permutations."""
    seed: int = 0

    @property
    def scores(self):
        """Names of the scores. The first is plotted."""
        return ("mA", "accuracy") if self.attributes else ("mAP", "rank1")


def name_of(weights, names):
    """Returns a short name that is not among `names`."""
    name = Path(weights).absolute().name if Path(weights).is_dir() else Path(weights).stem
    choices = (name, f"{name} ({weights})", *(f"{name} ({weights}, {n})" for n in range(2, len(names) + 2)))
    return next(choice for choice in choices if choice not in names)


def tested(splits, options):
    """Returns the records that are scored: the test images of attributes, or the queries."""
    return splits.test if options.attributes else splits.query


def query_values(extractor, splits, options):
    """Returns score name -> (queries,) values."""
    query, gallery = features_of_splits(extractor, splits)
    labels = labels_of(splits)
    found = query_scores(query, *labels[:2], gallery, *labels[2:], metric=options.metric, **groups_of(splits))
    return dict(zip(options.scores, found, strict=True))


def image_values(recogniser, splits, options):
    """Returns score name -> (images,) values, "each" -> (images, attributes) values, and "table" -> attribute rows."""
    probabilities = recogniser.probabilities([record.path for record in splits.test])
    arguments = probabilities, attribute_scores.labels_of(splits.test)
    balanced, accuracy = attribute_image_scores(*arguments, options.threshold)
    table = attribute_table(*arguments, splits.names, options.threshold)
    return {"mA": balanced.mean(axis=1), "accuracy": accuracy, "each": balanced, "table": table}


def draw_of(splits, options):
    """Returns the arguments of `bootstrap` and `compare`."""
    people = [record.identity for record in tested(splits, options)]
    return {"groups": None if None in people else people, "resamples": options.resamples, "seed": options.seed}


def compared(found, draw, scores):
    """Returns, for each network of `found`, the estimate of each score and its comparison with the first network."""
    first, rows = next(iter(found)), {}
    for name, values in found.items():
        rows[name] = {score: bootstrap(values[score], **draw) for score in scores}
        if name != first:
            rows[name] |= {
                f"{score} - {first}": compare(values[score], found[first][score], **draw) for score in scores
            }
    return rows


def compared_attributes(found, draw):
    """Returns, for each network, its scores of each attribute and the comparison of its mA with the first network's."""
    first, rows = next(iter(found)), {}
    for name, values in found.items():
        rows[name] = attribute_scores.as_values(values["table"])
        for column, attribute in enumerate(rows[name] if name != first else ()):
            pair = (found[each]["each"][:, column] for each in (name, first))
            rows[name][attribute][f"mA - {first}"] = asdict(compare(*pair, **draw))
    return rows


def interval(estimate, form=""):
    """Returns an estimate in per cent with its interval."""
    value, low, high = (100 * end for end in (estimate.value, estimate.low, estimate.high))
    return f"{value:{form}.2f} ({low:{form}.1f}..{high:{form}.1f})"


def table(rows, networks, scores):
    """Returns the table of a dataset as text."""
    main, second = scores
    head = f"{main} - first"
    lines = [f"  {'%':32s}{main:>22s}{second:>22s}{head:>24s}{'p':>8s}{'ms':>8s}{'parameters':>13s}"]
    for name, row in rows.items():
        difference = next((value for key, value in row.items() if key.startswith(f"{main} - ")), None)
        real = [interval(difference.difference, "+"), f"{difference.p_value:.4f}"] if difference else ["", ""]
        cost = f"{networks[name]['milliseconds']:.1f}", f"{networks[name]['parameters']:,}"
        texts = interval(row[main]), interval(row[second]), *real, *cost
        lines.append(
            f"  {name:32s}" + "".join(f"{t:>{w}s}" for t, w in zip(texts, (22, 22, 24, 8, 8, 13), strict=True))
        )
    return "\n".join(lines)


def attribute_lines(rows):
    """Returns a table with a line for each attribute: its positives, and mA and average precision of each network."""
    names = list(rows)
    lines = [f"  {'%':28s}{'positives':>10s}  " + "  ".join(f"{name[-24:]:>24s}" for name in names)]
    lines += [" " * 40 + "  ".join(f"{'mA':>8s}{'AP':>8s}{'p' * (name != names[0]):>8s}" for name in names)]
    for attribute, values in rows[names[0]].items():
        cells = []
        for name in names:
            row = rows[name][attribute]
            percents = [None if row[score] is None else 100 * row[score] for score in ("mA", "average_precision")]
            real = next((value["p_value"] for key, value in row.items() if key.startswith("mA - ")), None)
            texts = ["-" if percent is None else f"{percent:.2f}" for percent in percents]
            cells.append("".join(f"{text:>8s}" for text in (*texts, "" if real is None else f"{real:.4f}")))
        lines.append(f"  {attribute:28s}{values['positives']:10d}  " + "  ".join(cells))
    return "\n".join(lines)


def matrix(rows, scores):
    """Returns a table of networks and datasets as text, from dataset -> network -> score -> estimate."""
    lines = [f"  {' / '.join(scores) + ', %':32s}" + "".join(f"{dataset:>22s}" for dataset in rows)]
    for name in next(iter(rows.values())):
        cells = (" / ".join(f"{100 * row[name][score].value:.2f}" for score in scores) for row in rows.values())
        lines.append(f"  {name:32s}" + "".join(f"{cell:>22s}" for cell in cells))
    return "\n".join(lines)


def run(options):
    """Scores all networks on all datasets."""
    if len(options.weights) < 2:
        raise ValueError(f"`weights` must name at least 2 networks. Received: {len(options.weights)}")
    if not options.datasets:
        raise ValueError("`datasets` must name at least 1 dataset. Received: 0")
    for name, used, word in (("threshold", options.attributes, "with"), ("metric", not options.attributes, "without")):
        if not used and getattr(options, name) != getattr(Options, name):
            raise ValueError(f"`{name}` must be given {word} `attributes`. Received: {name}={getattr(options, name)}")
    if (options.work_dir / "config.json").exists():
        raise ValueError(f"`work_dir` must not be that of another command. Received: {options.work_dir}")
    other = {
        name for name, row in DATASETS.items() if row.protocol != "market1501"
    }  # attributes have names of their own
    if others := [name for name in options.datasets if name in other]:
        raise ValueError(
            f"`datasets` must be scored against their whole gallery at once. Received: {', '.join(others)}"
        )
    require_writable(options.work_dir / "metrics.json")
    refuse_foreign(options.work_dir / "metrics.json", b'"networks"')
    plots = [options.work_dir / f"{name}-{cost}.png" for name in options.datasets for cost in COSTS]
    if (there := [str(plot) for plot in plots if plot.exists()]) and not (options.work_dir / "metrics.json").exists():
        raise ValueError(f"`work_dir` must not hold plots without a metrics.json. Received: {first_three(there)}")
    test_sets = {
        name: (load_attributes if options.attributes else load)(name, options.data_dir) for name in options.datasets
    }
    loaded = {}  # all errors of weights and test sets come before the features
    for weights in options.weights:
        network = load_network(weights, resolution=options.resolution)[0]
        model = (AttributeRecogniser if options.attributes else FeatureExtractor)(network)
        loaded[name_of(weights, loaded)] = weights, network, model
        for dataset, splits in test_sets.items() if options.attributes else ():
            attribute_scores.check_names(model, splits.names, dataset)
    if not options.attributes:
        print("\n".join(f"{name}: {describe(splits)}" for name, splits in test_sets.items()))
    found, networks = {name: {} for name in test_sets}, {}
    for name, (weights, network, model) in loaded.items():
        cost = {"parameters": parameters(network), "milliseconds": milliseconds(network)}
        networks[name] = {"weights": weights, **cost}
        for dataset, splits in test_sets.items():
            values = image_values if options.attributes else query_values
            found[dataset][name] = values(model, splits, options)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    report, rows = {"networks": networks, "datasets": {}}, {}
    for dataset, splits in test_sets.items():
        draw = draw_of(splits, options)
        rows[dataset] = compared(found[dataset], draw, options.scores)
        print(f"{dataset}{f', {options.metric}' * (not options.attributes)}")
        print(table(rows[dataset], networks, options.scores))
        values = {name: {score: asdict(v) for score, v in row.items()} for name, row in rows[dataset].items()}
        if options.attributes:
            attributes = compared_attributes(found[dataset], draw)
            print(attribute_lines(attributes))
            for name in values:
                values[name]["attributes"] = attributes[name]
        report["datasets"][dataset] = values
    if len(test_sets) > 1:
        print(matrix(rows, options.scores))
    write_json(options.work_dir / "metrics.json", report)
    for dataset in test_sets:
        plot(rows[dataset], networks, options.work_dir / dataset, options.scores[0])
    print(options.work_dir)


def plot(rows, networks, path, score):
    from keras_osnet.visual import figures  # Matplotlib takes a second

    for name, (cost, unit, text) in COSTS.items():
        points = {network: (networks[network][cost] / unit, row[score]) for network, row in rows.items()}
        with writing_atomically(f"{path}-{name}.png") as file:
            figures.comparison_figure(points, x=text, score=score).savefig(file, format="png", dpi=160)


def parse():
    return partial(run, app.read_options(Options, __doc__))


if __name__ == "__main__":
    app.execute(parse)
