"""CIFAR-10 and CIFAR-100: training and scores (paper, Section 4.3, Tables 8 and 9).

    python recipes/cifar.py                                  trains and scores on a small drawn set
    python recipes/cifar.py train cifar10 --data-dir D       78 layers; error 4.41 % in the paper
    python recipes/cifar.py train cifar100_210 --data-dir D  210 layers; error 18.88 % in the paper
    python recipes/cifar.py evaluate --weights FILE --dataset cifar10 --data-dir D
    python recipes/cifar.py check cifar10 --data-dir D       counts images and classes

`--data-dir` is the folder that holds the dataset's official folder, in the binary or the Python version, or as
folders of images (docs/datasets.md). Times and errors: recipes/README.md.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import OSNet, complexity
from keras_osnet.complexity import depth
from keras_osnet.data import arrays, load_classes
from keras_osnet.files import write_json
from keras_osnet.inference import Predictor
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.training.execution import make_optimizer
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.training.settings import Numerics, Optimization
from keras_osnet.weights import load_network


@dataclass(frozen=True, kw_only=True)
class Settings(Numerics, Optimization):
    """Settings that identify a run."""

    dataset: str
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    depths: tuple[int, int, int] = (2, 2, 2)
    """Blocks of conv2, conv3, conv4."""
    optimizer: Literal["sgd", "nesterov", "amsgrad", "adam"] = "nesterov"
    epochs: int = 200
    batch_size: int = 128
    """Images per step, in all replicas together."""
    learning_rate: float = 0.1
    milestones: tuple[int, ...] = (60, 120, 160)
    """Epochs after which the learning rate is multiplied by decay."""
    decay: float = 0.2
    """Factor of the learning rate."""
    pad: int = 4
    """Pixels added on each side before a random crop."""
    images: int = 0
    """Number of training images, the first ones. 0: all."""
    seed: int = 0


DEEP = {"depths": (3, 8, 6)}
ROWS = {
    # Table 8: error 4.41 / 4.18 on CIFAR-10, 19.21 / 18.88 on CIFAR-100.
    "cifar10": Settings(dataset="cifar10"),
    "cifar10_210": Settings(dataset="cifar10", **DEEP),
    "cifar100": Settings(dataset="cifar100"),
    "cifar100_210": Settings(dataset="cifar100", **DEEP),
    # Table 9: one stream, and four streams without a gate. The rows above have the unified gate.
    **{
        f"{name}_{short}": Settings(dataset=name, variant=f"osnet_{short}")
        for name in ("cifar10", "cifar100")
        for short in ("t1", "add")
    },
    # The built-in set: a narrow network, few epochs.
    "shapes": Settings(dataset="shapes", width=0.125, depths=(1, 1, 1), epochs=6, milestones=(4,), warmup_epochs=1),
}
RUNS = app.runs(ROWS, built_in={"shapes"})


def plan_of(settings, data, steps):
    """Returns the network to train, its loss and the optimizer."""
    s = settings
    model = OSNet(s.width, s.variant, data.train.shape[1:], s.depths, "cifar", classes=len(data.classes))
    cost = complexity(model)
    print(
        f"{model.name}: {depth(model)} layers, {cost.params:,} parameters, {cost.mult_adds / 1e6:.1f}M mult-adds; "
        f"{len(data.classes)} classes, {steps} steps an epoch"
    )
    return Plan(model, model, LabelSmoothedCrossEntropy(0.0), make_optimizer(s, steps))


def error(model, data, strategy):
    """Returns the fraction of test images with a wrong predicted class.

    Each worker computes its part, on all of its replicas.
    """
    predictor, wrong = Predictor(model, strategy=strategy), [np.zeros(0, bool)]
    own, *_ = predictor.outputs  # before the features that a predictor adds
    predictor.synchronize()
    part = predictor.own_part(len(data.test))
    images, labels = data.test[part], data.test_labels[part]
    for i in range(0, len(images), 250):
        logits = predictor.predict(predictor.normalise(images[i : i + 250]))[own]
        wrong.append(logits.argmax(axis=1) != labels[i : i + 250])
    return float(predictor.gather(np.concatenate(wrong)).mean())


def describe(found, data):
    """Returns the error and the baseline error of the largest class as text."""
    largest = np.bincount(data.train_labels, minlength=len(data.classes)).argmax()
    baseline = 100 * (data.test_labels != largest).mean()
    return (
        f"error {100 * found:.2f} % of {len(data.test)} test images; "
        f"always predicting {data.classes[largest]}: {baseline:.2f} %"
    )


def train(run):
    """Trains, scores on the test images, saves."""
    settings, data = run.settings, load_classes(run.settings.dataset, run.data_dir)
    images, labels = (part[: settings.images or None] for part in (data.train, data.train_labels))
    steps = len(images) // settings.batch_size
    batches = partial(
        arrays.training_batches, images, labels,
        batch_size=settings.batch_size, pad=settings.pad, seed=settings.seed, epochs=settings.epochs,
    )  # fmt: skip

    def score(model, strategy):
        found = error(model, data, strategy)
        return {"error": found, "accuracy_test": 1 - found}

    def finish(model, before, history, strategy):
        found = error(model, data, strategy)
        print(f"{app.duration(history)}\n{describe(found, data)}")
        return {"error": found}

    build = partial(plan_of, settings, data, steps)
    training = Training(build, batches, steps, ((), images, labels), finish, score, best="accuracy_test")
    fit(settings, run, run.work_dir, [training])


def evaluate(weights: Path, dataset: str, data_dir: Path, work_dir: Path | None = None):
    """Scores a trained network on the test images.

    Args:
        weights: work dir or model.keras of this recipe.
        dataset: cifar10, cifar100 or shapes.
        data_dir: folder that holds the dataset's official folder.
        work_dir: folder for metrics.json and model.keras. Default: a folder below runs/ for these settings.
    """
    data, model = load_classes(dataset, data_dir), load_network(weights, classifier=True)[0]
    expected = ((None, *data.test.shape[1:]), (None, len(data.classes)))
    if (model.input_shape, model.output_shape) != expected:
        raise ValueError(
            f"`weights` must have input shape {expected[0]} and output shape {expected[1]}. "
            f"Received: {model.input_shape} and {model.output_shape}"
        )
    with app.evaluation({"weights": weights, "dataset": dataset, "data_dir": data_dir}, model, work_dir) as folder:
        found = error(model, data, tf.distribute.get_strategy())
        print(describe(found, data))
        write_json(folder / "metrics.json", {"error": found})


def check(dataset: tyro.conf.Positional[str], data_dir: Path):
    """Counts images and classes.

    Args:
        dataset: cifar10, cifar100 or shapes.
        data_dir: folder that holds the dataset's official folder.
    """
    data = load_classes(dataset, data_dir)
    for name, labels in (("train", data.train_labels), ("test", data.test_labels)):
        each = np.bincount(labels, minlength=len(data.classes))
        print(f"{name}: {len(labels)} images of {len(data.classes)} classes, {each.min()} to {each.max()} of each")
    print("nothing wrong found")


parse = partial(app.parse, __doc__, train, RUNS, (evaluate, check), lambda: train(RUNS["shapes"]))
main = partial(app.execute, parse)

if __name__ == "__main__":
    main()
