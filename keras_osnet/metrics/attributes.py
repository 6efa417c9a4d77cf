"""Scores of attribute recognition: mean accuracy over attributes, and accuracy, precision, recall, F1 over images."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics.arguments import as_array


@dataclass(frozen=True, eq=False)
class AttributeScores:
    """Scores of one evaluation, as fractions 0..1.

    Attributes:
        mA: mean over the attributes of `mA_per_attribute`.
        accuracy, precision, recall: means over the images.
        f1: harmonic mean of the mean precision and the mean recall; 0 if both are 0.
        empty_predictions: number of images without a predicted attribute; their precision counts as 0.
        empty_labels: number of images without an attribute; their recall counts as 0.
        mA_per_attribute: (attributes,) float64.
    """

    mA: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    empty_predictions: int
    empty_labels: int
    mA_per_attribute: np.ndarray


def attribute_scores(probabilities, labels, threshold=0.5):
    """Compares the predicted attributes, p >= threshold, with the labels.

    With P the predicted attributes of an image, Y its attributes, and TPR and TNR the rates of an attribute:

        mA = mean_j (TPR_j + TNR_j) / 2
        accuracy = mean |P & Y| / |P or Y|,   precision = mean |P & Y| / |P|,   recall = mean |P & Y| / |Y|
        f1 = 2 precision recall / (precision + recall)

    A ratio 0 / 0 of an image counts as 0: precision without a predicted attribute, recall without an attribute,
    accuracy without both. For an attribute that all images have, or none, only one of the two rates is defined, which
    is its mA.

    Args:
        probabilities: (images, attributes) numbers 0..1, after the sigmoid.
        labels: (images, attributes) of 0 and 1.
        threshold: a number 0..1, or one for each attribute, (attributes,). Default .5. It is rounded to the type of
            `probabilities`, so that a float32 probability of .7 passes .7.

    Returns:
        `AttributeScores`.

    Raises:
        ValueError: if an argument is not as described, or there is no image or no attribute.

    Reference:
        Paper, Section 4.2 and Table 7, which takes the measures from Li et al., A Richly Annotated Dataset for
        Pedestrian Attribute Recognition (2016).
    """
    _, predicted, actual = _checked(probabilities, labels, threshold)
    hits = np.count_nonzero(predicted & actual, axis=1)
    guesses, labelled = np.count_nonzero(predicted, axis=1), np.count_nonzero(actual, axis=1)
    precision, recall = float(np.mean(_ratio(hits, guesses))), float(np.mean(_ratio(hits, labelled)))
    per_attribute = _balanced(predicted, actual)
    return AttributeScores(
        mA=float(np.mean(per_attribute)),
        accuracy=float(np.mean(_ratio(hits, guesses + labelled - hits))),
        precision=precision,
        recall=recall,
        f1=float(_ratio(2 * precision * recall, precision + recall)),
        empty_predictions=int(np.count_nonzero(guesses == 0)),
        empty_labels=int(np.count_nonzero(labelled == 0)),
        mA_per_attribute=per_attribute,
    )


def _checked(probabilities, labels, threshold):
    """Returns probabilities, predicted and actual attributes as matrices, after checks of all arguments."""
    probabilities = _matrix("probabilities", probabilities)
    if probabilities.dtype.kind != "f":
        probabilities = probabilities.astype(np.float64)
    _refuse("probabilities", "lie in 0 .. 1", probabilities, (probabilities >= 0) & (probabilities <= 1))
    labels = _matrix("labels", labels)
    if labels.shape != probabilities.shape:
        raise ValueError(
            "`labels` must have the shape of `probabilities`. "
            f"Received: labels.shape={labels.shape}, probabilities.shape={probabilities.shape}"
        )
    _refuse("labels", "be 0 or 1", labels, (labels == 0) | (labels == 1))
    return probabilities, probabilities >= _threshold(threshold, probabilities), labels == 1


@dataclass(frozen=True)
class AttributeRow:
    """One attribute: its name, the number of images that have it, and scores as fractions, NaN for 0 / 0.

    `precision` is the fraction of the images for which it is predicted that have it, `recall` the fraction of the
    images that have it for which it is predicted. `mA` is as in `attribute_scores`. `average_precision` is the mean
    over the images that have it of the precision at their probability as the threshold.
    """

    name: str
    positives: int
    precision: float
    recall: float
    mA: float
    average_precision: float


def attribute_table(probabilities, labels, names, threshold=0.5):
    """Scores each attribute by itself.

    Args:
        probabilities, labels, threshold: as for `attribute_scores`.
        names: one for each attribute, all different.

    Returns:
        list of `AttributeRow`.

    Raises:
        ValueError: as `attribute_scores`, or if the names are not one for each attribute, or one repeats.
    """
    probabilities, predicted, actual = _checked(probabilities, labels, threshold)
    if isinstance(names, str) or not np.iterable(names):  # letters are no names
        raise ValueError(f"`names` must be a list. Received: names={names!r}")
    names = list(names)
    if len(names) != actual.shape[1]:
        raise ValueError(f"`names` must be one for each of {actual.shape[1]} attributes. Received: {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"`names` must be different. Received: names={names!r}")
    columns = zip(names, predicted.T, actual.T, _balanced(predicted, actual), probabilities.T, strict=True)
    return [
        AttributeRow(
            name,
            int(has.sum()),
            float(has[found].mean()) if found.any() else float("nan"),
            float(found[has].mean()) if has.any() else float("nan"),
            float(mean_accuracy),
            _average_precision(scores, has),
        )
        for name, found, has, mean_accuracy, scores in columns
    ]


def attribute_image_scores(probabilities, labels, threshold=0.5):
    """Computes scores of each image, for `bootstrap` and `compare`.

    With N the images, n_j those with the same label of attribute j as the image, and c_j the number of labels that
    occur, 1 or 2, a correct prediction scores N / (c_j n_j), so that the mean over the images is the mA of attribute j.

    Args:
        probabilities, labels, threshold: as for `attribute_scores`.

    Returns:
        (balanced, accuracy): (images, attributes) and (images,) float64. Their means over the images are
        `mA_per_attribute` and `accuracy` of `attribute_scores`.

    Raises:
        ValueError: as `attribute_scores`.
    """
    _, predicted, actual = _checked(probabilities, labels, threshold)
    positives = np.count_nonzero(actual, axis=0)
    negatives = len(actual) - positives
    same, labels = np.where(actual, positives, negatives), (positives > 0).astype(int) + (negatives > 0)
    either = np.count_nonzero(predicted | actual, axis=1)
    accuracy = _ratio(np.count_nonzero(predicted & actual, axis=1), either)
    return (predicted == actual) * len(actual) / (same * labels), accuracy


def choose_thresholds(probabilities, labels):
    """Returns for each attribute the threshold with the greatest (TPR + TNR) / 2, for use on validation images.

    Candidates are 0, .5, 1 and the means of neighbouring probabilities. The candidate nearest to .5 is the threshold if
    several are equally good. It is .5 for an attribute that all images have, or none.

    Args:
        probabilities, labels: as for `attribute_scores`.

    Returns:
        (attributes,) float64 in 0 .. 1.
    """
    probabilities, _, labels = _checked(probabilities, labels, 0.5)
    given, probabilities = probabilities.dtype, probabilities.astype(np.float64)
    chosen = []
    for scores, actual in zip(probabilities.T, labels.T, strict=True):
        levels = np.unique(scores)
        # 0 predicts the attribute for all images; 1 for none, if the largest probability is below 1.
        # In the type of the probabilities, a mean of neighbours may be the lower one, which it would then predict.
        means = ((levels[1:] + levels[:-1]) / 2).astype(given).astype(np.float64)
        candidates = np.concatenate([[0.0, 0.5, 1.0], np.where(means > levels[:-1], means, levels[1:])])
        ordered_there, ordered_not = np.sort(scores[actual]), np.sort(scores[~actual])
        if not (len(ordered_there) and len(ordered_not)):
            chosen.append(0.5)
            continue
        tpr = 1 - np.searchsorted(ordered_there, candidates) / len(ordered_there)
        tnr = np.searchsorted(ordered_not, candidates) / len(ordered_not)
        best = candidates[tpr + tnr >= (tpr + tnr).max() - 1e-12]
        chosen.append(best[np.argmin(np.abs(best - 0.5))])
    return np.array(chosen)


def _average_precision(scores, actual):
    """Returns the average precision. Images of equal probability count together, so their order does not matter."""
    if not actual.any():
        return float("nan")
    levels, inverse = np.unique(-scores, return_inverse=True)
    taken = np.cumsum(np.bincount(inverse, minlength=len(levels)))
    hits = np.bincount(inverse, weights=actual, minlength=len(levels))
    return float((hits * np.cumsum(hits) / taken).sum() / actual.sum())


def _balanced(predicted, actual):
    """Returns (TPR + TNR) / 2 of every attribute, or the one of the two that is defined."""
    positives, negatives = np.count_nonzero(actual, axis=0), np.count_nonzero(~actual, axis=0)
    found = _ratio(np.count_nonzero(predicted & actual, axis=0), positives)
    rejected = _ratio(np.count_nonzero(~predicted & ~actual, axis=0), negatives)
    return (found + rejected) / ((positives > 0).astype(np.int64) + (negatives > 0))


def _ratio(part, whole):
    """Returns part / whole, or 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) != 0)


def _matrix(name, values):
    values = as_array(name, values)
    if values.ndim != 2 or values.dtype.kind not in "bfiu" or 0 in values.shape:
        raise ValueError(
            f"`{name}` must be a 2-D array of real numbers, (images, attributes), not empty. "
            f"Received: {name} of shape {values.shape} and type {values.dtype}"
        )
    return values


def _threshold(threshold, probabilities):
    values = as_array("threshold", threshold)
    if values.dtype.kind not in "fiu" or values.shape not in ((), probabilities.shape[1:]):
        raise ValueError(
            f"`threshold` must be a number, or one per attribute ({probabilities.shape[1]}). "
            f"Received: threshold={threshold!r}"
        )
    _refuse("threshold", "lie in 0 .. 1", values, (values >= 0) & (values <= 1))
    return values.astype(probabilities.dtype)


def _refuse(name, rule, values, good):
    if not np.all(good):
        bad = np.argwhere(~np.asarray(good))
        where = f", first at {tuple(bad[0].tolist())}" if values.ndim else ""
        raise ValueError(
            f"`{name}` must {rule}. Received: {name} with {values[tuple(bad[0])]} among {len(bad)} wrong "
            f"of {values.size} values{where}"
        )
