"""The probability that two images show one person, from the distance of their features."""

from dataclasses import asdict, dataclass

import numpy as np

from keras_osnet.metrics.arguments import as_array, check_count, check_number, is_number, real_array, row_of
from keras_osnet.metrics.distances import METRICS

# Standard deviations of the prior of `refit`: of the term that is added to the evidence, and of its factor.
SHIFT, STRETCH = 1.0, 0.25


@dataclass(frozen=True)
class MatchProbability:
    """Probability that two images show one person.

        evidence(d) = offset - slope d = log P(d | same person) - log P(d | different people)
        P(same person | d) = sigmoid(evidence(d) + log(base_rate / (1 - base_rate)))

    `fit` fits it on known pairs. It is valid for pairs of the same network and the same kind: across cameras, or under
    one camera; of images, or of tracks.

    Args:
        offset, slope: coefficients of the evidence, in natural logarithms.
        metric: metric of the distances, "cosine" (1 - cosine) or "euclidean".
        fitted_on: description of the images of the pairs.
        same, different: number of pairs of each kind.
        normalized: whether the mean of each camera was removed from the features, as
            `keras_osnet.adaptation.CameraNormalizer` does.
        tracks: whether each feature is the mean of several images of a person in one camera. Means are nearer to each
            other than images, also those of two people.

    Raises:
        ValueError: for an argument that is not as described.

    Reference: Platt, Probabilistic Outputs for Support Vector Machines (1999), for the fit.
    """

    offset: float
    slope: float
    metric: str = "cosine"
    fitted_on: str = ""
    same: int = 0
    different: int = 0
    normalized: bool = False
    tracks: bool = False

    def __post_init__(self):
        row_of("metric", self.metric, METRICS)
        for name in ("offset", "slope"):
            check_number(name, getattr(self, name), "a finite number", is_number)
        check_number("slope", self.slope, "at least 0", lambda value: value >= 0)
        if not isinstance(self.fitted_on, str):
            raise ValueError(f"`fitted_on` must be a string. Received: fitted_on={self.fitted_on!r}")
        for name in ("normalized", "tracks"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"`{name}` must be true or false. Received: {name}={value!r}")
        for name in ("same", "different"):
            value = getattr(self, name)
            check_number(name, value, "a number of pairs", lambda value: value >= 0 and value == int(value))
        for kind, names in ((float, ("offset", "slope")), (int, ("same", "different"))):  # NumPy's numbers are no JSON
            for name in names:
                object.__setattr__(self, name, kind(getattr(self, name)))

    @classmethod
    def fit(cls, distances, same, *, metric="cosine", fitted_on="", normalized=False, tracks=False):
        """Fits the probability on known pairs.

        Args:
            distances: (pairs,) distances of features.
            same: (pairs,) bool, whether a pair shows one person. There must be some of both kinds; their ratio does not
                matter.
            metric: metric of the distances.
            fitted_on: description of the images.
            normalized: whether the mean of each camera was removed from the features.
            tracks: whether each feature is the mean of several images of a person in one camera.

        Raises:
            ValueError: if an argument is not as described, or the same person is not nearer than others.
            ImportError: if SciPy is not installed (`keras-osnet[report]`).
        """
        distances, same = _pairs(distances, same)
        with np.errstate(over="ignore"):
            middle, spread = distances.mean(), distances.std()
        if not 1e-12 * np.abs(distances).max() < spread < np.inf:  # rounding alone makes equal distances differ
            raise ValueError(
                "`distances` must differ, by finite numbers. "
                f"Received: distances from {distances.min():g} to {distances.max():g}"
            )
        shift, factor = _fitted((middle - distances) / spread, same)
        if factor <= 0:
            raise ValueError(
                "`distances` must be smaller for the same person than for different people. Received: the contrary"
            )
        counts = int(same.sum()), int((~same).sum())
        slope = factor / spread
        return cls(float(shift + slope * middle), float(slope), metric, fitted_on, *counts, normalized, tracks)

    def refit(self, distances, same, *, fitted_on=""):
        """Adjusts the fit to other cameras with a few pairs from there, such as 50.

        The new evidence is shift + factor * evidence, of maximum posterior probability. The priors are normal, of mean
        0 and standard deviation 1 for shift, and of 1 and .25 for factor.

        Args:
            distances, same, fitted_on: as for `fit`.

        Raises:
            ValueError: if an argument is not as described.
            ImportError: if SciPy is not installed (`keras-osnet[report]`).
        """
        distances, same = _pairs(distances, same)
        shift, factor = _fitted(self.evidence(distances), same, prior=((0, SHIFT), (1, STRETCH)))
        factor = max(factor, 0.0)
        counts = int(same.sum()), int((~same).sum())
        coefficients = shift + factor * self.offset, factor * self.slope
        return type(self)(*coefficients, self.metric, fitted_on, *counts, self.normalized, self.tracks)

    def evidence(self, distances):
        """Returns the log-likelihood ratio of the same person against different people, in the shape of `distances`."""
        distances = real_array("distances", distances)
        if not np.isfinite(distances).all():
            raise ValueError("`distances` must be finite. Received: NaN or infinity")
        return self.offset - self.slope * distances

    def __call__(self, distances, *, base_rate=0.5):
        """Returns probabilities, 0..1, in the shape of `distances`.

        Args:
            distances: distances of features, by `metric`.
            base_rate: fraction of all compared pairs that show one person: .5 for a choice between two people,
                1 / people for one person among many strangers.

        Raises:
            ValueError: if `base_rate` is not between 0 and 1, or a distance is not finite.
        """
        return 1 / (1 + np.exp(-np.clip(self.evidence(distances) + _logit(base_rate), -500, 500)))

    def distance_at(self, probability, *, base_rate=0.5):
        """Returns the distance with this probability, a threshold. It is negative if no distance has it.

        Raises:
            ValueError: if `probability` or `base_rate` is not between 0 and 1, or `slope` is 0.
        """
        if not self.slope:
            raise ValueError("`slope` must be positive for a threshold. Received: slope=0")
        return (self.offset + _logit(base_rate) - _logit(probability, "probability")) / self.slope

    def to_dict(self):
        """Returns plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """Returns the object of which `to_dict` returned `values`.

        Raises:
            ValueError: if `values` are not a result of `to_dict`.
        """
        if not isinstance(values, dict) or not set(values) <= set(cls.__dataclass_fields__):
            raise ValueError(f"`values` must be those of `MatchProbability.to_dict`. Received: {values!r:.200}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"`values` must be those of `MatchProbability.to_dict`: {error}") from error


@dataclass(frozen=True, eq=False)
class Reliability:
    """Differences between probabilities and the labels of known pairs.

    Attributes:
        bins: (used bins, 3) float64: mean probability, fraction of pairs that show one person, number of pairs.
        calibration_error: mean of |mean probability - fraction| over all pairs, 0..1 (expected calibration error).
        brier: mean of (probability - label)^2, 0..1. It is .25 for a constant probability of .5.
    """

    bins: np.ndarray
    calibration_error: float
    brier: float


def reliability(probabilities, same, *, bins=15):
    """Compares probabilities with the labels of known pairs, in bins of equal width.

    Args:
        probabilities: (pairs,) 0..1.
        same: (pairs,) bool.
        bins: number of bins from 0 to 1. Default 15.

    Returns:
        `Reliability`.

    Raises:
        ValueError: if an argument is not as described.

    Reference: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), Section 2; Brier (1950).
    """
    probabilities, same = real_array("probabilities", probabilities), as_array("same", same)
    check_count("bins", bins, 10**6, "a million")
    inside = (probabilities >= 0) & (probabilities <= 1)
    shapes = probabilities.ndim == 1 and probabilities.shape == same.shape
    if not (shapes and len(same) and same.dtype == bool and inside.all()):
        raise ValueError(
            "`probabilities` must be one number, 0 to 1, for each pair of `same`, and `same` bools. "
            f"Received: shapes {probabilities.shape} and {same.shape}, same of {same.dtype}"
        )
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    used = counts > 0
    sums = np.stack([np.bincount(index, values, minlength=bins) for values in (probabilities, same)])
    error = np.abs(sums[0] - sums[1]).sum() / len(same)
    table = np.stack([*(sums[:, used] / counts[used]), counts[used]], axis=1)
    return Reliability(table, float(error), float(((probabilities - same) ** 2).mean()))


def _pairs(distances, same):
    distances, same = real_array("distances", distances), as_array("same", same)
    if distances.ndim != 1 or distances.shape != same.shape or same.dtype != bool:
        raise ValueError(
            "`distances` and `same` must be one number and one bool for each pair. "
            f"Received: shapes {distances.shape} and {same.shape}, same of {same.dtype}"
        )
    if not np.isfinite(distances).all():
        raise ValueError("`distances` must be finite. Received: NaN or infinity")
    if same.all() or not same.any():
        raise ValueError(
            f"`same` must hold pairs of both kinds. Received: {int(same.sum())} of {len(same)} are the same"
        )
    return distances, same


def _logit(rate, name="base_rate"):
    check_number(name, rate, "between 0 and 1", lambda value: 0 < value < 1)
    return np.log(float(rate)) - np.log1p(-float(rate))


def scipy_minimize():
    """Returns SciPy's function, with which a fit is made. Raises an ImportError that names the extra."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise ImportError("a fit needs SciPy: pip install 'keras-osnet[report]'", name="scipy") from error
    return minimize


def _fitted(x, same, prior=None):
    """Returns (shift, factor) so that shift + factor x are the log-likelihood ratios of the pairs."""
    minimize = scipy_minimize()
    positive, negative = same.sum(), (~same).sum()
    # Platt's targets: finite evidence where the two kinds do not overlap.
    targets = np.where(same, (positive + 1) / (positive + 2), 1 / (negative + 2))
    base = np.log(positive / negative)
    centres, spreads = np.array(prior or ((0, np.inf), (1, np.inf))).T

    def loss(parameters):
        z = parameters[0] + parameters[1] * x + base
        off = (parameters - centres) / spreads
        residual = 1 / (1 + np.exp(-np.clip(z, -500, 500))) - targets
        value = (np.logaddexp(0, z) - targets * z).sum() + (off**2).sum() / 2
        return value, np.array([residual.sum(), residual @ x]) + off / spreads

    return map(float, minimize(loss, [0.0, 1.0], jac=True, method="BFGS").x)
