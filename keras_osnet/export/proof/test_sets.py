"""Labelled sets that judge a converted file: what is asked of it, and what its answers score."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps

from keras_osnet.data import ATTRIBUTE_DATASETS, DATASETS, load, load_attributes
from keras_osnet.data.datasets import cifar
from keras_osnet.export.calibration import calibration_pictures
from keras_osnet.export.tflite import WHOLE, run_tflite
from keras_osnet.inference.attributes import AttributeRecogniser
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.scores import identities_and_cameras, score_features
from keras_osnet.metrics import attribute_scores
from keras_osnet.metrics.ranking import row_of
from keras_osnet.metrics.retrieval import METRICS
from keras_osnet.preprocessing import preprocess_input

BATCH = 64
CALIBRATED = 200  # pictures of the training side


@dataclass(frozen=True)
class Kind:
    """A way of judging.

    Args:
        answers: what a network is asked for.
        read: function (dataset, root, metric, split) -> `Judge`.
        of_keras: function (model, judge) -> function from uint8 pictures to (N, D) answers.
        outputs: names that the answers may have in a file of several outputs.
        scores: function (answers, judge) -> dict of fractions.
        right: function (answers, judge) -> boolean array, one for each of `unit`.
        held: the main scores, which the budget is for.
        unit: what is right or wrong.
    """

    answers: str
    read: Callable
    of_keras: Callable
    outputs: tuple[str, ...]
    scores: Callable
    right: Callable
    held: tuple[str, ...]
    unit: str


@dataclass(frozen=True, eq=False)
class Judge:
    """A labelled set, ready to judge files; see `load_judge`.

    Args:
        dataset: row of `JUDGES`.
        train, test: pictures to calibrate on and to judge by: files, or an (N, H, W, 3) uint8 array.
        truth: `Splits` whose query and gallery are `test`; (N, attributes) labels; or (N,) classes.
        counts: what there is, for the reader: dict of integers.
        names: of the attributes or classes.
        settings: dict: metric, protocol and split, where these matter.
    """

    dataset: str
    train: tuple[str, ...] | np.ndarray
    test: tuple[str, ...] | np.ndarray
    truth: object
    counts: dict[str, int]
    names: tuple[str, ...] = ()
    settings: dict[str, str | int] = field(default_factory=dict)

    @property
    def kind(self):
        return KINDS[JUDGES[self.dataset]]

    @cached_property
    def digests(self):
        return frozenset(_digests(self.test, pixels=isinstance(self.test, np.ndarray)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures that a file was fitted on, and the rule by which they were chosen, in words.

    Args:
        pictures: files, or an (N, H, W, 3) uint8 array.
        rule: for the reader.
    """

    pictures: tuple[str, ...] | np.ndarray
    rule: str

    def prepared(self, shape):
        """The pictures as `to_tflite` takes them, for a network's input of (height, width, 3)."""
        if isinstance(self.pictures, np.ndarray):
            return normalised(self.pictures, shape[:2])
        return calibration_pictures(list(self.pictures), shape)

    @property
    def facts(self):
        digests = _digests(self.pictures, pixels=isinstance(self.pictures, np.ndarray))
        return {"pictures": len(digests), "rule": self.rule, "sha256": sha256("\n".join(digests).encode()).hexdigest()}


def load_judge(dataset, root, *, metric="euclidean", split=0):
    """Reads a labelled set to judge files by.

    Args:
        dataset: row of `JUDGES`.
        root: folder that holds the dataset's official folder.
        metric: "euclidean" or "cosine", between features.
        split: which one, from 0, of a re-identification dataset that has several.

    Returns:
        `Judge`.

    Raises:
        ValueError: for an unknown dataset, metric or split, a folder that is missing or differently laid out, or a set
            without test pictures.
    """
    kind = KINDS[row_of("dataset", dataset, JUDGES)]
    row_of("metric", metric, METRICS)
    return kind.read(dataset, root, metric, split)


def training_calibration(judge, count=CALIBRATED):
    """Pictures of the judge's training side to calibrate on, spread evenly over it.

    Raises:
        ValueError: if there are none.
    """
    total = len(judge.train)
    if not total:
        raise ValueError(f"`judge` must have training pictures to calibrate on. Received: none in {judge.dataset}")
    chosen = np.linspace(0, total - 1, min(count, total)).astype(int)
    rule = f"{len(chosen)} of the {total} training pictures of {judge.dataset}, evenly spread in the dataset's order"
    return Calibration(picked(judge.train, chosen), rule)


