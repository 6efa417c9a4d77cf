"""Names of people that were seen before: tracks with identities, and a gallery."""

import re

import numpy as np

NEAREST = 100  # rows of the gallery that may give a person a name
NAME = "person {}"  # of people who are not in the gallery yet


def names_from(gallery, tracks, identities, match, *, base_rate, probability=0.5):
    """Names the people of some tracks as a gallery does, and adds their tracks to it.

    A person has the features of a row of the gallery if their probability to be one person is high enough. The most
    similar pair of a person and a name comes first. Each name goes to one person. Others become "person 1", ...

    Args:
        gallery: `Gallery`.
        tracks: list of `Track`, with times in seconds in UTC since 1970.
        identities: identity of each track.
        match, base_rate, probability: as for `link`.

    Returns:
        dict of identity to name.
    """
    groups = {}
    for track, identity in zip(tracks, identities, strict=True):
        groups.setdefault(identity, []).append(track)
    limit, known, pairs = match.distance_at(probability, base_rate=base_rate), gallery.identities(), []
    means = [np.mean([track.feature for track in some], axis=0) for some in groups.values()]
    for identity, rows in zip(groups, gallery.search(np.stack(means), NEAREST), strict=True):
        pairs += [(row.distance, identity, row.identity) for row in rows if row.distance <= limit]
    names = {}
    for _, identity, name in sorted(pairs):
        if identity not in names and name not in names.values():
            names[identity] = name
    taken = [int(found[1]) for name in known if (found := re.fullmatch(NAME.format(r"(\d+)"), name))]
    for number, identity in enumerate((i for i in groups if i not in names), max(taken, default=0) + 1):
        names[identity] = NAME.format(number)
    features = np.stack([track.feature for track in tracks])
    cameras, times = [str(track.camera) for track in tracks], [track.start for track in tracks]
    gallery.add(features, [names[identity] for identity in identities], cameras, times)
    return names
