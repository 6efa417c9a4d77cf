"""The cosine from which an image or a track is a person of a gallery, proposed from the enrolled images alone."""

import numpy as np
from entries import unit  # beside this file

FEWEST = 3  # people from whom a threshold can be proposed
DEFAULT, DEFAULT_OF_TRACKS = 0.65, 0.7  # with fewer people
ALIKE = 0.8  # cosine of mean features of one person, where nobody has two images
WAY = 0.6  # from the limit of strangers to the cosine of one person, for tracks
ACCEPTED = 0.05  # fraction of strangers who would get a name
_NORMAL = 1.6449  # quantile of the normal distribution for `ACCEPTED`


def proposed(gallery):
    """Returns the threshold at which at most about one image of strangers in twenty gets a name, or None.

    Each person in turn is a stranger to the others: s_i is the largest cosine of their image i to an image of somebody
    else, and z_i = artanh(s_i). With the mean m of the P people's means, the standard deviation d of these means and
    the mean variance v within a person,

        limit = tanh(m + t sqrt(d^2 (1 + 1/P) + v)),  t the .95 quantile of Student's distribution, P - 1 degrees

    is the upper limit of a prediction for an image of one more person. Where people have several images that are more
    alike than this, the threshold is half way to the value that nine of ten images reach with another one of theirs.

    Args:
        gallery: `Gallery`. None is returned for fewer than three people.
    """
    people, owner = np.unique(gallery.names, return_inverse=True)
    if len(people) < FEWEST:
        return None
    features = _features(gallery)
    strangers, alike = np.empty(len(owner)), []
    for person in range(len(people)):
        own = owner == person
        strangers[own] = (features[own] @ features[~own].T).max(1)
        cosines = features[own] @ features[own].T
        np.fill_diagonal(cosines, -1)
        alike += cosines.max(1).tolist() if len(cosines) > 1 else []
    values, counts = np.arctanh(np.clip(strangers, -0.9999, 0.9999)), np.bincount(owner)
    means = np.bincount(owner, values) / counts
    within = (np.bincount(owner, (values - means[owner]) ** 2) / np.maximum(counts - 1, 1)).mean()
    spread = np.sqrt(means.var(ddof=1) * (1 + 1 / len(people)) + within)
    limit = float(np.tanh(means.mean() + _student(len(people) - 1) * spread))
    return max(limit, (limit + float(np.quantile(alike, 0.1))) / 2) if alike else limit


def proposed_for_tracks(gallery):
    """Returns the threshold at which at most about one track of strangers in twenty gets a name, or None.

    The mean feature of a track is compared with that of each person. Each person in turn is a stranger to the others:
    s_i is the largest cosine of their mean to somebody else's, and z_i = artanh(s_i). With the mean m and the standard
    deviation d of z over the P people,

        limit = tanh(m + t d sqrt(1 + 1/P)),  t the .95 quantile of Student's distribution, P - 1 degrees

    is the upper limit of a prediction for one more person. Let a be the cosine of two mean features of one person, of
    every other image and of the rest: its median over the people, or `ALIKE` if nobody has two images. If a is larger
    than the limit, the threshold is limit + `WAY` (a - limit).

    Args:
        gallery: `Gallery`. None is returned for fewer than three people.
    """
    people, owner = np.unique(gallery.names, return_inverse=True)
    if len(people) < FEWEST:
        return None
    means = gallery.means()
    strangers = [np.delete(means @ mean, person).max() for person, mean in enumerate(means)]
    values = np.arctanh(np.clip(strangers, -0.9999, 0.9999))
    spread = values.std(ddof=1) * np.sqrt(1 + 1 / len(people))
    limit = float(np.tanh(values.mean() + _student(len(people) - 1) * spread))
    several = [rows for rows in np.split(_features(gallery), np.flatnonzero(np.diff(owner)) + 1) if len(rows) > 1]
    halves = [unit(np.stack([rows[::2].sum(0), rows[1::2].sum(0)])) for rows in several]
    alike = float(np.median([a @ b for a, b in halves])) if halves else ALIKE
    return max(limit, limit + WAY * (alike - limit))


def _features(gallery):
    return gallery.features.astype(np.float32) * gallery.scales[:, None]


def _student(degrees):
    """Quantile of Student's distribution, by the expansion of Cornish and Fisher."""
    z = _NORMAL
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
