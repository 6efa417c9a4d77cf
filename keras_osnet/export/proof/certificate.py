"""What the certificate of a converted file says."""

from dataclasses import dataclass

BUDGET = 0.3  # points
LABELS = {"rank1": "R1", "f1": "F1"}
BLAMED = 3  # layers in a message


@dataclass(frozen=True)
class Model:
    """Name and number of trainable parameters."""

    name: str
    parameters: int


@dataclass(frozen=True)
class File:
    """The TFLite file.

    Args:
        quantization: none, float16, dynamic or int8.
        pipeline: whether the preprocessing is inside.
        ops: how often each op occurs, by name.
        float_parts: parts of a quantized file that compute in float.
    """

    name: str
    bytes: int
    sha256: str
    quantization: str
    pipeline: bool
    ops: dict[str, int]
    float_parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationImages:
    """How many images the file was fitted on, the rule that chose them, and the SHA-256 of the list of the images' own
    SHA-256, one a line: of files, or of the pixels of a set in memory."""

    images: int
    rule: str
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """The test set: name, numbers of what it has, and settings (metric, protocol, split: where they matter)."""

    name: str
    counts: dict[str, int]
    settings: dict[str, str | int]


@dataclass(frozen=True)
class Score:
    """A score of Keras and of the file, fractions 0..1.

    Args:
        loss: in points (hundredths), negative for a gain.
        main: whether the budget holds for it.
    """

    keras: float
    file: float
    loss: float
    main: bool


@dataclass(frozen=True)
class Changes:
    """How many queries, decisions or images (`unit`) of `count` became wrong and became correct.

    Args:
        standard_error: of the difference between the fractions that are correct, in points: the size of a change that
            chance alone may make.
    """

    unit: str
    count: int
    became_wrong: int
    became_right: int
    standard_error: float


@dataclass(frozen=True)
class Cosine:
    """Cosine between the file's outputs and Keras': of features, probabilities or logits."""

    of: str
    mean: float
    percentile_1: float


@dataclass(frozen=True)
class Layer:
    """Signal to noise of a layer in dB, None where it is infinite.

    Args:
        own_db: of the noise that the layer adds to exact inputs.
        db: of all noise that has gathered in its output.
    """

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
    """Median time of one image."""

    threads: int
    median_ms: float
    runs: int


@dataclass(frozen=True)
class Machine:
    """Cores are those that the process may use."""

    system: str
    processor: str
    cores: int


@dataclass(frozen=True)
class Made:
    """Command, date (UTC), versions by package, and machine of the certificate."""

    command: str
    date: str
    versions: dict[str, str]
    machine: Machine


@dataclass(frozen=True)
class Certificate:
    """What was found of a file. Its fields are the keys of the JSON file, together with `format` and `verdict`.

    Args:
        budget: the largest loss of a main score that passes, in points (hundredths).
        calibration: None where the file was fitted on no images.
        scores: by name.
        layers: None for float files.
        without_layers: why `layers` is None.
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
