"""Content of the certificate of a converted file."""

from dataclasses import dataclass

BUDGET = 0.3  # points
LABELS = {"rank1": "R1", "f1": "F1"}
BLAMED = 3  # layers in a message
LEAST_COSINE = 0.99  # smallest cosine between the outputs of the Interpreter and of a proved accelerator


@dataclass(frozen=True)
class Model:
    name: str
    parameters: int  # frozen ones too, without running statistics


@dataclass(frozen=True)
class File:
    """`quantization` is none, float16, dynamic or int8. `pipeline`: whether the file contains the preprocessing.
    `takes`: description of the input in the file's metadata."""

    name: str
    bytes: int
    sha256: str
    quantization: str
    pipeline: bool
    ops: dict[str, int]  # count of each op
    float_parts: tuple[str, ...] = ()
    takes: str = ""


@dataclass(frozen=True)
class CalibrationImages:
    """`sha256` is the hash of a list with one SHA-256 per line: of image files, or of the pixels of a set in memory."""

    images: int
    rule: str  # selection of the images
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """`settings` are metric, protocol and split, if the dataset has them."""

    name: str
    counts: dict[str, int]
    settings: dict[str, str | int]


@dataclass(frozen=True)
class Score:
    """Fractions 0..1 and their `loss` in points (hundredths), negative for a gain. The budget limits `main` scores."""

    keras: float
    file: float
    loss: float
    main: bool


@dataclass(frozen=True)
class Changes:
    """Changed results among `count` queries, decisions or images (`unit`). The standard error, in points, is that of
    the difference between the fractions of correct results: the size of a change by chance alone."""

    unit: str
    count: int
    became_wrong: int
    became_right: int
    standard_error: float


@dataclass(frozen=True)
class Cosine:
    """Cosines between the outputs of the file and of Keras. `of` is features, probabilities or logits."""

    of: str
    mean: float
    percentile_1: float


@dataclass(frozen=True)
class Layer:
    """Signal to noise in dB, None if it is infinite: for the noise that the layer adds to exact inputs (`own_db`), and
    for all noise in its output (`db`)."""

    layer: str
    op: str
    own_db: float | None
    db: float | None


@dataclass(frozen=True)
class Layers:
    """Signal to noise over some images: of the simulated outputs, of the file's outputs (None for probabilities), and
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
    """LiteRT's CompiledModel on the CPU or GPU of the machine: the smallest cosine, over some images, to the outputs of
    the Interpreter, which computed the scores. It is None if the file did not run, for a `reason`."""

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
    cores: int  # available to the process


@dataclass(frozen=True)
class Made:
    command: str
    date: str  # UTC
    versions: dict[str, str]
    machine: Machine


@dataclass(frozen=True)
class Certificate:
    """Results for a file. The fields are the keys of the JSON file, together with `format` and `verdict`.

    Args:
        budget: the largest loss of a main score that passes, in points (hundredths).
        calibration: None if the file was fitted on no images.
        layers: None for float files; `without_layers` is then the reason.
        accelerators: empty in certificates from before accelerators were tested.
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
        """One line with the lost scores and the layers that add most noise. Empty if the file passed."""
        if self.passed:
            return ""
        losses = ", ".join(f"{LABELS.get(n, n)} loses {self.scores[n].loss:.2f} points" for n in self.lost)
        worst = [row for row in self.layers.rows if row.own_db is not None] if self.layers else []
        blamed = ", ".join(f"{row.layer} ({row.own_db:.1f} dB)" for row in worst[:BLAMED])
        blame = f"; layers that add most noise: {blamed}" if blamed else ""
        return f"{losses} on {self.dataset.name}, the budget is {self.budget:g}{blame}"
