"""Writes the report about a network on a test set: an HTML page, and figures."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from keras_osnet.complexity import complexity
from keras_osnet.files import read_history, refuse_foreign, require_writable, write_atomically
from keras_osnet.inference.activations import gated_blocks, map_output
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.scores import features_of_splits, labels_of, milliseconds
from keras_osnet.metrics.arguments import as_array, encode_labels, feature_matrices, row_of
from keras_osnet.metrics.attributes import attribute_table
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.ranking import PROTOCOLS
from keras_osnet.report import panels as show
from keras_osnet.report.comparison import compare as compare_sides
from keras_osnet.report.page import render
from keras_osnet.report.plates import NAMES, figures_of, save_figures, save_map
from keras_osnet.report.summary import curves_of, texts_of

PAGE, FOLDER = "report.html", "report"
MARK = b">To the report</a>"  # near the start of every page


def write_report(
    work_dir,
    network,
    splits,
    *,
    dataset="",
    features=None,
    compare=None,
    names=None,
    attributes=None,
    metric="euclidean",
    protocol="market1501",
    layer="conv5",
    block=None,
    training_dir=None,
    progress=None,
):
    """Writes report.html, a page without external files, and its figures as PNG files in the folder report.

    The page shows hard triplets, rankings, activation maps, gates, a map of the features, attributes, curves and
    scores. It has at most some thousand images, and describes the images that it leaves out. Frames with the names of
    the files replace images that cannot be read; the page counts them.

    Args:
        work_dir: folder to write to. It need not exist.
        network: network that returns features, as for `FeatureExtractor`.
        splits: `Splits`, with images in query and gallery.
        dataset: name of the dataset, for the title.
        features: features of query and gallery, (Q, D) and (G, D), the result of `features_of_splits`. Default: they
            are computed here.
        compare: second network, for its activation maps. Default: none.
        names: names of the networks. Default: those of the models.
        attributes: names (A), probabilities (Q, A) and labels (Q, A) of the queries, or a function that returns them or
            None, which is called after the other arguments are checked. Default: none.
        metric: "euclidean" (default) or "cosine".
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        layer: layer of the activation maps. Default "conv5".
        block: block whose gates are clustered, such as "conv4_2". Default: the last.
        training_dir: folder of metrics.jsonl. Default: `work_dir`.
        progress: function of (name of a part, seconds of this part).

    Returns:
        path of the page.

    Raises:
        ValueError: if an argument is not as described, or report.html is a foreign file, before anything is computed.
        OSError: if the folder cannot be written, before anything is computed.

    Reference: paper, Figures 1, 5, 6 and 7.
    """
    work_dir, timed = Path(work_dir), _timer(progress)
    models = [network] if compare is None else [network, compare]
    names = list(names or _names(models))
    extractor = FeatureExtractor(network)
    networks = [extractor.network, *(FeatureExtractor(each).network for each in models[1:])]
    _check(splits, features, names, models, metric, protocol)
    if not callable(attributes):
        _check_attributes(attributes, len(splits.query))
    _check_parts(networks, layer, block)
    require_writable(work_dir / PAGE)
    refuse_foreign(work_dir / PAGE, MARK)
    there = [name for name in NAMES if (work_dir / FOLDER / f"{name}.png").exists()]
    if there and not (work_dir / PAGE).exists():
        raise ValueError(f"`work_dir` must not hold a {FOLDER}/{there[0]}.png without a {PAGE}. Received: {work_dir}")
    require_writable(work_dir / FOLDER / "ranking.png")
    if callable(attributes):
        with timed("attributes"):
            attributes = attributes()
        _check_attributes(attributes, len(splits.query))
    with timed("features"):
        tests = _test_set(splits, features_of_splits(extractor, splits) if features is None else features, metric)
    with timed("distances"):
        comparison = compare_sides(tests.sides, metric=metric, protocol=protocol, top=tests.top, triplets=show.TRIPLETS)
    history = read_history(Path(training_dir or work_dir) / "metrics.jsonl", {"epoch"})
    scores, training = curves_of(names[0], comparison, history)
    # One limit around all threads: after two that overlap, the process would keep one thread.
    with threadpool_limits(1), ThreadPoolExecutor(1) as pool:
        mapping = pool.submit(show.mapped, tests)  # seconds on one core
        with timed("activation maps and gates"):
            groups = show.middle_and_ends(comparison.ranking)
            inside = show.inside(networks, tests, groups, name=names[0], layer=layer, block=block)
        listed = show.listed(comparison.ranking, tests.queries)
        recognised = _attributes(attributes, splits)
        panels = show.Panels(comparison.ranking, listed, comparison.triplets, *inside, recognised)
        with timed("figures"):
            work_dir.mkdir(parents=True, exist_ok=True)
            if not (work_dir / PAGE).exists():  # the figures of a process that is killed here are ours
                write_atomically(work_dir / PAGE, b"<!doctype html><p>Not complete<p" + MARK)
            drawn = figures_of(panels, tests, attributes, names, history)
            save_figures(work_dir / FOLDER, chain(((name, curve) for name, (curve, _) in scores.items()), drawn))
        with timed("rest of the map of the features"):
            mapped = mapping.result()
            save_map(work_dir / FOLDER, mapped, tests)
    with timed("cost of the network"):
        cost, latency = complexity(networks[0]), milliseconds(networks[0])
    texts = texts_of(names, dataset, splits, comparison, metric, cost, latency, layer)
    with timed("page"):
        html = render(panels, mapped, tests, texts, scores, training)
        # File names may hold bytes that are no text, which become question marks.
        write_atomically(work_dir / PAGE, html.encode("utf-8", "replace"))
    return work_dir / PAGE


def _names(models):
    """Returns the names of the models, made unique."""
    names = [model.name for model in models]
    return names if len(set(names)) == len(names) else [names[0], f"{names[1]} (compared)"]


def _timer(progress):
    @contextmanager
    def timed(name):
        began = time.perf_counter()
        yield
        if progress:
            progress(name, time.perf_counter() - began)

    return timed


def _check(splits, features, names, models, metric, protocol):
    row_of("metric", metric, METRICS)
    row_of("protocol", protocol, PROTOCOLS)
    counts = len(splits.query), len(splits.gallery)
    if splits.grouped:
        raise ValueError("`splits` must be ranked against the whole gallery. Received: a dataset with groups")
    if len(names) != len(models):
        raise ValueError(f"`names` must be of {len(models)} networks. Received: {', '.join(names)}")
    if features is not None:
        if tuple(map(len, features)) != counts:
            given = " and ".join(str(len(some)) for some in features)
            raise ValueError(
                "`features` must be of query and gallery, a row for each image. "
                f"Received: {given:.100} for {counts[0]} and {counts[1]} images"
            )
        feature_matrices(*features)


def _check_attributes(attributes, queries):
    if attributes is not None:
        if not (isinstance(attributes, (tuple, list)) and len(attributes) == 3):
            raise ValueError(f"`attributes` must be names, probabilities and labels. Received: {attributes!r:.200}")
        names, *arrays = attributes
        shapes = [as_array("attributes", array).shape for array in arrays]
        if shapes != [(queries, len(names))] * 2:
            raise ValueError(
                "`attributes` must be names, probabilities and labels, the last two of shape (queries, names) = "
                f"{(queries, len(names))}. Received: {' and '.join(map(str, shapes))}"
            )
        attribute_table(*arrays, names)  # it refuses names and values that are not as described


def _check_parts(networks, layer, block):
    for network in networks:
        map_output(network, str(layer))  # None would be any layer
    blocks = gated_blocks(networks[0])
    if block is not None and block not in blocks:
        known = f"one of {', '.join(blocks)}" if blocks else "None, as the network has no gates"
        raise ValueError(f"`block` must be {known}. Received: block={block!r}")


def _test_set(splits, features, metric):
    labels = encode_labels(*labels_of(splits), ("query", len(splits.query)), ("gallery", len(splits.gallery)))
    identities, cameras = np.concatenate([labels[0], labels[2]]), np.concatenate([labels[1], labels[3]])
    records = splits.query + splits.gallery
    return show.TestSet(records, np.concatenate(features), identities, cameras, len(splits.query), metric)


def _attributes(attributes, splits):
    if attributes is not None:
        return show.recognised(attributes)
    labelled = len(splits.attribute_names)
    there = f"the dataset labels {labelled} of them" if labelled else "the dataset has none either"
    return f"The network outputs features, no attributes; {there}."
