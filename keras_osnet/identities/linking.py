"""Which tracks of several cameras show one person: by their features, and by where and when a person can be."""

import numpy as np

from keras_osnet.metrics.arguments import check_count


def link(tracks, match, *, base_rate, probability=0.5, travel=None, same=(), different=()):
    """Gives each track an identity: one for all tracks of a person.

    Average linkage: at first each track is a person. Then the two people whose tracks have the largest mean evidence
    for being one are joined, again and again, as long as

        mean evidence + log(base_rate / (1 - base_rate)) >= log(probability / (1 - probability))

    and no track of the one excludes a track of the other: by being in the same camera at the same time, or by
    `travel` or `different`.

    Args:
        tracks: list of `Track`.
        match: `MatchProbability` for cosine distances, fitted on pairs like those of two tracks.
        base_rate: fraction of pairs of tracks, before they are looked at, that show one person: about 1 / people.
        probability: from which two people are joined, 0..1: a lower one joins more. Default 1/2.
        travel: dict of (camera, camera) -> the least seconds from the end of a track in the one to the start of a track
            in the other, for either order; negative where the views overlap. Default, and for other pairs of
            cameras: a person may be in both at the same time.
        same, different: pairs of indices of tracks that are, or are not, one person: what a person has decided.

    Returns:
        (tracks,) int64: identities from 0 on, in the order of their first tracks.

    Raises:
        ValueError: if an argument is not as described, or `same` and `different` contradict each other.
    """
    tracks = list(tracks)
    _check_match(match)
    needed = match.evidence(match.distance_at(probability, base_rate=base_rate))
    labels = np.arange(len(tracks))
    if not tracks:
        return labels
    features = np.stack([track.feature for track in tracks])
    allowed = allowed_pairs(tracks, travel)
    for i, j in _pairs("different", different, len(tracks)):
        allowed[i, j] = allowed[j, i] = False
    total, count = match.evidence(1 - features @ features.T), np.ones(len(tracks))
    for i, j in _pairs("same", same, len(tracks)):
        i, j = sorted((labels[i], labels[j]))
        if i != j:
            if not allowed[i, j]:
                raise ValueError(f"`same` must not join tracks that are two people. Received: the pair {i, j}")
            _join(i, j, labels, total, count, allowed)
    np.fill_diagonal(allowed, False)
    while True:
        mean = np.where(allowed, total / np.outer(count, count), -np.inf)
        i, j = sorted(np.unravel_index(mean.argmax(), mean.shape))
        if not mean[i, j] >= needed:
            return np.unique(_first(labels), return_inverse=True)[1]
        _join(i, j, labels, total, count, allowed)
        allowed[i, i] = False


def _check_match(match):
    if getattr(match, "metric", None) != "cosine":
        raise ValueError(f"`match` must be a MatchProbability of cosine distances. Received: match={match!r}")


def _first(labels):
    """The labels, numbered in the order of their first tracks."""
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    return first[index]


def _join(i, j, labels, total, count, allowed):
    """Makes j part of i: sums of evidence add, and what either excludes is excluded."""
    labels[labels == j] = i
    total[i] += total[j]
    total[:, i] += total[:, j]
    count[i] += count[j]
    allowed[i] &= allowed[j]
    allowed[:, i] &= allowed[:, j]
    allowed[j] = allowed[:, j] = False


def allowed_pairs(tracks, travel):
    """(tracks, tracks) bool: whether two tracks may be one person."""
    allowed = np.ones((len(tracks), len(tracks)), bool)
    for i, first in enumerate(tracks):
        for j, second in enumerate(tracks[:i]):
            allowed[i, j] = allowed[j, i] = not first.overlaps(second) and _in_time(first, second, travel)
    return allowed


def _in_time(first, second, travel):
    """Whether one person can have made both tracks in time."""
    keys = (first.camera, second.camera), (second.camera, first.camera)
    least = next((travel[key] for key in keys if key in (travel or ())), -np.inf)
    return max(first.start, second.start) - min(first.end, second.end) >= least


def _pairs(name, pairs, count):
    pairs = [tuple(pair) for pair in pairs]
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(i, (int, np.integer)) and 0 <= i < count for i in pair):
            raise ValueError(f"`{name}` must be pairs of indices of the {count} tracks. Received: {pair}")
        if pair[0] == pair[1]:
            raise ValueError(f"`{name}` must be pairs of two tracks. Received: {pair}")
    return pairs


class Identities:
    """People across cameras while tracks come in, one after the other.

    A track gets the identity with the largest mean evidence over its tracks, or a new one where that is too little or
    excluded, by the rules of `link`. An identity once given is kept, until `merge` or `split` changes it.

    Args:
        match, base_rate, probability, travel: as for `link`.
        memory: tracks of an identity that are kept, the last ones. Default 20.

    Attributes:
        tracks: dict of identity -> its tracks that are kept.
    """

    def __init__(self, match, *, base_rate, probability=0.5, travel=None, memory=20):
        check_count("memory", memory)
        _check_match(match)
        self.match, self.travel, self.memory = match, travel, memory
        self.needed = match.evidence(match.distance_at(probability, base_rate=base_rate))
        self.tracks, self.next = {}, 0

    def add(self, track):
        """Returns the identity of a new track."""
        best, most = None, self.needed
        for identity, known in self.tracks.items():
            if any(track.overlaps(other) or not _in_time(track, other, self.travel) for other in known):
                continue
            features = np.stack([other.feature for other in known])
            evidence = self.match.evidence(1 - features @ track.feature).mean()
            if evidence >= most:
                best, most = identity, evidence
        if best is None:
            best, self.next = self.next, self.next + 1
        self.tracks[best] = [*self.tracks.get(best, ()), track][-self.memory :]
        return best

    def merge(self, kept, other):
        """Makes two identities one, which keeps the first number.

        Raises:
            ValueError: if one is unknown.
        """
        self._require(kept, other)
        joined = sorted(self.tracks[kept] + self.tracks.pop(other), key=lambda track: track.end)
        self.tracks[kept] = joined[-self.memory :]

    def split(self, identity, tracks):
        """Takes some of its tracks from an identity. Returns their new identity.

        Raises:
            ValueError: if the identity is unknown, or does not hold one of the tracks, or nothing else.
        """
        self._require(identity)
        moved = [track for track in self.tracks[identity] if any(track is other for other in tracks)]
        left = [track for track in self.tracks[identity] if not any(track is other for other in tracks)]
        if len(moved) != len(tracks) or not moved or not left:
            raise ValueError(
                f"`tracks` must be some, and not all, of the {len(self.tracks[identity])} tracks of identity "
                f"{identity}. Received: {len(tracks)}, of which it holds {len(moved)}"
            )
        self.tracks[identity], self.tracks[self.next] = left, moved
        self.next += 1
        return self.next - 1

    def forget(self, identity):
        """Removes all that is known of an identity.

        Raises:
            ValueError: if it is unknown.
        """
        self._require(identity)
        del self.tracks[identity]

    def _require(self, *identities):
        for identity in identities:
            if identity not in self.tracks:
                raise ValueError(f"`identity` must be a known one. Received: {identity!r}")
        if len(set(identities)) < len(identities):
            raise ValueError(f"`kept` and `other` must be two identities. Received: {identities}")
