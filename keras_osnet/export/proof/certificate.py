"""What the certificate of a converted file says."""

from dataclasses import dataclass

BUDGET = 0.3  # points
LABELS = {"rank1": "R1", "f1": "F1"}
BLAMED = 3  # layers in a message
LEAST_COSINE = 0.99  # of an accelerator's outputs, for it to be proved


@dataclass(frozen=True)
class Model:
    name: str
    parameters: int  # trainable


@dataclass(frozen=True)
class File:
    """`quantization` is none, float16, dynamic or int8; `pipeline`: whether the preprocessing is inside; `takes`: the
    input, as the file says itself."""

    name: str
    bytes: int
    sha256: str
    quantization: str
    pipeline: bool
    ops: dict[str, int]  # how often each occurs
    float_parts: tuple[str, ...] = ()
    takes: str = ""


@dataclass(frozen=True)
class CalibrationImages:
    """`sha256` is of the list of the images' own SHA-256, one a line: of files, or of pixels of a set in memory."""

    images: int
    rule: str  # that chose them
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """`settings` are metric, protocol and split, where they matter."""

    name: str
    counts: dict[str, int]
    settings: dict[str, str | int]


@dataclass(frozen=True)
class Score:
    """Fractions 0..1 and their `loss` in points (hundredths), negative for a gain. The budget holds for `main` ones."""

    keras: float
    file: float
    loss: float
    main: bool


@dataclass(frozen=True)
class Changes:
    """Of `count` queries, decisions or images (`unit`). The standard error is that of the difference between the
    fractions that are correct, in points: the size of a change that chance alone may make."""

    unit: str
    count: int
    became_wrong: int
    became_right: int
    standard_error: float


@dataclass(frozen=True)
class Cosine:
    """Between the outputs of the file and of Keras: `of` features, probabilities or logits."""

    of: str
    mean: float
    percentile_1: float


@dataclass(frozen=True)
class Layer:
    """Signal to noise in dB, None where it is infinite: of the noise that the layer adds to exact inputs (`own_db`),
    and of all noise in its output (`db`)."""

    layer: str
    op: str
    own_db: float | None
    db: float | None


@dataclass(frozen=True)
class Layers:
    """Signal to noise over some images: of the outputs as simulated and of the file's own (None for probabilities), and
    of each layer, the worst first."""

    images: int
    simulated_db: float | None
    file_db: float | None
    rows: tuple[Layer, ...]


@dataclass(frozen=True)
class Latency:
    threads: int
    median_ms: float
    runs: int


@dataclass(frozen=True)
class Accelerator:
    """LiteRT's CompiledModel on the CPU or GPU of the machine: the least cosine, over some images, to the outputs of
    the Interpreter, with which the scores were computed; None where the file did not run, for a `reason`."""

    name: str
    images: int
    least_cosine: float | None
    reason: str = ""

    @property
    def proved(self):
        return self.least_cosine is not None and self.least_cosine >= LEAST_COSINE


@dataclass(frozen=True)
class Machine:
    system: str
    processor: str
    cores: int  # that the process may use


@dataclass(frozen=True)
class Made:
    command: str
    date: str  # UTC
    versions: dict[str, str]
    machine: Machine


@dataclass(frozen=True)
class Certificate:
    """What was found of a file. Its fields are the keys of the JSON file, together with `format` and `verdict`.

    Args:
        budget: the largest loss of a main score that passes, in points (hundredths).
        calibration: None where the file was fitted on no images.
        layers: None for float files; `without_layers` then says why.
        accelerators: empty in certificates that were written before they were tested.
    """

    budget: float
    model: Model
    file: File
    calibration: CalibrationImages | None
    dataset: Dataset
    scores: dict[str, Score]
    changed: Changes
    cosine: Cosine
    layers: Layers | None
    without_layers: str
    latency: tuple[Latency, ...]
    made: Made
    accelerators: tuple[Accelerator, ...] = ()

    @property
    def lost(self):
        """Names of the main scores that lose more than the budget."""
        # Differences of fractions: a loss of just the budget passes.
        return [name for name, score in self.scores.items() if score.main and score.loss > self.budget + 1e-9]

    @property
    def passed(self):
        return not self.lost

    @property
    def verdict(self):
        return "passed" if self.passed else "refused"

    @property
    def refusal(self):
        """One line: which scores lose how much, and the layers that add most noise. Empty where the file passed."""
        if self.passed:
            return ""
        losses = ", ".join(f"{LABELS.get(n, n)} loses {self.scores[n].loss:.2f} points" for n in self.lost)
        worst = [row for row in self.layers.rows if row.own_db is not None] if self.layers else []
        blamed = ", ".join(f"{row.layer} ({row.own_db:.1f} dB)" for row in worst[:BLAMED])
        blame = f"; layers that add most noise: {blamed}" if blamed else ""
        return f"{losses} on {self.dataset.name}, the budget is {self.budget:g}{blame}"
