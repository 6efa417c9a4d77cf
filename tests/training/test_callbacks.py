"""What looks on: the best network stays, and TensorBoard is shown the curves, the pictures and the trace of a run."""

import importlib.util
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD
from keras_osnet.training.callbacks import KeepBest, Progress, Watching, watchers
from keras_osnet.training.loop import train

SHAPE, CLASSES, BATCH = (12, 6, 3), 3, 18
ONE = tf.distribute.get_strategy()
LEVELS = np.random.default_rng(0).choice([0, 1, 100, 254, 255], (BATCH, *SHAPE)).astype("uint8")


def batches(step):
    """The same batch in every step, normalised as for ImageNet's networks."""
    pictures = (LEVELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    labels = np.arange(BATCH, dtype="int32") % CLASSES
    return tf.data.Dataset.from_tensors((pictures.astype("float32"), labels)).repeat()


def small():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)], name="small")


def run(work_dir, callbacks, model=None, *, epochs=2, steps=2, **options):
    return train(
        model or small(),
        batches,
        loss=LabelSmoothedCrossEntropy(0.1),
        optimizer=SGD(0.01),
        epochs=epochs,
        steps_per_epoch=steps,
        work_dir=work_dir,
        callbacks=callbacks,
        **options,
    )


def follow(folder, name, epochs):
    """A run of KeepBest over [(epoch, logs)], whose network has the number of the epoch as its weights."""
    network = small()
    callback = KeepBest(folder / "best.keras", network, name, strategy=ONE)
    callback.on_train_begin()
    for number, logs in epochs:
        network.set_weights([np.full_like(w, number) for w in network.get_weights()])
        callback.on_epoch_end(number - 1, logs)


def kept(folder):
    """The epoch in the weights, which are all there is in the folder beside what is written about them."""
    assert sorted(path.name for path in folder.iterdir()) == ["best.json", "best.keras"]
    numbers = {float(n) for w in keras.models.load_model(folder / "best.keras").get_weights() for n in w.ravel()}
    assert len(numbers) == 1
    return numbers.pop(), json.loads((folder / "best.json").read_text())


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.2, 0.3], 3),
        ([0.3, 0.2, 0.1], 1),
        ([0.2, 0.5, 0.3, 0.4], 2),
        ([None, 0.2, None, 0.4, 0.3], 4),
        ([0.2, 0.2], 1),
        ([0.0, 0.0], 1),
    ],
    ids=["rising", "falling", "up and down", "not every epoch", "equal", "nothing right"],
)
def test_the_network_of_the_highest_score_is_kept_with_its_epoch_and_score(tmp_path, scores, best):
    logs = [{"loss": 9.0} if score is None else {"loss": 9.0, "mAP": score} for score in scores]
    follow(tmp_path, "mAP", enumerate(logs, 1))
    assert kept(tmp_path) == (best, {"epoch": best, "mAP": scores[best - 1]})


@pytest.mark.parametrize(("later", "best"), [(0.4, 1), (0.5, 1), (0.6, 3)], ids=["lower", "equal", "higher"])
def test_after_an_interruption_only_a_higher_score_takes_the_place_of_the_best(tmp_path, later, best):
    follow(tmp_path, "mA", [(1, {"mA": 0.5}), (2, {"mA": 0.3})])
    follow(tmp_path, "mA", [(3, {"mA": later})])
    assert kept(tmp_path) == (best, {"epoch": best, "mA": 0.5 if best == 1 else later})


def test_without_the_score_nothing_is_written(tmp_path):
    follow(tmp_path, "mAP", [(1, {"loss": 1.0}), (2, {"loss": 0.5, "rank1": 0.5})])
    assert not list(tmp_path.iterdir())


def test_a_score_of_its_own_is_taken_after_every_epoch_with_the_weights_of_that_epoch(tmp_path):
    """The loop's own scores, of every second epoch and falling, are not what it looks at."""
    scores, weights, model = [0.2, 0.4, 0.3], [], small()

    def score():
        weights.append([np.asarray(w) for w in model.get_weights()])
        return {"mA": scores[len(weights) - 1], "f1": 0.0}

    (tmp_path / "best").mkdir()
    keep = KeepBest(tmp_path / "best" / "best.keras", model, "mA", strategy=ONE, score=score)
    run(tmp_path / "run", [keep], model, epochs=3, evaluate=lambda: {"mA": 0.9}, evaluate_every=2)
    assert len(weights) == 3
    assert json.loads((tmp_path / "best" / "best.json").read_text()) == {"epoch": 2, "mA": 0.4}
    for now, then in zip(keras.models.load_model(keep.path).get_weights(), weights[1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_scores_of_the_loop_are_taken_in_the_epochs_that_have_them(tmp_path):
    scores, model = iter([0.25, 0.125]), small()
    keep = KeepBest(tmp_path / "best.keras", model, "mAP", strategy=ONE)
    run(tmp_path / "run", [keep], model, epochs=5, evaluate=lambda: {"mAP": next(scores)}, evaluate_every=2)
    assert json.loads((tmp_path / "best.json").read_text()) == {"epoch": 2, "mAP": 0.25}


def test_who_asks_for_nothing_gets_progress_alone(tmp_path):
    assert [type(one) for one in watchers(Watching(), tmp_path, batches, ONE)] == [Progress]


def test_workers_other_than_the_chief_write_nothing_for_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_osnet.training.strategies.worker_of", lambda strategy: (1, 2))
    assert [type(one) for one in watchers(Watching(tensorboard=True), tmp_path, batches, ONE)] == [Progress]


@pytest.mark.parametrize("asked", [Watching(tensorboard=True), Watching(profile=True)])
def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch, asked):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        watchers(asked, tmp_path, batches, ONE)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("watched")
    return work_dir, run(work_dir, watchers(Watching(tensorboard=True), work_dir, batches, ONE))


def shown(folder, tag):
    """[(step, value)] of a tag, in all event files of a folder."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_tensorboard_shows_the_curves_of_the_history(watched, name):
    work_dir, history = watched
    points = shown(work_dir / "tensorboard" / "train", f"epoch_{name}")
    assert [step for step, _ in points] == [0, 1]
    assert [float(value) for _, value in points] == pytest.approx([line[name] for line in history], rel=1e-6)


def test_tensorboard_shows_the_first_pictures_as_they_were_before_normalisation(watched):
    ((step, (width, height, *files)),) = shown(watched[0] / "tensorboard", "first batch")
    assert (step, int(width), int(height), len(files)) == (0, 6, 12, 16)
    for file, levels in zip(files, LEVELS[:16], strict=True):
        np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(file)), int), levels.astype(int), atol=1)


def test_only_who_asks_for_a_trace_gets_one(watched, tmp_path):
    run(tmp_path, watchers(Watching(profile=True), tmp_path, batches, ONE), epochs=1, steps=20)
    (trace,) = tmp_path.glob("tensorboard/**/plugins/profile/*/*.xplane.pb")
    assert b"MatMul" in trace.read_bytes(), "the product of the dense layer"
    assert not list(watched[0].rglob("profile"))
