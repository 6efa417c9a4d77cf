"""Callbacks of the training loop: progress, the best network, and what TensorBoard shows."""

import importlib.util
import io
import json
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_osnet.training.callbacks import KeepBest, Progress, progress_callbacks
from keras_osnet.training.settings import Execution
from keras_osnet.training.signals import Stopped
from tests.training.small import CLASSES, assert_same_weights, run, small, weights_of

SHAPE, BATCH = (12, 6, 3), 18
ONE = tf.distribute.get_strategy()
LEVELS = np.random.default_rng(0).choice([0, 1, 100, 254, 255], (BATCH, *SHAPE)).astype("uint8")


def follow(folder, name, epochs):
    """A run of KeepBest over [(epoch, logs)], whose network has the number of the epoch as its weights."""
    network = small()
    callback = KeepBest(str(folder / "best.keras"), network, name, strategy=ONE)
    callback.on_train_begin()
    for number, logs in epochs:
        network.set_weights([np.full_like(w, number) for w in network.get_weights()])
        callback.on_epoch_end(number - 1, logs)


def kept(folder):
    """The epoch in the weights, and what is written about them; the folder holds no other file."""
    assert sorted(path.name for path in folder.iterdir()) == ["best.json", "best.keras"]
    values = {float(n) for w in keras.models.load_model(folder / "best.keras").get_weights() for n in w.ravel()}
    assert len(values) == 1
    return values.pop(), json.loads((folder / "best.json").read_text())


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.2, 0.3], 3),
        ([0.3, 0.2, 0.1], 1),
        ([0.2, 0.5, 0.3, 0.4], 2),
        ([None, 0.2, None, 0.4, 0.3], 4),
        ([0.2, 0.2], 1),
        ([0.0, 0.0], 1),
        ([float("nan"), 0.2, float("nan")], 2),
    ],
    ids=["rising", "falling", "up and down", "not every epoch", "equal", "nothing correct", "not a number"],
)
def test_the_network_of_the_highest_score_is_kept_with_its_epoch_and_score(tmp_path, scores, best):
    logs = [{"loss": 9.0} if score is None else {"loss": 9.0, "mAP": score} for score in scores]
    follow(tmp_path, "mAP", enumerate(logs, 1))
    assert kept(tmp_path) == (best, {"epoch": best, "mAP": scores[best - 1]})


@pytest.mark.parametrize(("later", "best"), [(0.4, 1), (0.5, 1), (0.6, 3)], ids=["lower", "equal", "higher"])
def test_after_an_interruption_only_a_higher_score_replaces_the_best(tmp_path, later, best):
    follow(tmp_path, "mA", [(1, {"mA": 0.5}), (2, {"mA": 0.3})])
    follow(tmp_path, "mA", [(3, {"mA": later})])
    assert kept(tmp_path) == (best, {"epoch": best, "mA": 0.5 if best == 1 else later})


@pytest.mark.parametrize(
    "foreign",
    ['{"epoch": 3}', '{"mA": 0.5, "epoch": 3}', '{"epoch": 1, "mAP": "high"}', '{"epoch": 1, "mAP": NaN}', "[1, 2]",
     '{"epoch": 1, "mAP": Infinity}', '{"epoch": null, "mAP": 0.5}', "7", '{"epoch": 1, "mA', ""],
)  # fmt: skip
def test_a_foreign_or_damaged_best_json_is_refused_by_its_name(tmp_path, foreign):
    (tmp_path / "best.json").write_text(foreign)
    callback = KeepBest(tmp_path / "best.keras", small(), "mAP", strategy=ONE)
    with pytest.raises(ValueError, match=r"best\.json must "):
        run(tmp_path / "run", callbacks=[callback])
    assert (tmp_path / "best.json").read_text() == foreign
    assert not (tmp_path / "best.keras").exists()


def test_without_the_score_nothing_is_written(tmp_path):
    follow(tmp_path, "mAP", [(1, {"loss": 1.0}), (2, {"loss": 0.5, "rank1": 0.5})])
    assert not list(tmp_path.iterdir())


