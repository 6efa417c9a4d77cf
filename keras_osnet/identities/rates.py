"""How often two tracks show one person, and from which probability they are joined."""

import numpy as np

from keras_osnet.identities.linking import People, allowed_pairs, check_match
from keras_osnet.identities.tracks import features_of, track_list
from keras_osnet.metrics.arguments import check_number

ROUNDS = 200
# The probability from which `base_rate_of` counts two people as one. It was chosen on a rendered scene (seed 11) and on
# sequences 2 and 3 of Market-1501, which benchmarks/identities.py does not report.
JOINED = 0.2


def base_rate_of(tracks, match, *, travel=None):
    """Estimates the fraction of pairs of tracks that show one person, from their distances.

    It is the rate at which `link`, with a probability of .2, joins that fraction of the pairs that may be one person.
    The search goes down, or up, from the rate of expectation maximisation on single pairs,

        rate <- mean of P(same person | distance, rate)

    which is too high where people look alike: it does not know that a track belongs to one person.

    Args:
        tracks, match, travel: as for `link`.

    Returns:
        float between 1 / pairs and 1 - 1 / pairs; .5 for less than 2 pairs.

    Raises:
        ValueError: if an argument is not as described.

    Reference for the start: Saerens et al., Adjusting the Outputs of a Classifier to New a Priori Probabilities (2002).
    """
    check_match(match)
    tracks = track_list(tracks)
    distances = _distances(tracks, travel)[0]
    if len(distances) < 2:
        return 0.5
    least = 1 / len(distances)

    def inside(rate):
        return float(np.clip(rate, least, 1 - least))

    start = _settled(lambda rate: inside(match(distances, base_rate=rate).mean()), 0.5)

    def needed(rate):
        return match.evidence(match.distance_at(JOINED, base_rate=rate))

    joins = np.array(list(People(tracks, match, travel).joins(needed(1 - least)))).reshape(-1, 2)
    evidence, pairs = joins[:, 0], np.concatenate([[0], np.cumsum(joins[:, 1])])

    def joined(rate):
        return inside(pairs[(evidence >= needed(rate)).sum()] / len(distances))

    return _settled(joined, start)


def _settled(function, value):
    """Applies a function to its own value until that stays."""
    for _ in range(ROUNDS):
        value, before = function(value), value
        if abs(value - before) < 1e-6:
            break
    return value


def probability_for(tracks, match, *, base_rate, false_matches, travel=None):
    """Returns the least probability from which, by `match`, at most a fraction of the joined pairs is wrong.

    Args:
        tracks, match, base_rate, travel: as for `link`. Only pairs of two cameras count.
        false_matches: fraction of pairs that may be wrong, between 0 and 1.

    Returns:
        float between 0 and 1: `probability` of `link`.

    Raises:
        ValueError: if `false_matches` is not between 0 and 1, or another argument is not as described.
    """
    check_match(match)
    check_number("false_matches", false_matches, "between 0 and 1", lambda value: 0 < value < 1)
    distances, across = _distances(tracks, travel)
    found = np.sort(match(distances[across], base_rate=base_rate))[::-1]
    wrong = np.cumsum(1 - found) / np.arange(1, len(found) + 1)
    accepted = found[wrong <= false_matches]
    if not len(accepted):
        return 1 - false_matches
    # `link` goes from the probability back to a distance. Rounding must not lose the pair that the probability is of.
    least = np.clip(accepted[-1], 1e-9, 1 - 1e-9)
    return float(least / (least + (1 - least) * (1 + 1e-6)))


def _distances(tracks, travel):
    """Cosine distances of the pairs that may be one person, and whether they are of two cameras."""
    tracks = track_list(tracks)
    if len(tracks) < 2:
        return np.empty(0), np.empty(0, bool)
    features, cameras = features_of(tracks), np.array([str(track.camera) for track in tracks])
    rows, columns = np.triu_indices(len(tracks), 1)
    kept = allowed_pairs(tracks, travel)[rows, columns]
    rows, columns = rows[kept], columns[kept]
    return (1 - features @ features.T)[rows, columns], cameras[rows] != cameras[columns]
