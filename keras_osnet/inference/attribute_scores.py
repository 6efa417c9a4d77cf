"""Scores of an attribute network as dicts and as tables of text."""

from pathlib import Path

import numpy as np

from keras_osnet.files import read_json
from keras_osnet.metrics import attribute_scores, attribute_table
from keras_osnet.metrics.arguments import is_number

SCORES = ("mA", "accuracy", "precision", "recall", "f1")
FEWEST = 5  # images with the attribute, and without it, for the attribute to count in `mA_common`


def labels_of(records):
    """Returns the attributes of records: (N, attributes) int32, 0 or 1."""
    return np.array([record.attributes for record in records], "int32")


def summarize(probabilities, labels, threshold=0.5):
    """Returns a dict of fractions, and `empty_predictions`: the number of images without a predicted attribute.

    `mA_common` is the mean accuracy over the attributes that at least `FEWEST` images have and at least `FEWEST` lack.
    It is None if there is no such attribute.
    """
    scores = attribute_scores(probabilities, labels, threshold)
    common = (labels.sum(axis=0) >= FEWEST) & ((1 - labels).sum(axis=0) >= FEWEST)
    found = {name: float(getattr(scores, name)) for name in SCORES}
    found["mA_common"] = float(scores.mA_per_attribute[common].mean()) if common.any() else None
    return found | {"empty_predictions": scores.empty_predictions}


def majority(train_labels, test_labels):
    """Returns the scores of a baseline: for each attribute, it predicts the label of most training images."""
    predicted = np.broadcast_to(train_labels.mean(axis=0) >= 0.5, test_labels.shape)
    return summarize(predicted.astype("float32"), test_labels)


def table(rows, count):
    """Returns a table of scores in per cent as text: a line per name of `summarize`'s dicts."""
    lines = [f"  {'%':24s}{'mA':>8s}{'mA*':>8s}{'acc':>8s}{'prec':>8s}{'rec':>8s}{'F1':>8s}  nothing predicted"]
    for name, row in rows.items():
        values = (row[key] for key in ("mA", "mA_common", *SCORES[1:]))
        cells = "".join(f"{'-':>8s}" if value is None else f"{100 * value:8.2f}" for value in values)
        lines.append(f"  {name:24s}{cells}  {row['empty_predictions']} of {count}")
    return "\n".join([*lines, f"  mA*: over the attributes that at least {FEWEST} images have, and lack"])


COLUMNS = ("precision", "recall", "mA", "average_precision")


def details(rows):
    """Returns a table of every attribute in per cent as text, from the rows of `attribute_table`."""
    lines = [f"  {'%':28s}{'positives':>10s}" + "".join(f"{name:>10s}" for name in (*COLUMNS[:3], "AP"))]
    for row in rows:
        cells = "".join(_percent(getattr(row, column)) for column in COLUMNS)
        lines.append(f"  {row.name:28s}{row.positives:10d}{cells}")
    return "\n".join(lines)


def _percent(value):
    return f"{'-':>10s}" if np.isnan(value) else f"{100 * value:10.2f}"


def as_values(rows):
    """Returns the rows of `attribute_table` as a dict of name to plain values for JSON, None for NaN."""
    return {
        row.name: {"positives": row.positives}
        | {c: None if np.isnan(getattr(row, c)) else getattr(row, c) for c in COLUMNS}
        for row in rows
    }


def report(probabilities, splits, threshold):
    """Scores the test images of a dataset.

    Args:
        probabilities: (images, attributes) of `splits.test`.
        splits: `keras_osnet.data.records.AttributeSplits`.
        threshold: as for `attribute_scores`.

    Returns:
        dict of `summarize` with the rows of `attributes`, and text for the user: the tables of each attribute and of
        all, with the baseline `majority`.
    """
    labels = labels_of(splits.test)
    found = summarize(probabilities, labels, threshold)
    each = attribute_table(probabilities, labels, splits.names, threshold)
    rows = {"network": found, "majority label": majority(labels_of(splits.train), labels)}
    return found | {"attributes": as_values(each)}, f"{details(each)}\n{table(rows, len(labels))}"


def thresholds_of(threshold, names):
    """Returns the thresholds of attributes as plain values: a number for all, or a dict of name -> number.

    Args:
        threshold: a number, or the path of a metrics.json that names a threshold for each attribute.
        names: of the attributes.

    Raises:
        ValueError: if the file does not name a threshold in 0 .. 1 for each.
        OSError: if the file cannot be read.
    """
    if not isinstance(threshold, Path):
        return threshold
    content = read_json(threshold)
    found = content.get("thresholds") if isinstance(content, dict) else None
    if not isinstance(found, dict) or list(found) != list(names):
        raise ValueError(
            f"`threshold` must be a metrics.json with `thresholds` of {', '.join(names)}, as `pa100k.py train "
            f"--own-thresholds` writes it. Received: {threshold}, with {found!r:.200}"
        )
    wrong = [value for value in found.values() if not (is_number(value) and 0 <= value <= 1)]
    if wrong:
        raise ValueError(f"`threshold` must be 0 .. 1. Received: {wrong[0]!r} in {threshold}")
    return found


def check_names(recogniser, names, dataset):
    """Raises a ValueError unless a recogniser has the attributes of a dataset, in the same order."""
    if recogniser.names != names:
        raise ValueError(
            f"`weights` must recognise the attributes of {dataset}: {', '.join(names)}. "
            f"Received: {', '.join(recogniser.names)}"
        )
