"""Answers about pairs of images, what follows from them, and how clusters agree with them."""

import numpy as np

from keras_osnet.adaptation.clusters import OUTLIER, similarities

STEPS = 20  # of assigning the images of a split cluster, at most


class Links:
    """What answers say about images: which show one person (must-link) and which show two (cannot-link).

    Links follow from others: a = b and b = c mean a = c; a = b and b != c mean a != c.

    Args:
        answers: (first, second, same) in the order in which they were given. Images are numbers or names.

    Attributes:
        groups: image -> list of the images of its person. An image without an answer has no entry.
        others: first image of a group -> first images of the groups of other people.

    Raises:
        ValueError: if both images of an answer are one, `same` is not True or False, or it contradicts the answers
            before it.
    """

    def __init__(self, answers=()):
        self.groups, self.others = {}, {}
        for answer in answers:
            self.add(*answer)

    def known(self, first, second):
        """Returns True if both show one person, False if they show two, None if the answers do not tell."""
        one, two = (self.groups.get(image, [image])[0] for image in (first, second))
        return True if one == two else False if two in self.others.get(one, ()) else None

    def add(self, first, second, same):
        """Adds an answer. `same` is True for one person, False for two."""
        if not isinstance(same, bool | np.bool_):  # "no" is not False
            raise ValueError(f"`same` must be True or False. Received: same={same!r}")
        if first == second:
            raise ValueError(f"`first` and `second` must be two images. Received: {first} twice")
        known = self.known(first, second)
        if known is not None and known != same:
            raise ValueError(
                f"`same` must agree with the earlier answers, by which {first} and {second} show "
                f"{'one person' if known else 'two people'}. Received: {'yes' if same else 'no'}"
            )
        one, two = (self.groups.setdefault(image, [image]) for image in (first, second))
        if not same:
            self.others.setdefault(one[0], set()).add(two[0])
            self.others.setdefault(two[0], set()).add(one[0])
        elif known is None:
            for other in self.others.pop(two[0], ()):
                self.others[other] = self.others[other] - {two[0]} | {one[0]}
                self.others.setdefault(one[0], set()).add(other)
            one += two
            self.groups |= dict.fromkeys(two, one)

    def people(self):
        """Returns the groups, in the order of their first answers."""
        return list({id(group): group for group in self.groups.values()}.values())


def with_links(labels, distances, links):
    """Changes clusters so that they agree with answers.

    The clusters that hold images of one person become one cluster. A cluster that holds images of several people is
    split: each image without an answer goes to the side s with the largest mean similarity
    sum_{j in s} (1 - d_J(i, j)) / |s|. This is repeated with the sides so found until no image moves, at most 20 times.
    An image without similarity to any side goes to the first one.

    Args:
        labels: (N,) integers, -1 for outliers.
        distances: sparse, from `jaccard_distances`.
        links: `Links` of image numbers.

    Returns:
        (N,) int32 labels. Clusters are numbered in the order of their first image.
    """
    labels, people, clusters = np.array(labels, "int64"), links.people(), {}
    for group in people:
        found = np.unique(labels[group])
        found = found[found != OUTLIER]
        if len(found) or len(group) > 1:
            label = found[0] if len(found) else labels.max() + 1
            labels[np.isin(labels, found)] = label
            labels[group] = label
    for group in people:
        clusters.setdefault(labels[group[0]], []).append(group)
    clusters.pop(OUTLIER, None)
    for label, groups in clusters.items():
        sides = _sides(groups, distances, links)
        if len(sides) > 1:
            rows = np.flatnonzero(labels == label)
            labels[rows] = labels.max() + 1 + _assigned(rows, sides, distances)
    kept, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    first[kept == OUTLIER] = -1
    numbers = first.argsort().argsort() - (kept == OUTLIER).any()
    return numbers[inverse].astype("int32")


def _sides(groups, distances, links):
    """The images of each side of a cluster. A group joins the most similar side without another person in it."""
    sides = []
    for group in groups:
        allowed = [side for side in sides if all(links.known(group[0], image) is not False for image in side)]
        if allowed:
            max(allowed, key=lambda side: similarities(distances, group, side).mean()).extend(group)
        else:
            sides.append(list(group))
    return sides


def _assigned(rows, sides, distances):
    """(rows,) the side of each image of a cluster."""
    inside, fixed = similarities(distances, rows, rows), np.full(len(rows), -1)
    for side, images in enumerate(sides):
        fixed[np.searchsorted(rows, images)] = side
    now = fixed
    for _ in range(STEPS):
        member = (now[:, None] == np.arange(len(sides))).astype("float64")
        after = np.where(fixed >= 0, fixed, (inside @ member / member.sum(0)).argmax(1))
        if (after == now).all():
            break
        now = after
    return now