def test_a_score_that_is_not_finite_is_no_best(tmp_path):
    follow(tmp_path, "mA", [(1, {"mA": float("nan")}), (2, {"mA": float("inf")})])
    assert not list(tmp_path.iterdir())
    follow(tmp_path, "mA", [(3, {"mA": 0.5}), (4, {"mA": float("inf")})])
    assert kept(tmp_path) == (3, {"epoch": 3, "mA": 0.5})


def test_a_score_of_its_own_must_have_the_name(tmp_path):
    """Else there would be no network to save after the last epoch."""
    keep = KeepBest(tmp_path / "best.keras", small(), "mA", strategy=ONE, score=lambda: {"rank1": 0.5, "mAP": 0.4})
    with pytest.raises(ValueError, match=r"`name` must be a score of \['mAP', 'rank1'\]\. Received: name='mA'"):
        run(tmp_path / "run", epochs=2, callbacks=[keep])


def test_a_score_of_its_own_is_computed_after_every_epoch_with_the_weights_of_that_epoch(tmp_path):
    """The scores of the loop, of every second epoch, do not count."""
    scores, weights, model = [0.2, 0.4, 0.3], [], small()

    def score():
        weights.append(weights_of(model))
        return {"mA": scores[len(weights) - 1], "f1": 0.0}

    keep = KeepBest(tmp_path / "best.keras", model, "mA", strategy=ONE, score=score)
    run(
        tmp_path / "run", model, epochs=3, callbacks=[keep], evaluate=lambda: {"mA": 0.9},
        execution=Execution(evaluate_every=2),
    )  # fmt: skip
    assert len(weights) == 3
    assert json.loads((tmp_path / "best.json").read_text()) == {"epoch": 2, "mA": 0.4}
    assert_same_weights(keras.models.load_model(keep.path), weights[1])


