"""Scores several test sets of a dataset by several methods, from the same features."""

from dataclasses import dataclass, replace
from typing import Literal

from keras_osnet.inference.matches import match_probability, track_match_probability
from keras_osnet.inference.scores import (
    features_of_test_set,
    mean,
    score_features,
    verification_rows,
    verification_table,
    verify,
)
from keras_osnet.metrics import MatchProbability, Reliability, VerificationScores
from keras_osnet.metrics.match import scipy_minimize
from keras_osnet.metrics.reranking import check_reranking

# Options that compare images of different groups.
ACROSS_GROUPS = "verification", "match_probability", "expand", "rerank"


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How features are scored."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    camera_normalization: bool = False
    """Subtract the mean feature of each camera. The means are fitted on the training images, or on the test set if
    there are none. The distance is then the cosine."""
    flip: bool = False
    """Average the features of each image and its mirror image."""
    expand: int = 0
    """Number of nearest gallery images that each query is averaged with, in a further row. 0: no such row."""
    rerank: bool = False
    """Re-rank by k-reciprocal neighbours, in a further row."""
    k1: int = 20
    """Re-ranking: number of neighbours that may be reciprocal."""
    k2: int = 6
    """Re-ranking: number of images that are averaged."""
    lambda_value: float = 0.3
    """Re-ranking: weight of the original distance."""
    verification: bool = False
    """Print true accept rates and thresholds at several false accept rates."""
    match_probability: bool = False
    """Fit the probability that two images show one person. The errors are those of a fit on half of the people, on the
    other half."""

    @property
    def distance(self):
        """Metric of the distances."""
        return "cosine" if self.camera_normalization else self.metric

    @property
    def name(self):
        """Name of the row without expansion and re-ranking."""
        return self.distance + ", camera means removed" * self.camera_normalization

    def rows(self):
        """Returns the rows of the table: dict of name to options of `score_features`."""
        rows = {self.name: {}}
        if self.expand:
            rows[f"{self.name}, {self.expand} neighbours"] = {"expand": self.expand}
        if self.rerank:
            options = {"k1": self.k1, "k2": self.k2, "lambda_value": self.lambda_value}
            rows[f"{self.name}, re-ranked"] = {"reranked": options}
        return rows


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of the pairs of a test set. A score is None if it was not requested.

    Attributes:
        verification: `VerificationScores`.
        match, reliability: as `match_probability` returns them.
        track_match: as `track_match_probability` returns it. None too if the distance is not the cosine.
        unfitted: why the probability could not be fitted.
    """

    verification: VerificationScores | None = None
    match: MatchProbability | None = None
    reliability: Reliability | None = None
    track_match: MatchProbability | None = None
    unfitted: str = ""

    def text(self):
        """Returns the lines to print, or "" if no score was requested."""
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
        if self.track_match:
            lines += [
                f"of two tracks: sigmoid({self.track_match.offset:.3f} - {self.track_match.slope:.3f} distance), "
                "fitted on the mean feature of each person in each camera"
            ]
        if self.unfitted:
            lines.append(f"no probability of a match: {self.unfitted}")
        return "\n".join(lines)

    def values(self):
        """Returns plain values for JSON, by name."""
        found = {"verification": verification_rows(self.verification)} if self.verification else {}
        if self.match:
            measured = {"calibration_error": self.reliability.calibration_error, "brier": self.reliability.brier}
            found["match_probability"] = self.match.to_dict() | measured
        if self.track_match:
            found["track_match_probability"] = self.track_match.to_dict()
        return found


def check_scoring(scoring, test_set, name):
    """Refuses what would fail after the features are computed, such as more neighbours than a gallery has.

    Args:
        scoring: `Scoring`.
        test_set: list of `Splits`.
        name: name of the dataset, for the error.

    Raises:
        ValueError: if `expand` or `k1` exceeds the smallest gallery, `k2` or `lambda_value` is out of range, one of the
            settings of re-ranking is given without it, or pairs, expansion or re-ranking are requested for a dataset
            that is ranked within groups, or `verification` for images of one person.
        ImportError: if `match_probability` is requested and SciPy is not installed (`keras-osnet[report]`).
    """
    if any(splits.grouped for splits in test_set) and any(getattr(scoring, option) for option in ACROSS_GROUPS):
        options = ", ".join(f"`{option}`" for option in ACROSS_GROUPS)
        raise ValueError(f"{options} must be off for {name}, whose people have a label for each group.")
    if scoring.verification and len({record.identity for record in test_set[0].query + test_set[0].gallery}) == 1:
        raise ValueError(f"`verification` needs two people in the first test set of {name}. Received: one person")
    if scoring.match_probability:
        scipy_minimize()
    unused = [name for name in ("k1", "k2", "lambda_value") if getattr(scoring, name) != getattr(Scoring, name)]
    if unused and not scoring.rerank:
        raise ValueError(f"`rerank` must be True where these are given: {', '.join(unused)}. Received: rerank=False")
    smallest = min(len(splits.gallery) for splits in test_set)
    for option, k in (("expand", scoring.expand), ("k1", scoring.k1 * scoring.rerank)):
        if not 0 <= k <= smallest:
            raise ValueError(f"`{option}` must be 0 to {smallest}, the gallery of {name}. Received: {option}={k}")
    if scoring.rerank:
        check_reranking(scoring.k1, scoring.k2, scoring.lambda_value, smallest)


def score_test_set(features_of, test_set, metric="euclidean", protocol="market1501"):
    """Returns the mean scores over several test sets, a list of `Splits`."""
    features = features_of_test_set(features_of, test_set)
    options = {"metric": metric, "protocol": protocol}
    return mean([score_features(*each, splits, **options) for each, splits in zip(features, test_set, strict=True)])


def evaluate_test_set(features_of, test_set, scoring, protocol="market1501", *, normalize=None, fitted_on=""):
    """Scores several test sets by several methods.

    Args:
        features_of: as for `features_of_splits`.
        test_set: list of `Splits`.
        scoring: `Scoring`.
        protocol: as for `score_features`.
        normalize: function of (query features, gallery features, splits) that returns both, for
            `camera_normalization`.
        fitted_on: description of the images, for `match_probability`.

    Returns:
        dict of row name to mean scores, and the `PairScores` of the first test set.
    """
    features = features_of_test_set(features_of, test_set)
    found = [(*each, splits) for each, splits in zip(features, test_set, strict=True)]
    if scoring.camera_normalization:
        found = [(*normalize(*part), part[2]) for part in found]
    rows = {
        name: mean([score_features(*f, metric=scoring.distance, protocol=protocol, **options) for f in found])
        for name, options in scoring.rows().items()
    }
    verified = verify(*found[0], scoring.distance) if scoring.verification else None
    pairs = PairScores(verified)
    if scoring.match_probability:
        try:
            facts = {"fitted_on": fitted_on, "normalized": scoring.camera_normalization}
            fitted = match_probability(*found[0], metric=scoring.distance, **facts)
            pairs = PairScores(verified, *fitted)
            if scoring.distance == "cosine":
                pairs = replace(pairs, track_match=track_match_probability(*found[0], **facts))
        except ValueError as error:  # too few pairs, or features that tell nobody apart: the other scores are kept
            pairs = replace(pairs, unfitted=str(error))
    return rows, pairs
