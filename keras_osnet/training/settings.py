"""Settings that all recipes share: `Numerics` and `Optimization` identify a run, `Execution` does not."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How steps are computed. These settings change the result, so they identify a run."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Type of the computation. Weights stay float32."""
    accumulate: int = 1
    """Number of pieces of each replica's part of a batch. They are computed one after the other, to save memory. The
    gradient is the same, except that batch norms compute their moments, and Batch DropBlock draws its rectangle, per
    piece."""
    clip_norm: float = 0.0
    """Largest norm of the gradient. A larger gradient is scaled down to it. 0: no limit."""
    ema: float = 0.0
    """Momentum of exponential moving averages of the weights, which are scored and saved. The running statistics of
    norms have the same momentum, if it is above their own. 0: no averages."""
    synchronize_norms: bool = False
    """Compute the moments of batch norms over all replicas."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Optimizer and learning rate."""

    optimizer: Literal["sgd", "nesterov", "amsgrad", "adam"] = "sgd"
    lookahead: int = 0
    """Number of steps after which the weights return half-way to slow weights. 0: none."""
    learning_rate: float = 0.065
    l2: float = 5e-4
    """Weight decay of all weights: gradient + l2 x weight."""
    schedule: Literal["multi_step", "single_step", "cosine"] = "multi_step"
    milestones: tuple[int, ...] = (150, 225, 300)
    """Schedule multi_step: epochs after which the learning rate is multiplied by decay."""
    step_epochs: int = 60
    """Schedule single_step: the learning rate is multiplied by decay each time after this number of epochs."""
    decay: float = 0.1
    """Factor of the learning rate in the schedules multi_step and single_step."""
    warmup_epochs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a training is executed. A run may be resumed with other values."""

    strategy: Literal["auto", "one", "mirrored", "multiworker", "tpu"] = "auto"
    """one: one device; mirrored: all GPUs of this machine; multiworker: all GPUs of the machines in TF_CONFIG or of
    SLURM; tpu: a TPU; auto: mirrored if `replicas` exceeds 1, else one."""
    replicas: int = 0
    """Number of GPUs of each machine, or of logical CPUs on a machine without GPUs. 0: one device with auto, else all
    GPUs."""
    jit: bool = False
    """Compile forward and backward pass with XLA."""
    checkpoint_minutes: float = 10.0
    """Minutes between two checkpoints within an epoch. A checkpoint is always written at its end."""
    cache: bool = False
    """Keep the decoded images in memory."""
    evaluate_every: int = 0
    """Number of epochs between two evaluations. The best network is kept. 0: evaluate at the end only."""
    tensorboard: bool = False
    """Write curves and a batch of images for TensorBoard, into the folder tensorboard of the work dir."""
    profile: bool = False
    """Write a TensorBoard trace of steps 11 to 20."""