@pytest.mark.parametrize(("scores", "best"), [([0.25, 0.125, 0.0], 2), ([0.1, 0.2, 0.3], 5)])
def test_the_scores_of_the_loop_count_in_the_epochs_that_have_them_the_last_among_them(tmp_path, scores, best):
    given, model = iter(scores), small()
    keep = KeepBest(tmp_path / "best.keras", model, "mAP", strategy=ONE)
    run(
        tmp_path / "run", model, epochs=5, callbacks=[keep], evaluate=lambda: {"mAP": next(given)},
        execution=Execution(evaluate_every=2),
    )  # fmt: skip
    assert json.loads((tmp_path / "best.json").read_text()) == {"epoch": best, "mAP": max(scores)}
    if best == 5:
        assert_same_weights(keras.models.load_model(keep.path), model)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_writes_a_line_per_epoch(tmp_path):
    stream = io.StringIO()
    scores = {"rank1": 0.125, "mAP": 0.0625}
    history = run(
        tmp_path, callbacks=[Progress(stream)], evaluate=lambda: scores, execution=Execution(evaluate_every=1)
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    for line, logs in zip(lines, history, strict=True):
        assert line.startswith(f"epoch   {logs['epoch']}/2  loss {logs['loss']:.3f}")
        assert f"accuracy {100 * logs['accuracy']:5.1f} %" in line
        assert f"{logs['images_per_second']:.0f} images/s" in line
        assert line.endswith("left  mAP 6.2 %  rank1 12.5 %")
    assert "  0:00 left" in lines[1]


LOGS = {"loss": 1.0, "accuracy": 0.5, "images_per_second": 9.0}


def test_progress_of_a_resumed_run_counts_the_epochs_left():
    """Two of six epochs are done; after one more, which takes 70 seconds, three are left."""
    stream, clock = io.StringIO(), iter([0.0, *[70.0] * 4])
    progress = Progress(stream, clock=lambda: next(clock))
    progress.set_params({"epochs": 6, "steps": 1})
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    progress.on_train_batch_end(0, LOGS)
    progress.on_epoch_end(2, LOGS)
    assert stream.getvalue() == "epoch   3/6  loss 1.000  accuracy  50.0 %  9 images/s  3:30 left\n"


def test_progress_of_a_run_resumed_within_an_epoch_counts_the_steps_left():
    """The run begins at step 9 of 10 in the second of three epochs. The step takes 7 seconds; 11 are left."""
    stream, clock = Terminal(), iter([0.0, 7.0, 7.0])
    progress = Progress(stream, seconds=0, clock=lambda: next(clock))
    progress.set_params({"epochs": 3, "steps": 10})
    progress.on_train_begin()
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(8, LOGS)
    assert "  1:17 left  step 9/10" in stream.getvalue()


def test_progress_of_a_run_that_has_no_step_left_in_its_epoch_writes_its_line():
    progress = Progress(stream := io.StringIO())
    progress.set_params({"epochs": 6, "steps": 4})
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    progress.on_epoch_end(2, LOGS)
    assert stream.getvalue().startswith("epoch   3/6  loss 1.000")


def test_progress_on_a_terminal_moves_and_leaves_whole_lines(tmp_path):
    stream = Terminal()
    run(tmp_path, callbacks=[Progress(stream, seconds=0)])
    assert "step 1/3" in stream.getvalue()
    shown = []
    for line in stream.getvalue().split("\n")[:-1]:
        screen = ""
        for text in line.replace("\x1b[K", " " * 120).split("\r"):
            screen = text + screen[len(text) :]
        shown.append(screen.rstrip())
    assert [line[:11] for line in shown] == ["epoch   1/2", "epoch   2/2"]
    assert all(line.endswith(" left") for line in shown), "nothing stays of the longer line before"


def test_progress_on_a_terminal_ends_its_line_when_a_signal_stops_the_training(tmp_path):
    """What the program prints next begins a line of its own."""
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    stream = Terminal()
    with pytest.raises(Stopped):
        run(tmp_path, callbacks=[Progress(stream, seconds=0), stop])
    assert stream.getvalue().endswith("  step 2/3\x1b[K\n")


def levels(first_step):
    """The same batch in every step, normalised as for networks of ImageNet."""
    images = (LEVELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    labels = np.arange(BATCH, dtype="int32") % CLASSES
    return tf.data.Dataset.from_tensors((images.astype("float32"), labels)).repeat()


def watched_run(work_dir, execution, steps):
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    callbacks = progress_callbacks(execution, work_dir, levels, ONE)
    return run(work_dir, model, batches=levels, steps_per_epoch=steps, callbacks=callbacks)


def test_without_options_there_is_progress_alone(tmp_path):
    assert [type(callback) for callback in progress_callbacks(Execution(), tmp_path, levels, ONE)] == [Progress]


@pytest.mark.parametrize("execution", [Execution(tensorboard=True), Execution(profile=True)])
def test_without_the_package_the_error_says_how_to_install_it(tmp_path, monkeypatch, execution):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        progress_callbacks(execution, tmp_path, levels, ONE)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("watched")
    return work_dir, watched_run(work_dir, Execution(tensorboard=True), 2)


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


def test_tensorboard_shows_the_first_images_as_they_were_before_normalisation(watched):
    ((step, (width, height, *files)),) = shown(watched[0] / "tensorboard", "first batch")
    assert (step, int(width), int(height), len(files)) == (0, 6, 12, 16)
    for file, expected in zip(files, LEVELS[:16], strict=True):
        np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(file)), int), expected.astype(int), atol=1)


def test_only_profile_writes_a_trace(watched, tmp_path):
    watched_run(tmp_path, Execution(profile=True), 20)
    (trace,) = tmp_path.glob("tensorboard/**/plugins/profile/*/*.xplane.pb")
    assert b"MatMul" in trace.read_bytes(), "the product of the dense layer"
    assert not list(watched[0].rglob("profile"))
