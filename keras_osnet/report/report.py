"""All that can be seen of a network and a test side, as one HTML page and as figures."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from keras_osnet.complexity import complexity
from keras_osnet.files import write_atomically
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.scores import features_of_splits, labels_of, milliseconds
from keras_osnet.metrics import evaluate_retrieval, verification_scores
from keras_osnet.metrics.arguments import encode_labels
from keras_osnet.metrics.ranking import PROTOCOLS, row_of
from keras_osnet.metrics.retrieval import METRICS
from keras_osnet.report import panels as show
from keras_osnet.report.page import render
from keras_osnet.report.plates import save_figures
from keras_osnet.report.summary import Scores, texts_of
from keras_osnet.visual.ranking import hard_triplets, pair_distances, rank_gallery


def write_report(
    work_dir,
    network,
    splits,
    *,
    dataset="",
    features=None,
    compare=None,
    attributes=None,
    metric="euclidean",
    protocol="market1501",
    layer="conv5",
    block=None,
    training_dir=None,
    progress=None,
):
    """Writes report.html, one page that needs nothing else, and the same figures as PNG files in the folder report.

    The page shows hard triplets, rankings, activation maps, gates, a map of the features, attributes, curves and
    numbers, of at most some thousand pictures: where it leaves some out it says so. Pictures that cannot be opened are
    counted, and their file names stand in their place.

    Args:
        work_dir: folder to write to; made if need be.
        network: network that gives features, as `FeatureExtractor` takes it.
        splits: `Splits`, with pictures in query and gallery.
        dataset: its name, for the title.
        features: of query and gallery, (Q, D) and (G, D), as `features_of_splits` gives them. Default: computed here.
        compare: another network, whose activation maps stand beside.
        attributes: names (A), probabilities (Q, A) and labels (Q, A) of the queries. Default: none.
        metric: "euclidean" (default) or "cosine".
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        layer: whose activations are shown. Default "conv5".
        block: whose gates are clustered, "conv4_2". Default: the last.
        training_dir: folder of the metrics.jsonl that the training wrote. Default: `work_dir`.
        progress: function of (name of a part, seconds that it took).

    Returns:
        path of the page.

    Raises:
        ValueError: if there is no such layer, block, metric or protocol, or if `features` or `attributes` are not of
            these splits.

    Reference: paper, Figures 1, 5, 6 and 7.
    """
    work_dir, timed = Path(work_dir), _timer(progress)
    with timed("checks"):
        extractor, named = FeatureExtractor(network), [each for each in (network, compare) if each is not None]
        networks = [extractor.network, *(FeatureExtractor(each).network for each in named[1:])]
        _check(splits, features, attributes, metric, protocol)
        _check_parts(networks, network, layer, block)
    with timed("features"):
        subject = _subject(splits, features_of_splits(extractor, splits) if features is None else features, metric)
    with timed("scores"):
        ranking = rank_gallery(*subject.arguments, metric=metric, top=_top(subject))
        scores = _scores(subject, protocol)
    panels = _panels(networks, network, subject, ranking, scores, layer, block, timed)
    panels = replace(panels, attributes=_attributes(attributes, splits))
    with timed("cost of the network"):
        cost, latency = complexity(networks[0]), milliseconds(networks[0])
    history = _history(Path(training_dir or work_dir) / "metrics.jsonl")
    names = [each.name for each in named]
    texts = texts_of(names, dataset, splits, scores, cost, latency, history, layer)
    with timed("thumbnails and page"):
        html = render(panels, subject, texts)
        work_dir.mkdir(parents=True, exist_ok=True)
        # File names need not be text: what is no character becomes a question mark.
        write_atomically(work_dir / "report.html", html.encode("utf-8", "replace"))
    with timed("figures"):
        save_figures(work_dir / "report", panels, subject, scores, history, attributes, names)
    return work_dir / "report.html"


def _panels(networks, network, subject, ranking, scores, layer, block, timed):
    """All of `Panels` but the attributes; `networks` end with the features, `network` may have a classifier on top."""
    # The limit around all: two that begin and end in turns would leave the process with one thread for good.
    with threadpool_limits(1), ThreadPoolExecutor(1) as pool:
        mapping = pool.submit(show.mapped, subject)  # takes one core for seconds
        with timed("activation maps"):
            activations = show.activations(networks, subject, show.middle_and_ends(ranking), layer)
        with timed("gates"):
            gates = show.gates(network, subject, block)
        with timed("rest of the map of the features"):
            mapped = mapping.result()
    triplets = None
    if scores.pairs:
        triplets = hard_triplets(*subject.arguments, metric=subject.metric, count=show.TRIPLETS)
    return show.Panels(ranking, show.ranked(ranking, subject), triplets, activations, gates, mapped, "")


def _timer(progress):
    @contextmanager
    def timed(name):
        began = time.perf_counter()
        yield
        if progress:
            progress(name, time.perf_counter() - began)

    return timed


def _check(splits, features, attributes, metric, protocol):
    """Errors now rather than after the features."""
    row_of("metric", metric, METRICS)
    row_of("protocol", protocol, PROTOCOLS)
    counts = len(splits.query), len(splits.gallery)
    if features is not None and tuple(map(len, features)) != counts:
        raise ValueError(
            "`features` must be of query and gallery, a row for each picture. "
            f"Received: {' and '.join(str(len(some)) for some in features)} for {counts[0]} and {counts[1]} pictures"
        )
    if attributes is not None:
        names, *arrays = attributes
        shapes = [np.shape(array) for array in arrays]
        if shapes != [(counts[0], len(names))] * 2:
            raise ValueError(
                "`attributes` must be names, probabilities and labels, the last two of shape (queries, names) = "
                f"{(counts[0], len(names))}. Received: {' and '.join(map(str, shapes))}"
            )


def _check_parts(networks, network, layer, block):
    for each in networks:
        show.activation_maps(each, np.zeros((1, *each.input_shape[1:]), "float32"), layer=layer)
    blocks = show.gated_blocks(network)
    if block is not None and blocks and block not in blocks:
        raise ValueError(f"`block` must be one of {', '.join(blocks)}. Received: block={block!r}")


def _subject(splits, features, metric):
    labels = encode_labels(*labels_of(splits), ("query", len(splits.query)), ("gallery", len(splits.gallery)))
    identities, cameras = np.concatenate([labels[0], labels[2]]), np.concatenate([labels[1], labels[3]])
    records = splits.query + splits.gallery
    return show.Subject(records, np.concatenate(features), identities, cameras, len(splits.query), metric)


def _top(subject):
    return min(show.TOP, len(subject.records) - subject.queries)


def _scores(subject, protocol):
    genuine, impostors = subject.matched
    retrieval = verification = pairs = None
    if genuine:
        retrieval = evaluate_retrieval(*subject.arguments, metric=subject.metric, protocol=protocol)
    if genuine and impostors:
        verification = verification_scores(*subject.arguments, metric=subject.metric)
        pairs = pair_distances(*subject.arguments, metric=subject.metric)
    return Scores(retrieval, verification, pairs, subject.metric)


def _attributes(attributes, splits):
    if attributes is not None:
        return show.recognised(attributes)
    labelled = len(splits.attribute_names)
    there = f"the dataset labels {labelled} of them" if labelled else "the dataset has none either"
    return f"The network gives features, no attributes; {there}."


def _history(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
