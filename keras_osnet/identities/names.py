"""Names of people that were seen before: tracks with identities, and a gallery."""

from collections import Counter

import numpy as np

from keras_osnet.identities.linking import check_match
from keras_osnet.identities.tracks import features_of, track_list

SAME = 1e-3  # cosine distance of a track to its own row, which another machine may have computed
NEAREST = 100  # rows of the gallery to look at first for the names that a person may get


def names_from(gallery, tracks, identities, match, *, base_rate, probability=0.5, different=()):
    """Names the people of some tracks as a gallery does, and adds their tracks to it.

    A person is one of the gallery if their probability to be one person is high enough. The most similar pair of a
    person and a name comes first. Each name goes to one person. Others become "person 1", ...: see
    `Gallery.new_names`.

    A track that is in the gallery, of the same camera and time, is not added again. Its row names its person, before
    all similar rows; several people keep one name so, unless they are `different`. Then the row gets the person's name.

    Args:
        gallery: `Gallery`.
        tracks: list of `Track`, with times in seconds in UTC since 1970.
        identities: identity of each track: all numbers, or all strings.
        match, base_rate, probability: as for `link`.
        different: pairs of identities that somebody has told apart.

    Returns:
        dict of identity to name; {} without tracks.

    Raises:
        ValueError: if identities and tracks differ in number, or identities cannot be sorted, and as `link` and
            `Gallery.add`. Nothing is added.
    """
    check_match(match)
    tracks, groups = track_list(tracks), {}
    try:
        identities = list(identities)
        for number, identity in enumerate(identities):
            groups.setdefault(identity, []).append(number)
        sorted(groups)  # candidates that are equally near come in this order
    except TypeError as error:
        raise ValueError(f"`identities` must be all numbers or all strings. Received: {error}") from error
    if len(identities) != len(tracks):
        raise ValueError(f"`identities` must be one for each of {len(tracks)} tracks. Received: {len(identities)}")
    if not tracks:
        return {}
    features, limit = features_of(tracks), match.distance_at(probability, base_rate=base_rate)
    try:
        apart = {frozenset((one, other)) for one, other in different}
    except (TypeError, ValueError) as error:
        raise ValueError(f"`different` must be pairs of identities. Received: {different!r}") from error
    with gallery.transaction():  # no other process may give the names meanwhile
        own, candidates, names = [_row_of(gallery, track) for track in tracks], [], {}
        means = np.stack([features[some].mean(axis=0) for some in groups.values()])
        for (identity, some), mean, rows in zip(groups.items(), means, gallery.search(means, NEAREST), strict=True):
            most = NEAREST
            while len(rows) == most and rows[-1].distance <= limit:  # rows of other names may be near enough too
                most *= 10
                (rows,) = gallery.search(mean[None], most)
            tracks_of = Counter(own[number].identity for number in some if own[number])
            candidates += [(-count, 0.0, identity, name) for name, count in tracks_of.items()]
            candidates += [(0, row.distance, identity, row.identity) for row in rows if row.distance <= limit]
        for tracks_before, _, identity, name in sorted(candidates):
            holders = [other for other, its in names.items() if its == name]
            if tracks_before:
                holders = [other for other in holders if frozenset((other, identity)) in apart]
            if identity not in names and not holders:
                names[identity] = name
        strangers = [identity for identity in groups if identity not in names]
        if strangers:
            names |= zip(strangers, gallery.new_names(len(strangers)), strict=True)
        given, known = [names[identity] for identity in identities], [number for number, row in enumerate(own) if row]
        new = [number for number, row in enumerate(own) if not row]
        gallery.assign([own[number].id for number in known], [given[number] for number in known])
        cameras, times = [str(tracks[number].camera) for number in new], [tracks[number].start for number in new]
        gallery.add(features[new], [given[number] for number in new], cameras, times)
    return names


def _row_of(gallery, track):
    """The row of a track that is in the gallery, or None."""
    when = {"after": track.start, "before": np.nextafter(track.start, np.inf)}
    (rows,) = gallery.search(track.feature[None], 1, cameras=[str(track.camera)], **when)
    return rows[0] if rows and rows[0].distance < SAME else None
