"""The cost of a whole training: its first step, its wait for data, its memory, and the gain of a second worker.

    python benchmarks/training_run.py first-step     from calling the loop to the end of its first step
    python benchmarks/training_run.py waiting        fraction of the time that steps wait for JPEG files
    python benchmarks/training_run.py memory         peak memory, and what gradient accumulation saves
    python benchmarks/training_run.py workers        two workers pinned to a core each, beside one pinned to one

Every figure is of a process of its own, which calls `keras_osnet.training.loop.train`; images are drawn. Linux.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import tyro

# What to measure -> the trainings: name, options of `one`.
RUNS = {
    "first-step": {f"x{width:g}, 256 x 128, batch 16": {"width": width, "steps": 1} for width in (0.25, 1.0)},
    "waiting": {"x0.25, 128 x 64, batch 64, JPEG files": {"width": 0.25, "batch_size": 64, "height": 128, "steps": 40}},
    "memory": {
        f"x1, 256 x 128, batch 64, in {n} pieces": {"width": 1.0, "batch_size": 64, "accumulate": n, "steps": 3}
        for n in (1, 2, 4, 8)
    },
    "workers": {
        f"{workers} workers, x0.25, 128 x 64, {each} images each": {
            "width": 0.25, "batch_size": each * workers, "height": 128, "steps": 20, "workers": workers,
        }
        for workers, each in ((1, 64), (2, 64))
    },
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Measures trainings."""

    what: tyro.conf.Positional[Literal["first-step", "waiting", "memory", "workers"]]
    turns: int = 3
    """How often each is run, in turns; medians are shown."""


def one(folder, width, steps, batch_size=16, height=256, accumulate=1, workers=1):
    """Trains within this process and prints its figures as JSON."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras
    import numpy as np
    from PIL import Image

    from keras_osnet import OSNet
    from keras_osnet.data.augment import Augmentation
    from keras_osnet.data.pipeline import training_batches
    from keras_osnet.losses import LabelSmoothedCrossEntropy
    from keras_osnet.optimizers import SGD
    from keras_osnet.training.execution import set_up
    from keras_osnet.training.loop import train
    from keras_osnet.training.report import peak_memory
    from keras_osnet.training.settings import Execution, Numerics

    numerics = Numerics(accumulate=accumulate)
    execution = Execution(strategy="multiworker" if workers > 1 else "one")
    strategy = set_up(numerics, execution, batch_size)
    with strategy.scope():
        model = OSNet(width, input_shape=(height, height // 2, 3), classes=751)
        optimizer = SGD(0.01)
    random, count = np.random.default_rng(0), 2 * batch_size
    paths = [f"{folder}/{i}.jpg" for i in range(count)]
    for path in paths:
        coarse = random.integers(0, 255, (16, 8, 3)).astype("uint8")
        Image.fromarray(coarse).resize((64, 128), Image.BICUBIC).save(path, quality=90)

    def batches(first_step, shard=(0, 1)):
        return training_batches(
            paths, np.arange(count) % 751, size=(height, height // 2), batch_size=batch_size, seed=0, epochs=10**6,
            augmentation=Augmentation(0.5, 0.5, 0.5), first_step=first_step, shard=shard,
        )  # fmt: skip

    began, ends = time.perf_counter(), []
    end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    history = train(
        model, batches, loss=LabelSmoothedCrossEntropy(), optimizer=optimizer, epochs=2 if steps > 1 else 1,
        steps_per_epoch=steps, work_dir=f"{folder}/run", strategy=strategy, numerics=numerics, execution=execution,
        callbacks=[end],
    )  # fmt: skip
    peak = peak_memory()
    peak = max(peak.values()) if isinstance(peak, dict) else peak
    found = {"first step, s": ends[0] - began, "peak memory, GiB": peak / 2**30}
    if steps > 1:  # of the second epoch: the first one traces
        found |= {"images/s": history[1]["images_per_second"], "waiting, %": 100 * history[1]["waiting"]}
    print(json.dumps(found))


def measured(options):
    """Returns the figures of a training, of all its workers together."""
    workers, processes = options.get("workers", 1), []
    with tempfile.TemporaryDirectory() as folder, socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
        first.close(), second.close()
        for index in range(workers):
            environment, pin = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, []
            if "workers" in options:
                pin = ["taskset", "-c", str(index)]
                environment |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
            if workers > 1:
                config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                environment["TF_CONFIG"] = json.dumps(config)
            own = Path(folder) / str(index)
            own.mkdir()
            command = [*pin, sys.executable, __file__, "one", str(own), json.dumps(options)]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a training failed: see above")
    return json.loads(outputs[0].splitlines()[-1])


def main(options):
    found = {name: [] for name in RUNS[options.what]}
    for _ in range(options.turns):
        for name, runs in found.items():
            runs.append(measured(RUNS[options.what][name]))
    for name, runs in found.items():
        print(name + "".join(f"  {key} {median(run[key] for run in runs):.2f}" for key in runs[0]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2], **json.loads(sys.argv[3]))
    else:
        main(tyro.cli(Options, description=__doc__))
