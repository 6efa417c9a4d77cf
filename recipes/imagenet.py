"""ImageNet classification, the paper's pre-training: training and errors (Section 4.1).

    python recipes/imagenet.py train imagenet --data-dir D           D: train/<class>/*.JPEG and val/<class>/*.JPEG
    python recipes/imagenet.py train imagenet --data-dir ~/tensorflow_datasets/imagenet2012/5.1.0    TFRecords instead
    python recipes/imagenet.py evaluate --weights FILE --data-dir D
    python recipes/imagenet.py check --data-dir D                    counts images and classes, opens every image
    python recipes/reid.py train market1501_finetune --data-dir E --weights runs/imagenet/model.keras

Not run: neither ImageNet nor the GPU days were available. The paper reports no error of its pre-training.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import numpy as np
import tensorflow as tf

from keras_osnet import OSNet
from keras_osnet.data import resized_crops
from keras_osnet.data.datasets import class_folders, prepared
from keras_osnet.files import write_json
from keras_osnet.inference import Predictor
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.training.execution import make_optimizer
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.training.replicas import worker_of
from keras_osnet.training.settings import Numerics, Optimization
from keras_osnet.weights import load_network


@dataclass(frozen=True, kw_only=True)
class Settings(Numerics, Optimization):
    """Settings that identify a run."""

    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    size: tuple[int, int] = (224, 224)
    """Height and width in pixels. Fine-tuning may use another size."""
    epochs: int = 120
    batch_size: int = 256
    """Images per step, in all replicas together."""
    learning_rate: float = 0.1
    l2: float = 4e-5
    schedule: Literal["multi_step", "single_step", "cosine"] = "cosine"
    warmup_epochs: float = 5.0
    label_smoothing: float = 0.1
    seed: int = 0


ROWS = {"imagenet": Settings(), "imagenet_x0_25": Settings(width=0.25)}
RUNS = app.runs(ROWS, evaluate_every=10)


def class_folder_parts(folder):
    data = class_folders.load(folder)
    return tuple(resized_crops.Files(*zip(*part, strict=True), len(data.classes)) for part in (data.train, data.val))


# File or folder in `data_dir` -> function that returns the training part and the validation part.
SOURCES = {prepared.INFO: prepared.load, "train": class_folder_parts}


def parts(folder):
    for content, read in SOURCES.items():
        if (folder / content).exists():
            return read(folder)
    raise ValueError(f"`data_dir` must hold {' or '.join(SOURCES)}. Received: data_dir={folder}")


def plan_of(settings, part, steps):
    """Returns the network to train, its loss and the optimizer."""
    model = OSNet(settings.width, settings.variant, (*settings.size, 3), classes=part.classes)
    loss = LabelSmoothedCrossEntropy(settings.label_smoothing)
    return Plan(model, model, loss, make_optimizer(settings, steps))


def errors(model, part, strategy):
    """Returns the top-1 and the top-5 error, as fractions.

    A logit as large as that of the class counts as larger, and so does NaN: a network whose logits are all equal is
    wrong. Each worker computes its part, on all of its replicas.
    """
    predictor, better = Predictor(model, strategy=strategy), [np.zeros(0, int)]  # logits not below that of the class
    batches = resized_crops.central_batches(
        part, size=predictor.size, shard=worker_of(strategy), preprocessing=predictor.preprocessing
    )
    own, *_ = predictor.outputs  # before the features that a predictor adds
    predictor.synchronize()
    with part.naming_unreadable():
        for images, labels in batches.as_numpy_iterator():
            logits = predictor.predict(images)[own]
            better.append((~(logits < np.take_along_axis(logits, labels[:, None], axis=1))).sum(axis=1))
    better = predictor.gather(np.concatenate(better))
    return {"error": float((better > 1).mean()), "error5": float((better > 5).mean())}


def describe(found, part):
    return f"error {100 * found['error']:.2f} %, top-5 {100 * found['error5']:.2f} %, of {part.count} images"


def train(run):
    """Trains, scores on the validation part, saves. reid.py fine-tunes the saved network."""
    if run.cache:
        raise ValueError("`cache` must be False: ImageNet's decoded images do not fit into memory.")
    settings, (part, val) = run.settings, parts(run.data_dir)
    if isinstance(val, resized_crops.Files):
        app.check_test_images(val.paths, run.work_dir)
    steps = part.count // settings.batch_size
    print(f"{settings.variant} on {part.count} images of {part.classes} classes; {steps} steps an epoch")
    batches = partial(
        resized_crops.training_batches, part, size=settings.size, batch_size=settings.batch_size,
        seed=settings.seed, epochs=settings.epochs,
    )  # fmt: skip

    def score(model, strategy):
        found = errors(model, val, strategy)
        return {**found, "accuracy_val": 1 - found["error"]}

    def finish(model, before, history, strategy):
        found = errors(model, val, strategy)
        print(f"{app.duration(history)}\n{describe(found, val)}")
        return found

    build, reading = partial(plan_of, settings, part, steps), part.naming_unreadable()
    training = Training(
        build, batches, steps, (part.paths, [part.count]), finish, score, best="accuracy_val", reading=reading
    )
    fit(settings, run, run.work_dir, [training])


def evaluate(weights: Path, data_dir: Path, work_dir: Path | None = None):
    """Scores a trained network on the validation part.

    Args:
        weights: work dir or model.keras of this recipe.
        data_dir: folder that holds train and val, or a folder that tensorflow-datasets has prepared.
        work_dir: folder for metrics.json and model.keras. Default: a folder below runs/ for these settings.
    """
    (_, val), model = parts(data_dir), load_network(weights, classifier=True)[0]
    if model.output_shape != (None, val.classes):
        raise ValueError(f"`weights` must have {val.classes} classes. Received: outputs of shape {model.output_shape}")
    with app.evaluation({"weights": weights, "dataset": "imagenet", "data_dir": data_dir}, model, work_dir) as folder:
        found = errors(model, val, tf.distribute.get_strategy())
        print(describe(found, val))
        write_json(folder / "metrics.json", found)


def check(data_dir: Path):
    """Counts images and classes, and opens every image.

    Args:
        data_dir: folder that holds train and val, or a folder that tensorflow-datasets has prepared.
    """
    for name, part in zip(("train", "validation"), parts(data_dir), strict=True):
        print(f"{name}: {part.count} images of {part.classes} classes", flush=True)
        with part.naming_unreadable():
            for _ in resized_crops.central_batches(part, size=(8, 8)):
                pass
    print("nothing wrong found")


parse = partial(app.parse, __doc__, train, RUNS, (evaluate, check))
main = partial(app.execute, parse)

if __name__ == "__main__":
    main()
