"""A resumed training goes on with what is no weight of the network: slow weights, and the state of dropped blocks."""

import keras
import numpy as np
import pytest

from keras_osnet.layers import BatchDropBlock
from keras_osnet.optimizers import SGD, LookaheadAdam, LookaheadSGD
from tests.training.small import CLASSES, SHAPE, run, small, weights_of


def with_block():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.AveragePooling2D(4), BatchDropBlock(0.4, name="drop_block"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input(SHAPE), *layers, keras.layers.Dense(CLASSES, name="classifier")])


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        # Of three steps an epoch: the slow weights of a stop after an epoch are no weights of the network.
        (small, lambda: LookaheadSGD(0.05, lookahead=2)),
        (small, lambda: LookaheadAdam(0.05, lookahead=4)),
        (small, lambda: keras.optimizers.LossScaleOptimizer(LookaheadSGD(0.05, lookahead=2))),
        (with_block, lambda: SGD(0.05)),
    ],
)
def test_a_resumed_training_ends_as_one_that_was_not_stopped(model, optimizer, tmp_path):
    whole = model()
    run(tmp_path / "whole", whole, epochs=4, optimizer=optimizer())
    for epochs in (1, 3, 4):
        parts = model()
        run(tmp_path / "parts", parts, epochs=epochs, optimizer=optimizer())
    for ours, theirs in zip(weights_of(parts), weights_of(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    if model is with_block:
        with np.load(tmp_path / "parts" / "checkpoint.npz") as file:
            assert file["model/drop_block_seed/seed_generator_state"][1] == 4 * 3  # one rectangle a step


def test_without_its_state_a_resumed_training_would_drop_other_blocks(tmp_path):
    """The test above can fail: a training that starts its numbers anew ends elsewhere."""
    whole, parts = with_block(), with_block()
    run(tmp_path / "whole", whole, epochs=2, optimizer=SGD(0.05))
    run(tmp_path / "first", parts, epochs=1, optimizer=SGD(0.05))
    again = with_block()
    again.set_weights(parts.get_weights())
    run(tmp_path / "second", again, epochs=1, optimizer=SGD(0.05))
    assert any((a != b).any() for a, b in zip(weights_of(again), weights_of(whole), strict=True))
