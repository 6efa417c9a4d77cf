"""Texts, tables and curves of the report."""

import numpy as np

from keras_osnet.report.comparison import OPERATING
from keras_osnet.training import work_dir as runs
from keras_osnet.visual import figures


def texts_of(names, dataset, splits, comparison, metric, cost, latency, layer):
    """Returns a dict of the template's texts besides panels and curves.

    Args:
        names: names of the network and of the second network.
        dataset: name of the dataset, or "".
        splits: `Splits`.
        comparison: `Comparison`.
        metric: "euclidean" or "cosine".
        cost: `Complexity` of the network.
        latency: milliseconds of one image.
        layer: layer of the activation maps.
    """
    tiles = [*_tiles(comparison.retrieval), ("parameters", _short(cost.params)), ("mult-adds", _short(cost.mult_adds)),
             ("one image", f"{latency:.1f} ms")]  # fmt: skip
    return {
        "title": f"{names[0]} on {dataset}" if dataset else names[0],
        "lede": _lede(comparison.retrieval),
        "tiles": tiles,
        "dataset": dataset or "dataset",
        "cameras": sorted({r.camera for r in splits.query}) if splits.cameras_known else [],
        "layer": layer,
        "names": names,
        "verification": _verification(comparison.verification),
        "counts": list(_counts(splits)),
        "tables": _tables(names, comparison, metric, cost, latency),
    }


def curves_of(name, comparison, history):
    """Returns the curves of the scores and of the training: two dicts of name to (figure, text alternative)."""
    scores, retrieval, verification = {}, comparison.retrieval, comparison.verification
    if retrieval is not None:
        ranks = ", ".join(f"rank {k}: {100 * retrieval.cmc[k - 1]:.1f} %" for k in (1, 5, 10, 20))
        scores["cmc"] = (
            figures.cmc_figure({name: retrieval.cmc}),
            f"Percentage of queries with a match among the first k. {ranks}.",
        )
    if verification is not None:
        scores["roc"] = (
            figures.roc_figure(verification, far=OPERATING),
            f"True over false accept rate; area under the curve {verification.auc:.4f}.",
        )
        pairs = comparison.pairs
        medians = [_median(pairs.edges, counts) for counts in (pairs.matches, pairs.impostors)]
        scores["distances"] = (
            figures.distances_figure(pairs, comparison.threshold),
            f"Distances of {pairs.matches.sum():,} matches, median near {medians[0]:.3g}, and of "
            f"{pairs.impostors.sum():,} impostors, median near {medians[1]:.3g}.",
        )
    training = {}
    for title, numbers in figures.training_panels(history).items():
        last = ", ".join(f"{n} {next(line[n] for line in reversed(history) if n in line):.4g}" for n in numbers)
        alt = f"{title} over {len(history)} epochs; at the end {last}."
        training[title] = figures.training_figure(history, title), alt
    return scores, training


def _lede(found):
    if found is None:
        return "No query has a match under another camera, so there is nothing to score."
    left = found.queries - found.valid_queries
    without = f" ({left:,} more queries have no match to find)" if left else ""
    return (
        f"For {100 * found.rank(1):.1f} % of {found.valid_queries:,} queries{without} the nearest gallery image shows "
        f"the right person. The mean average precision is {100 * found.mAP:.1f} %."
    )


def _tiles(found):
    if found is None:
        return [("Rank-1", "–"), ("mAP", "–")]
    ranks = [(f"Rank-{k}", found.rank(k)) for k in (1, 5, 10)]
    return [(name, f"{100 * value:.2f} %") for name, value in (*ranks, ("mAP", found.mAP), ("mINP", found.mINP))]


def _short(count):
    return f"{count / 1e6:.2f}M" if count < 1e8 else f"{count / 1e6:.0f}M"


def _median(edges, counts):
    total = np.cumsum(counts)
    return float(edges[np.searchsorted(total, total[-1] / 2) + 1])


def _verification(scores):
    if scores is None:
        return []
    rows = zip(scores.far, scores.tar, scores.threshold, scores.below_one_impostor, strict=True)
    return [
        (f"{far:g}" + " (none accepted: too few pairs)" * bool(few), f"{100 * tar:.2f} %",
         f"{threshold:.4g}" if np.isfinite(threshold) else "–")
        for far, tar, threshold, few in rows
    ]  # fmt: skip


def _counts(splits):
    for part in ("train", "query", "gallery"):
        records = getattr(splits, part)
        cameras = {r.camera for r in records} - {None}
        yield part, f"{len(records):,}", f"{len({r.identity for r in records}):,}", str(len(cameras) or "–")


def _tables(names, comparison, metric, cost, latency):
    rows, found, pairs = [("distance", metric)], comparison.retrieval, comparison.verification
    if found is not None:
        rows += [*_tiles(found), ("queries with a match", f"{found.valid_queries:,} of {found.queries:,}")]
    if pairs is not None:
        rows += [("area under the ROC", f"{pairs.auc:.4f}"), ("pairs of matches", f"{pairs.genuine:,}"),
                 ("pairs of impostors", f"{pairs.impostors:,}")]  # fmt: skip
    network = [
        ("name", names[0]),
        ("parameters", f"{cost.params:,}"),
        ("mult-adds of one image", f"{cost.mult_adds:,}"),
        ("one image on this machine", f"{latency:.1f} ms (median of 20, one at a time)"),
    ]
    return [("Network", network), ("Scores", rows), ("This run", list(runs.about().items()))]
