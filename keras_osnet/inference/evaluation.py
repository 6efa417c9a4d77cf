"""Several test sets of a dataset scored in several ways from the same features."""

from dataclasses import dataclass
from typing import Literal

from keras_osnet.inference.scores import (
    features_of_splits,
    match_probability,
    mean,
    score_features,
    score_splits,
    verification_rows,
    verification_table,
    verify,
)
from keras_osnet.metrics import MatchProbability, Reliability, VerificationScores
from keras_osnet.metrics.reranking import check_reranking


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How features are scored."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    camera_normalization: bool = False
    """Remove the mean feature of each camera, fitted on the training images, or on the test set where there are none.
    The distance is the cosine then."""
    flip: bool = False
    """Average the features of each image and its mirror image."""
    expand: int = 0
    """Average each query with this many neighbours, as one more row."""
    rerank: bool = False
    """Re-rank by k-reciprocal neighbours, as one more row."""
    k1: int = 20
    """Of re-ranking, neighbours that may be reciprocal."""
    k2: int = 6
    """Of re-ranking, images that are averaged."""
    lambda_value: float = 0.3
    """Of re-ranking, weight of the original distance."""
    verification: bool = False
    """True accept rates at given false accept rates, with their thresholds."""
    match_probability: bool = False
    """Fit the probability that two images show one person, and measure it on people it is not fitted on."""

    @property
    def distance(self):
        """The metric that is used."""
        return "cosine" if self.camera_normalization else self.metric

    @property
    def name(self):
        """The name of the plain row."""
        return self.distance + ", camera means removed" * self.camera_normalization

    def ways(self):
        """Returns the rows of the table: name -> options of `score_features`."""
        rows = {self.name: {}}
        if self.expand:
            rows[f"{self.name}, {self.expand} neighbours"] = {"expand": self.expand}
        if self.rerank:
            options = {"k1": self.k1, "k2": self.k2, "lambda_value": self.lambda_value}
            rows[f"{self.name}, re-ranked"] = {"reranked": options}
        return rows


@dataclass(frozen=True, eq=False)
class PairScores:
    """What is asked for about the pairs of a test set; None where it is not.

    Attributes:
        verification: `VerificationScores`.
        match, reliability: as `match_probability` returns them.
    """

    verification: VerificationScores | None = None
    match: MatchProbability | None = None
    reliability: Reliability | None = None

    def text(self):
        """Returns lines to print; "" if nothing was asked for."""
        lines = []
        if self.verification:
            found = self.verification
            lines += [f"{found.genuine:,} genuine pairs, {found.impostors:,} impostors of the first test set"]
            lines += [verification_table(found)]
        if self.match:
            lines += [
                f"P(one person) = sigmoid({self.match.offset:.3f} - {self.match.slope:.3f} distance) where one of two "
                f"pairs shows one person: calibration error {self.reliability.calibration_error:.3f}, Brier score "
                f"{self.reliability.brier:.3f} on the half of the people that a fit on the other half has not seen"
            ]
        return "\n".join(lines)

    def values(self):
        """Returns plain values for JSON, by name."""
        found = {"verification": verification_rows(self.verification)} if self.verification else {}
        if self.match:
            measured = {"calibration_error": self.reliability.calibration_error, "brier": self.reliability.brier}
            found["match_probability"] = self.match.to_dict() | measured
        return found


def check_scoring(scoring, sides, name):
    """Refuses numbers of neighbours that a gallery does not have.

    Args:
        scoring: `Scoring`.
        sides: list of `Splits`.
        name: of the dataset, for the error.

    Raises:
        ValueError: if `expand` or `k1` exceeds the smallest gallery, or `k2` or `lambda_value` is out of range.
    """
    smallest = min(len(side.gallery) for side in sides)
    for option, k in (("expand", scoring.expand), ("k1", scoring.k1 * scoring.rerank)):
        if not 0 <= k <= smallest:
            raise ValueError(f"`{option}` must be 0 to {smallest}, the gallery of {name}. Received: {option}={k}")
    if scoring.rerank:
        check_reranking(scoring.k1, scoring.k2, scoring.lambda_value, smallest)


def score_sides(features_of, sides, metric="euclidean", protocol="market1501"):
    """Returns the mean scores over several test sets, a list of `Splits`."""
    return mean([score_splits(features_of, side, metric=metric, protocol=protocol) for side in sides])


def evaluate_sides(features_of, sides, scoring, protocol="market1501", *, normalize=None):
    """Scores several test sets in several ways.

    Args:
        features_of: as for `features_of_splits`.
        sides: list of `Splits`.
        scoring: `Scoring`.
        protocol: as for `score_features`.
        normalize: function of (query features, gallery features, splits) that returns both, for
            `camera_normalization`.

    Returns:
        name of a way -> mean scores, and the `PairScores` of the first side.
    """
    found = [(*features_of_splits(features_of, side), side) for side in sides]
    if scoring.camera_normalization:
        found = [(*normalize(*part), part[2]) for part in found]
    rows = {
        name: mean([score_features(*f, metric=scoring.distance, protocol=protocol, **options) for f in found])
        for name, options in scoring.ways().items()
    }
    verified = verify(*found[0], scoring.distance) if scoring.verification else None
    match = match_probability(*found[0], metric=scoring.distance) if scoring.match_probability else ()
    return rows, PairScores(verified, *match)