def picked(pictures, rows):
    """Some of a judge's pictures, by their places: files, or an array."""
    return pictures[rows] if isinstance(pictures, np.ndarray) else tuple(pictures[row] for row in rows)


def refuse_judged(pictures, judge):
    """Refuses calibration pictures that the judge judges by, under whatever name.

    Args:
        pictures: files, or an (N, H, W, 3) uint8 array.
        judge: `Judge`.

    Raises:
        ValueError: if the content of one is that of a test picture: of the file, or of the pixels where the set is in
            memory.
    """
    found = _digests(pictures, pixels=isinstance(judge.test, np.ndarray))
    same = [i for i, digest in enumerate(found) if digest in judge.digests]
    if same:
        first = f"number {same[0]}" if isinstance(pictures, np.ndarray) else pictures[same[0]]
        raise ValueError(
            f"`calibration` must hold none of the test pictures of {judge.dataset}, whose scores would flatter the "
            f"file. Received: {len(same)} of {len(found)} that are among them, first {first}"
        )


def keras_answers(model, judge):
    """(N, D) answers of a Keras model for the judge's pictures, to be shared by the certificates of several files."""
    ask, answers = judge.kind.of_keras(model, judge), []
    for pictures in batches(judge.test):
        # A last batch of another size would be traced anew, for seconds.
        answers.append(ask(pictures + pictures[-1:] * (BATCH - len(pictures)))[: len(pictures)])
    return np.concatenate(answers)


def file_answers(path, judge):
    kind, signature, answers = judge.kind, signature_of(path), []
    size = None if signature else tuple(interpreter_of(path).get_input_details()[0]["shape"][1:3])
    for pictures in batches(judge.test):
        outputs = run_tflite(path, pictures if signature else normalised(pictures, size))
        if isinstance(outputs, dict):
            name = next((name for name in kind.outputs if name in outputs), None)
            if name is None:
                raise ValueError(f"`path` must give {kind.answers}. Received: {', '.join(outputs)} from {path}")
            outputs = outputs[name]
        answers.append(outputs)
    answers = np.concatenate(answers)
    # Such files give logits of attributes, those with the preprocessing inside probabilities.
    return 1 / (1 + np.exp(-answers)) if kind.answers == "probabilities" and not signature else answers


def signature_of(path):
    """The signature of a file with the preprocessing inside that answers for one picture; None for another file."""
    there = interpreter_of(path).get_signature_list()
    return next((name for name in WHOLE if name in there), None)


def interpreter_of(path, threads=1):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=threads)


def first_hits(query, gallery, splits, metric):
    """Whether the nearest gallery picture that the camera rule leaves is of the query's person.

    Args:
        query, gallery: (Q, D) and (G, D) features.
        splits: `Splits` that they belong to.
        metric: row of `keras_osnet.metrics.retrieval.METRICS`.

    Returns:
        boolean array, an entry for each query that has a match left. The earlier of equally near pictures counts.
    """
    identities, cameras = identities_and_cameras(splits.query)
    others, views = identities_and_cameras(splits.gallery, unknown=-2)
    factor, combine, term = METRICS[metric]
    terms, right = term((gallery**2).sum(1)), []
    for start in range(0, len(query), BATCH):
        rows = slice(start, start + BATCH)
        same = identities[rows, None] == others
        hidden = same & (cameras[rows, None] == views)
        distances = np.where(hidden, np.inf, combine(factor * (query[rows] @ gallery.T), terms))
        hits = np.take_along_axis(same, distances.argmin(1)[:, None], axis=1)[:, 0]
        right.append(hits[(same & ~hidden).any(1)])
    return np.concatenate(right)


def _read_retrieval(dataset, root, metric, split):
    splits = load(dataset, root, split)
    counts = {"queries": len(splits.query), "gallery pictures": len(splits.gallery)}
    if not all(counts.values()):
        raise ValueError(f"`dataset` must have queries and a gallery. Received: {dataset}, which is for training only")
    train, test = ([record.path for record in part] for part in (splits.train, splits.query + splits.gallery))
    settings = {"metric": metric, "protocol": DATASETS[dataset].protocol, "split": split}
    return Judge(dataset, tuple(train), tuple(test), splits, counts, settings=settings)


