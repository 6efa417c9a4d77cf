"""The report's texts, tables and curves."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics import RetrievalScores, VerificationScores
from keras_osnet.report.charts import chart, steps
from keras_osnet.training import work_dir as runs
from keras_osnet.visual.ranking import PairDistances

# Of the ROC's points, the one to work at: one stranger in a thousand is let in.
OPERATING = 1e-3
# Curves of training: title, what the numbers are called in metrics.jsonl, colours, whether the axis is logarithmic.
TRAINING = (
    ("Loss", {"loss": "loss"}, False),
    ("Accuracy on training batches", {"accuracy": "accuracy"}, False),
    ("Learning rate", {"learning_rate": "learning rate"}, True),
    ("Test side during training", {"rank1": "Rank-1", "mAP": "mAP"}, False),
)
TONES = ("accent", "impostor", "match")


@dataclass(frozen=True, eq=False)
class Scores:
    """What could be scored; None where there are no matches, or no impostors."""

    retrieval: RetrievalScores | None
    verification: VerificationScores | None
    pairs: PairDistances | None
    metric: str

    @property
    def operating_point(self):
        """False accept rate, true accept rate and threshold to work at."""
        at = int(np.argmin(np.abs(np.log(self.verification.far / OPERATING))))
        return tuple(float(values[at]) for values in (
            self.verification.far, self.verification.tar, self.verification.threshold
        ))  # fmt: skip


def texts_of(names, dataset, splits, scores, cost, latency, history, layer):
    """What the template prints beside the panels."""
    title = f"{names[0]} on {dataset}" if dataset else names[0]
    return {
        "title": title,
        "lede": _lede(scores),
        "tiles": [*_tiles(scores), ("parameters", _short(cost.params)), ("mult-adds", _short(cost.mult_adds)),
                  ("one picture", f"{latency:.1f} ms")],
        "notices": [],
        "dataset": dataset or "dataset",
        "cameras": sorted({r.camera for r in splits.query}) if splits.cameras_known else [],
        "layer": layer,
        "names": names,
        "other": names[1] if len(names) > 1 else "",
        "curves": _curves(scores),
        "verification": _verification(scores.verification),
        "training": _training(history),
        "counts": _counts(splits),
        "tables": _tables(names, scores, cost, latency),
        "folder": "report",
    }  # fmt: skip


def _lede(scores):
    if scores.retrieval is None:
        return "No query has a match that the camera rule leaves in the gallery, so that nothing can be scored."
    found = scores.retrieval
    left = found.queries - found.valid_queries
    without = f" ({left:,} more have no match to find)" if left else ""
    return (
        f"For {100 * found.rank(1):.1f} % of {found.valid_queries:,} queries{without} the nearest picture of the "
        f"gallery is the right person; the mean average precision is {100 * found.mAP:.1f} %."
    )


def _tiles(scores):
    found = scores.retrieval
    if found is None:
        return [("Rank-1", "–"), ("mAP", "–")]
    ranks = [(f"Rank-{k}", found.rank(k)) for k in (1, 5, 10)]
    return [(name, f"{100 * value:.2f} %") for name, value in (*ranks, ("mAP", found.mAP), ("mINP", found.mINP))]


def _short(count):
    return f"{count / 1e6:.2f}M" if count < 1e8 else f"{count / 1e6:.0f}M"


def _curves(scores):
    """(chart, tones of its lines), each."""
    found = [] if scores.retrieval is None else [(_cmc(scores.retrieval.cmc), TONES)]
    if scores.verification is not None:
        found += [(_roc(scores), TONES), (_distances(scores), ("match", "impostor"))]
    return found


def _cmc(cmc):
    told = ", ".join(f"rank {k}: {100 * cmc[k - 1]:.1f} %" for k in (1, 5, 10, 20))
    return chart(
        "Cumulative matches (CMC)",
        {"CMC": (np.arange(1, len(cmc) + 1), 100 * cmc)},
        labels=("rank k", "% of queries with a match among the first k"),
        alt=f"Share of queries with a match among the first k. {told}.",
        y_range=(100 * cmc[0] - 5 if cmc[0] > 0.15 else 0, 100),
    )


def _roc(scores):
    (far, tar, threshold), curve = scores.operating_point, scores.verification.curve
    known = np.isfinite(threshold) and curve[0, 0] <= far
    return chart(
        "Same person or not (ROC)",
        {"ROC": (curve[:, 0], 100 * curve[:, 1])},
        labels=("false accept rate", "% of true pairs accepted"),
        alt=f"True over false accepts; area under the curve {scores.verification.auc:.4f}. At a false accept rate of "
        f"{far:g}, {100 * tar:.1f} % of true pairs are accepted, {_threshold(threshold)}.",
        y_range=(0, 100),
        log_x=True,
        marks=[(far, 100 * tar, _threshold(threshold))] if known else [],
    )


def _distances(scores):
    pairs, threshold = scores.pairs, scores.operating_point[2]
    matches, others = (100 * counts / max(counts.sum(), 1) for counts in (pairs.matches, pairs.impostors))
    return chart(
        "Distances of pairs",
        {"matches": steps(pairs.edges, matches), "everyone else": steps(pairs.edges, others)},
        labels=("distance", f"% of the pairs, in each of {len(matches)} bins"),
        alt=f"Distances of {pairs.matches.sum():,} matches, median near {_median(pairs.edges, matches):.3g}, and of "
        f"{pairs.impostors.sum():,} other pairs, median near {_median(pairs.edges, others):.3g}.",
        y_range=(0, 1.15 * max(matches.max(), others.max())),  # room for the mark's text
        areas=True,
        marks=[(threshold, None, f"threshold {threshold:.3g}")] if np.isfinite(threshold) else [],
    )


def _median(edges, shares):
    return float(edges[np.searchsorted(np.cumsum(shares), 50) + 1])


def _threshold(value):
    return f"at distance {value:.3g}" if np.isfinite(value) else "at no distance"


def _verification(scores):
    if scores is None:
        return []
    rows = zip(scores.far, scores.tar, scores.threshold, scores.below_one_impostor, strict=True)
    return [
        (f"{far:g}" + " (none accepted: too few pairs to tell)" * bool(few), f"{100 * tar:.2f} %",
         f"{threshold:.4g}" if np.isfinite(threshold) else "–")
        for far, tar, threshold, few in rows
    ]  # fmt: skip


def _training(history):
    found = []
    for title, names, log in TRAINING:
        curves = {}
        for key, name in names.items():
            points = [(line["epoch"], line[key]) for line in history if key in line]
            if points and (not log or min(value for _, value in points) > 0):
                curves[name] = tuple(np.array(column, float) for column in zip(*points, strict=True))
        if curves:
            last = ", ".join(f"{name} {y[-1]:.4g}" for name, (_, y) in curves.items())
            alt = f"{title} over {len(history)} epochs; at the end {last}."
            labels = "epoch", "logarithmic scale" if log else ""
            found.append((chart(title, curves, labels=labels, alt=alt, log_y=log, whole_x=True), TONES))
    return found


def _counts(splits):
    for part in ("train", "query", "gallery"):
        records = getattr(splits, part)
        cameras = {r.camera for r in records} - {None}
        yield part, f"{len(records):,}", f"{len({r.identity for r in records}):,}", str(len(cameras) or "–")


def _tables(names, scores, cost, latency):
    rows = [("distance", scores.metric)]
    if scores.retrieval is not None:
        found = scores.retrieval
        rows += [*_tiles(scores), ("queries with a match", f"{found.valid_queries:,} of {found.queries:,}")]
    if scores.verification is not None:
        found = scores.verification
        rows += [("area under the ROC", f"{found.auc:.4f}"), ("matching pairs", f"{found.genuine:,}"),
                 ("other pairs", f"{found.impostors:,}")]  # fmt: skip
    network = [
        ("name", names[0]),
        ("parameters", f"{cost.params:,}"),
        ("mult-adds of one picture", f"{cost.mult_adds:,}"),
        ("one picture on this machine", f"{latency:.1f} ms (median of 20, one at a time)"),
    ]
    return [("Network", network), ("Scores", rows), ("This run", list(runs.about().items()))]
