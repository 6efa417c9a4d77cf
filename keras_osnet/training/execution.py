"""How a training is carried out: on which devices, in which precision, with which steps."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from keras_osnet.training import work_dir as runs
from keras_osnet.training.replicas import gathered
from keras_osnet.training.strategies import is_chief, make_strategy


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What the recipes' settings have in common, and `train` follows."""

    strategy: Literal["auto", "one", "mirrored", "multiworker", "tpu"] = "auto"
    """Devices: one; mirrored: all GPUs of this machine; multiworker: those of all machines of TF_CONFIG or SLURM; tpu.
    auto: mirrored for several replicas, else one."""
    replicas: int = 0
    """GPUs of each machine; without a GPU, logical CPUs. 0: all GPUs."""
    synchronize_norms: bool = False
    """Batch statistics over all replicas."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Weights stay float32."""
    jit: bool = False
    """Compile forward and backward pass with XLA."""
    accumulate: int = 1
    """Compute each replica's share of a batch in so many parts, one after the other: less memory, and the same gradient
    but for batch norms, which take their moments from a part."""
    clip_norm: float = 0.0
    """Scale the gradient down to this norm where it is larger. 0: never."""
    ema: float = 0.0
    """Score and save moving averages of the weights, of this momentum. 0: the weights themselves."""
    checkpoint_minutes: float = 10.0
    """Write a checkpoint so often within an epoch too."""


def begin(execution, batch_size, *, wait=600.0):
    """Makes the strategy and sets the precision of all layers made from now on.

    Raises:
        ValueError: if the replicas, or the parts of their shares, do not divide the batch, or a number is out of its
            range; and all that `make_strategy` raises.
    """
    for name, low, high in (("accumulate", 1, float("inf")), ("clip_norm", 0, float("inf")), ("ema", 0, 1)):
        value = getattr(execution, name)
        if not low <= value < high:
            raise ValueError(f"`{name}` must be at least {low} and less than {high}. Received: {name}={value}")
    _check_batch(batch_size, max(execution.replicas, 1), execution.accumulate)  # before others are waited for
    strategy = make_strategy(execution.strategy, execution.replicas, wait=wait)
    replicas = strategy.num_replicas_in_sync
    _check_batch(batch_size, replicas, execution.accumulate)
    if replicas > 1 and execution.synchronize_norms and (execution.jit or execution.accumulate > 1):
        raise ValueError(
            "`jit` must be False and `accumulate` 1 with `synchronize_norms`: neither XLA nor a loop over parts takes "
            f"an exchange between replicas. Received: jit={execution.jit}, accumulate={execution.accumulate}"
        )
    keras.config.set_dtype_policy(execution.precision)
    return strategy


def _check_batch(batch_size, replicas, parts):
    if batch_size < 1 or batch_size % (replicas * parts):
        raise ValueError(
            f"`batch_size` must be a positive multiple of {replicas * parts}: {replicas} replicas, whose shares are "
            f"taken in {parts} parts. Received: batch_size={batch_size}"
        )


def made_ready(execution, make_optimizer, rate, **options):
    """An optimiser for this execution: with averages of the weights, and loss scaling for float16."""
    averages = {"use_ema": True, "ema_momentum": execution.ema} if execution.ema else {}
    optimizer = make_optimizer(rate, **options, **averages)
    if execution.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def synchronize_norms(model):
    """Lets all batch norms of a model take their moments over all replicas. Call it before training."""
    for layer in norms_of(model):
        layer.synchronized = True


def norms_of(model):
    """All batch norms of a model, ours and Keras'."""
    layers = model._flatten_layers(include_self=False)  # Keras has no public way to walk nested layers
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def claim(work_dir, settings, strategy):
    """Makes a folder this run's own, for all its workers, as `keras_osnet.training.work_dir.claim` does for one.

    Raises:
        ValueError: if a run with other settings owns the folder, the workers' settings differ, or not every worker sees
            the folder.
    """
    runs.claim(work_dir, settings, write=False)
    digest = int(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12], 16)
    digests = gathered(strategy, np.array([digest], "int64"))
    if (digests != digests[0]).any():
        others = np.flatnonzero(digests != digests[0]).tolist()
        raise ValueError(f"All workers must have the same settings. Received: workers {others} differ from worker 0")
    runs.claim(work_dir, settings, write=is_chief(strategy))
    seen = gathered(strategy, np.array([is_chief(strategy)]))  # none goes on before the chief has written
    if len(seen) > 1 and not (Path(work_dir) / "config.json").exists():
        raise ValueError(f"`work_dir` must be one folder that all workers see. Received: {work_dir}")