def _read_attributes(dataset, root, metric, split):
    splits = load_attributes({"synthetic_attributes": "synthetic"}.get(dataset, dataset), root)
    train, test = (tuple(record.path for record in part) for part in (splits.train, splits.test))
    labels = np.array([record.attributes for record in splits.test], "int32")
    return Judge(dataset, train, test, labels, {"pictures": len(test), "attributes": len(splits.names)}, splits.names)


def _read_classes(dataset, root, metric, split):
    data = cifar.shapes() if dataset == "shapes" else cifar.load(dataset, root)
    counts = {"pictures": len(data.test), "classes": len(data.classes)}
    return Judge(dataset, data.train, data.test, data.test_labels, counts, data.classes)


def _probabilities_of(model, judge):
    recogniser = AttributeRecogniser(model, batch_size=BATCH)
    if recogniser.names != tuple(judge.names):
        raise ValueError(
            f"`model` must recognise the attributes of {judge.dataset}: {', '.join(judge.names)}. "
            f"Received: {', '.join(recogniser.names)}"
        )
    return recogniser.probabilities


def _logits_of(model, judge):
    if model.output_shape != (None, len(judge.names)):
        raise ValueError(
            f"`model` must give a logit for each of the {len(judge.names)} classes of {judge.dataset}. "
            f"Received: output_shape={model.output_shape}"
        )
    # Not the model itself: an `OSNet` would lose its classifier.
    return FeatureExtractor(keras.Model(model.inputs[0], model.outputs[0]), batch_size=BATCH)


def _retrieval_scores(features, judge):
    count, settings = judge.counts["queries"], judge.settings
    found = score_features(
        features[:count], features[count:], judge.truth, metric=settings["metric"], protocol=settings["protocol"]
    )
    return {name: found[name] for name in ("rank1", "mAP", "mINP")}


def _attribute_scores(probabilities, judge):
    found = attribute_scores(probabilities, judge.truth)
    return {name: float(getattr(found, name)) for name in ("mA", "accuracy", "precision", "recall", "f1")}


KINDS = {
    "retrieval": Kind(
        "features",
        _read_retrieval,
        lambda model, judge: FeatureExtractor(model, batch_size=BATCH),
        ("features", "feature"),
        _retrieval_scores,
        lambda features, judge: first_hits(
            *np.split(features, [judge.counts["queries"]]), judge.truth, judge.settings["metric"]
        ),
        ("rank1", "mAP"),
        "queries",
    ),
    "attributes": Kind(
        "probabilities",
        _read_attributes,
        _probabilities_of,
        ("attributes", "probabilities"),
        _attribute_scores,
        lambda probabilities, judge: ((probabilities >= 0.5) == (judge.truth == 1)).ravel(),
        ("mA",),
        "decisions",
    ),
    "classes": Kind(
        "logits",
        _read_classes,
        _logits_of,
        ("logits",),
        lambda logits, judge: {"error": float((logits.argmax(1) != judge.truth).mean())},
        lambda logits, judge: logits.argmax(1) == judge.truth,
        ("error",),
        "pictures",
    ),
}


# Dataset -> row of `KINDS`.
JUDGES = {
    **dict.fromkeys(DATASETS, "retrieval"),
    **dict.fromkeys(ATTRIBUTE_DATASETS, "attributes"),
    # The built-in set has labels of both kinds.
    "synthetic": "retrieval",
    "synthetic_attributes": "attributes",
    **dict.fromkeys(("cifar10", "cifar100", "shapes"), "classes"),
}


def _digests(pictures, pixels):
    """SHA-256 of each file, or of the pixels of each picture."""
    if not pixels:
        return [sha256(Path(path).read_bytes()).hexdigest() for path in pictures]
    return [sha256(picture.tobytes()).hexdigest() for batch in batches(pictures) for picture in batch]


def batches(pictures):
    """Lists of (h, w, 3) uint8 arrays, of files decoded as they come."""
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        yield list(batch) if isinstance(pictures, np.ndarray) else [_decoded(path) for path in batch]


def _decoded(path):
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def normalised(pictures, size):
    resized = [Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR) for picture in pictures]
    return preprocess_input(np.stack(resized))
