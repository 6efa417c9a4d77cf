"""Signals: the first writes a checkpoint and stops the training, a second Ctrl-C stops at once."""

import os
import signal
import threading
from contextlib import contextmanager

import keras
import pytest

from keras_osnet.training.loop import Stopped
from tests.training.small import STEPS, assert_same_weights, run, small

EPOCHS = 3


def sends(*numbers, at="on_train_batch_end"):
    """A callback that sends signals to this process once, in the first step or after the first epoch."""
    left = list(numbers)

    def send(*_, **__):
        while left:
            os.kill(os.getpid(), left.pop(0))

    return keras.callbacks.LambdaCallback(**{at: send})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    model = small()
    run(tmp_path_factory.mktemp("whole"), model, epochs=EPOCHS)
    return model


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_after_the_step_with_a_checkpoint_that_the_next_run_resumes(tmp_path, whole, number):
    handler = signal.getsignal(number)
    with pytest.raises(Stopped, match="Stopped after step 2 of epoch 1; the checkpoint is written") as stopped:
        run(tmp_path, epochs=EPOCHS, callbacks=[sends(number)])
    assert stopped.value.signal == number
    assert signal.getsignal(number) == handler
    assert not (tmp_path / "metrics.jsonl").exists()
    history = run(tmp_path, model := small(), epochs=EPOCHS)
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert_same_weights(model, whole, 1e-6)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_signal_while_an_epoch_is_scored_stops_after_its_checkpoint(tmp_path, epochs):
    """In the callbacks of the first epoch, where no step hears it."""
    with pytest.raises(Stopped, match="Stopped after epoch 1; the checkpoint is written"):
        run(tmp_path, epochs=epochs, callbacks=[sends(signal.SIGTERM, at="on_epoch_end")])
    assert len(run(tmp_path, epochs=epochs)) == epochs


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_second_ctrl_c_stops_at_once_without_a_checkpoint(tmp_path, first):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=[sends(first, signal.SIGINT)])
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert len(run(tmp_path)) == 2


@contextmanager
def ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_signal_that_the_process_ignores_stops_nothing(tmp_path):
    """As SIGHUP under nohup, and SIGINT of a background process of a shell script."""
    with ignored(signal.SIGHUP), ignored(signal.SIGINT):
        assert len(run(tmp_path, callbacks=[sends(signal.SIGHUP, signal.SIGINT)])) == 2
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_training_in_another_thread_leaves_the_signals_as_they_are(tmp_path):
    found, before = [], signal.getsignal(signal.SIGTERM)
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: found.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=run, args=(tmp_path,), kwargs={"callbacks": [look]})
    thread.start()
    thread.join()
    assert found == [before, before]


def test_a_worker_that_another_one_stops_ends_as_after_sigterm():
    """128 + 0 would be an exit status that no scheduler takes for a signal."""
    assert Stopped("Stopped").signal == signal.SIGTERM
    assert Stopped("Stopped", signal.SIGINT).signal == 2


def test_steps_of_a_stopped_epoch_are_not_repeated(tmp_path):
    seen = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    with pytest.raises(Stopped):
        run(tmp_path, epochs=1, callbacks=[count, sends(signal.SIGTERM)])
    run(tmp_path, epochs=1, callbacks=[count])
    assert seen == list(range(STEPS))
