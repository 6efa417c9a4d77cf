"""Links tracks of several cameras that show one person, by features, times and travel times."""

from collections.abc import Hashable
from numbers import Real

import numpy as np

from keras_osnet.identities.tracks import features_of, plain_camera, track_list
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
            in the other, for either order; negative where the views overlap. If both orders are given, they must have
            one value. Default, and for other pairs of cameras: a person may be in both at the same time.
        same, different: pairs of indices of tracks that are, or are not, one person: what a person has decided.

    Returns:
        (tracks,) int64: identities from 0 on, in the order of their first tracks.

    Raises:
        ValueError: if an argument is not as described, or `same` and `different` contradict each other.
    """
    tracks = track_list(tracks)
    check_match(match)
    needed = match.evidence(match.distance_at(probability, base_rate=base_rate))
    people = People(tracks, match, travel, _pairs("different", different, len(tracks)))
    for i, j in _pairs("same", same, len(tracks)):
        people.join_tracks(i, j)
    for _ in people.joins(needed):
        pass
    return np.unique(people.labels, return_inverse=True)[1]


class People:
    """People and the tracks that were joined for each; at first each track is a person.

    Attributes:
        labels: (tracks,) int64, the person of each track: the index of the person's first track.
        total: (tracks, tracks) sums of evidence between the tracks of two people.
        count: (tracks,) how many tracks a person has.
        allowed: (tracks, tracks) bool, whether two people may be one.
    """

    def __init__(self, tracks, match, travel, different=()):
        self.labels, self.count = np.arange(len(tracks)), np.ones(len(tracks))
        self.allowed = allowed_pairs(tracks, travel)
        for i, j in different:
            self.allowed[i, j] = self.allowed[j, i] = False
        np.fill_diagonal(self.allowed, False)
        features = features_of(tracks) if tracks else np.empty((0, 1))
        self.total = match.evidence(1 - features @ features.T)

    def join_tracks(self, i, j):
        """Joins the people of two tracks."""
        first, second = sorted((self.labels[i], self.labels[j]))
        if first != second:
            if not self.allowed[first, second]:
                raise ValueError(
                    "`same` must not join tracks that are two people, by `different`, by their times or by `travel`. "
                    f"Received: the pair ({i}, {j})"
                )
            self._join(first, second)

    def joins(self, needed):
        """Joins the two people of the largest mean evidence, again and again, while it is at least `needed`. Yields it,
        and the number of pairs of tracks that it joined."""
        means = np.where(self.allowed, self.total / np.outer(self.count, self.count), -np.inf)
        while len(self.labels):
            i, j = sorted(np.unravel_index(means.argmax(), means.shape))
            mean, pairs = means[i, j], self.count[i] * self.count[j]
            if not mean >= needed:
                return
            self._join(i, j)
            means[i] = means[:, i] = np.where(self.allowed[i], self.total[i] / (self.count[i] * self.count), -np.inf)
            means[j] = means[:, j] = -np.inf
            yield mean, pairs

    def _join(self, i, j):
        """Makes j part of i: sums of evidence add, and what either excludes is excluded."""
        self.labels[self.labels == j] = i
        self.total[i] += self.total[j]
        self.total[:, i] += self.total[:, j]
        self.count[i] += self.count[j]
        self.allowed[i] &= self.allowed[j]
        self.allowed[:, i] &= self.allowed[:, j]
        self.allowed[j] = self.allowed[:, j] = False


def check_match(match):
    """Checks that a `MatchProbability` is for the distances of tracks. A ValueError says what it is."""
    if getattr(match, "metric", None) != "cosine":
        raise ValueError(f"`match` must be a MatchProbability of cosine distances. Received: match={match!r}")


def check_travel(travel):
    """Returns `travel` with the names of cameras as `Track` keeps them, {} for None.

    A ValueError names a pair of cameras without a number, or with two of them.
    """
    if not isinstance(travel, dict | None):
        raise ValueError(f"`travel` must be a dict of (camera, camera) to seconds. Received: {travel!r}")
    found = {}
    for pair, least in (travel or {}).items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(least, Real) and least == least):
            raise ValueError(f"`travel` must be seconds by (camera, camera). Received: {pair!r}: {least!r}")
        first, second = map(plain_camera, pair)
        other = found.get((second, first), found.get((first, second), least))
        if other != least:
            raise ValueError(
                "`travel` must be one number for two cameras, in either order. "
                f"Received: {second},{first}={other:g} and {first},{second}={least:g}"
            )
        found[first, second] = least
    return found


def allowed_pairs(tracks, travel):
    """(tracks, tracks) bool: whether two tracks may be one person."""
    travel = check_travel(travel)
    allowed = np.ones((len(tracks), len(tracks)), bool)
    for i, first in enumerate(tracks):
        for j, second in enumerate(tracks[:i]):
            allowed[i, j] = allowed[j, i] = not first.overlaps(second) and _in_time(first, second, travel)
    return allowed


def _in_time(first, second, travel):
    """Whether one person can have made both tracks in time."""
    keys = (first.camera, second.camera), (second.camera, first.camera)
    least = next((travel[key] for key in keys if key in travel), -np.inf)
    return max(first.start, second.start) - min(first.end, second.end) >= least


def _pairs(name, pairs, count):
    try:
        pairs = [tuple(pair) for pair in pairs]
    except TypeError as error:  # a single pair
        raise ValueError(f"`{name}` must be pairs of indices of the {count} tracks. Received: {pairs!r}") from error
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(i, (int, np.integer)) and 0 <= i < count for i in pair):
            raise ValueError(f"`{name}` must be pairs of indices of the {count} tracks. Received: {pair}")
        if pair[0] == pair[1]:
            raise ValueError(f"`{name}` must be pairs of two tracks. Received: {pair}")
    return pairs


class Identities:
    """People across cameras while tracks come in, one after the other.

    A track gets the identity with the largest mean evidence over its tracks, or a new one if no allowed identity has
    enough, by the rules of `link`. Only `merge` and `split` change the identity of a track.

    Args:
        match, base_rate, probability, travel: as for `link`.
        memory: tracks of an identity that are kept, the last ones. Default 20.

    Attributes:
        tracks: dict of identity -> its tracks that are kept.
    """

    def __init__(self, match, *, base_rate, probability=0.5, travel=None, memory=20):
        check_count("memory", memory)
        check_match(match)
        self.match, self.travel, self.memory = match, check_travel(travel), memory
        self.needed = match.evidence(match.distance_at(probability, base_rate=base_rate))
        self.tracks, self.next = {}, 0

    def add(self, track):
        """Returns the identity of a new track. Raises a ValueError if its feature has another length than others."""
        (track,) = track_list([track])
        best, most = None, self.needed
        for identity, known in self.tracks.items():
            if any(track.overlaps(other) or not _in_time(track, other, self.travel) for other in known):
                continue
            *features, own = features_of([*known, track])
            evidence = self.match.evidence(1 - np.stack(features) @ own).mean()
            if evidence >= most:
                best, most = identity, evidence
        if best is None:
            best, self.next = self.next, self.next + 1
        self.tracks[best] = [*self.tracks.get(best, ()), track][-self.memory :]
        return best

    def merge(self, kept, other):
        """Makes two identities one, which keeps the first number.

        Raises:
            ValueError: if one is unknown, or both are the same.
        """
        self._require(kept, other)
        joined = sorted(self.tracks[kept] + self.tracks.pop(other), key=lambda track: track.end)
        self.tracks[kept] = joined[-self.memory :]

    def split(self, identity, tracks):
        """Takes some of its tracks from an identity. Returns their new identity.

        Raises:
            ValueError: if the identity is unknown, or `tracks` is empty, holds a track of another identity, or is all
                of its tracks.
        """
        self._require(identity)
        if not np.iterable(tracks):
            raise ValueError(f"`tracks` must be a list of tracks. Received: {type(tracks).__name__}")
        tracks = list(tracks)
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
            if not isinstance(identity, Hashable) or identity not in self.tracks:
                raise ValueError(f"`identity` must be a known one. Received: {identity!r}")
        if len(set(identities)) < len(identities):
            raise ValueError(f"`kept` and `other` must be two identities. Received: {identities}")
