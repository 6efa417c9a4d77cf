"""Trains a small network in a locked work dir, with checkpoints every tenth of a second, and resumes it.

    python interrupted_training.py WORK_DIR one|replicas|workers EPOCHS OUTPUT.npz

At the end OUTPUT.npz holds the history, features of 13 images, the same features of one device, and all variables.
"""

# ruff: noqa: E402 (TensorFlow is set up before the package is imported)

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

tf.config.experimental.enable_op_determinism()

from keras_osnet.data.arrays import training_batches
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, StepSchedule
from keras_osnet.training.execution import set_up
from keras_osnet.training.loop import Stopped, train
from keras_osnet.training.settings import Execution, Numerics
from keras_osnet.training.work_dir import claimed
from tests.training.small import convolutional

work_dir, mode, epochs, output = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
MODES = {
    "one": (Numerics(), {}),
    "replicas": (Numerics(ema=0.9), {"replicas": 2}),
    "workers": (Numerics(), {"strategy": "multiworker"}),
}
numerics, options = MODES[mode]
execution = Execution(checkpoint_minutes=1 / 600, **options)
strategy = set_up(numerics, execution, 8, wait=90)
keras.utils.set_random_seed(1)
averages = {"use_ema": True, "ema_momentum": numerics.ema} if numerics.ema else {}
with strategy.scope():
    model = convolutional((32, 16), 3)
    optimizer = SGD(StepSchedule(0.02, 5, (4,)), l2=5e-4, **averages)
random = np.random.default_rng(0)
images, labels = random.integers(0, 255, (44, 32, 16, 3)).astype("uint8"), np.arange(44) % 3


def batches(first_step, shard=(0, 1)):
    options = {"first_step": first_step, "shard": shard}
    return training_batches(images, labels, batch_size=8, pad=2, seed=3, epochs=epochs, **options)


try:
    with claimed(work_dir, {"epochs": epochs}, strategy):
        history = train(
            model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=epochs,
            steps_per_epoch=5, work_dir=work_dir, strategy=strategy, numerics=numerics, execution=execution,
        )  # fmt: skip
        paths = [f"{output}{number}.png" for number in range(13)]
        for path, image in zip(paths, images, strict=False):
            keras.utils.save_img(path, image, scale=False)
        extractor = FeatureExtractor(model, batch_size=3, strategy=strategy)
        extractor(paths[:1])  # fewer than workers; and the 13 are 7 and 6 of two workers, 3 and 2 batches
        features = extractor(paths)
except Stopped as notice:
    print(notice)
    sys.exit(128 + notice.signal)
lines = [[line[key] for key in ("epoch", "loss", "accuracy", "learning_rate")] for line in history]
weights = [np.asarray(variable) for variable in [*model.variables, *optimizer.variables]]
alone = convolutional((32, 16), 3)
alone.set_weights(model.get_weights())
np.savez(output, lines, features, FeatureExtractor(alone)(list(images[:13])), *weights)
