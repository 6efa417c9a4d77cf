"""Facts about weights: their training set, scores, thresholds and licences."""

from dataclasses import dataclass, fields

# Probabilities of a match: (normalized, tracks) of a `MatchProbability` -> field of a `Card`, and
# entry of the metadata of exported files.
MATCH_FIELDS = {
    (False, False): "match_probability",
    (True, False): "normalized_match_probability",
    (False, True): "track_match_probability",
    (True, True): "normalized_track_match_probability",
}


@dataclass(frozen=True)
class Score:
    """Retrieval scores on the test set of a dataset, as fractions, by a distance, and who reports them."""

    dataset: str
    rank1: float
    mAP: float
    metric: str = "euclidean"
    source: str = "not stated"


@dataclass(frozen=True)
class Threshold:
    """The largest distance that counts as the same person at a false accept rate, measured on a dataset."""

    dataset: str
    false_accept_rate: float
    distance: float
    metric: str = "euclidean"


@dataclass(frozen=True)
class Card:
    """Facts about weights. Unknown facts are None or ().

    Args:
        training_set: name of the dataset.
        scores, thresholds: reported or measured scores and thresholds.
        weights_licence, images_licence: licences of the weights and of the training images.
        match_probability: values of a `keras_osnet.metrics.MatchProbability` that was fitted on pairs across cameras.
        normalized_match_probability: the same for features without the mean of their camera.
        track_match_probability, normalized_track_match_probability: the same for mean features of tracks.
    """

    training_set: str | None = None
    scores: tuple[Score, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    weights_licence: str | None = None
    images_licence: str | None = None
    match_probability: dict | None = None
    normalized_match_probability: dict | None = None
    track_match_probability: dict | None = None
    normalized_track_match_probability: dict | None = None

    @property
    def match_probabilities(self):
        """Values of the `MatchProbability`s, None if unknown, by the keys of `MATCH_FIELDS`."""
        return {kind: getattr(self, name) for kind, name in MATCH_FIELDS.items()}


UNKNOWN = Card()


def card_of_values(values):
    """Returns the `Card` of a dict of plain values, as `asdict` returns it. Unknown entries are left out."""

    def made(kind, row, **rows):
        return kind(**{field.name: row[field.name] for field in fields(kind) if field.name in row} | rows)

    kinds = {"scores": Score, "thresholds": Threshold}
    return made(Card, values, **{k: tuple(made(kind, row) for row in values.get(k, ())) for k, kind in kinds.items()})
