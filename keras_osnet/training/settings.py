"""Settings that all recipes share: `Numerics` and `Optimization` identify a run, `Execution` does not."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How the steps of a training are computed. They change the result, and so they identify a run."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Weights stay float32."""
    accumulate: int = 1
    """Compute each replica's part of a batch in this many pieces, one after the other. It takes less memory. The
    gradient is the same, except that batch norms take their moments from a piece."""
    clip_norm: float = 0.0
    """Scale the gradient down to this norm where it is larger. 0: never."""
    ema: float = 0.0
    """Score and save exponential moving averages of the weights, of this momentum. 0: the weights themselves."""
    synchronize_norms: bool = False
    """Batch statistics over all replicas."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Optimizer and learning rate."""

    optimizer: Literal["sgd", "nesterov", "amsgrad"] = "sgd"
    learning_rate: float = 0.065
    l2: float = 5e-4
    """Weight decay, on everything."""
    schedule: Literal["multi_step", "single_step", "cosine"] = "multi_step"
    milestones: tuple[int, ...] = (150, 225, 300)
    """multi_step: epochs after which the learning rate falls."""
    step_epochs: int = 60
    """single_step: the learning rate falls after every this many epochs."""
    decay: float = 0.1
    """The factor by which it falls."""
    warmup_epochs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a training is carried out. A run may be resumed with other values."""

    strategy: Literal["auto", "one", "mirrored", "multiworker", "tpu"] = "auto"
    """Devices: one; mirrored: all GPUs of this machine; multiworker: those of all machines of TF_CONFIG or SLURM; tpu.
    auto: mirrored for several replicas, else one."""
    replicas: int = 0
    """GPUs of each machine; without a GPU, logical CPUs. 0: all GPUs."""
    jit: bool = False
    """Compile forward and backward pass with XLA."""
    checkpoint_minutes: float = 10.0
    """Write a checkpoint this often within an epoch too."""
    cache: bool = False
    """Keep the decoded images in memory."""
    evaluate_every: int = 0
    """Score after every this many epochs and keep the best network. 0: only at the end."""
    tensorboard: bool = False
    """Write curves and the images of a batch for TensorBoard, into the folder tensorboard of the work dir."""
    profile: bool = False
    """Write a trace of steps 11 to 20 there too."""
