"""The pairs of images whose answers, one person or two, change clusters most."""

from itertools import pairwise

import numpy as np

from keras_osnet.adaptation.clusters import OUTLIER, PART, similarities
from keras_osnet.adaptation.links import Links
from keras_osnet.layers.checks import count

STEPS = 50  # of the power iteration that cuts a cluster


def choose_pairs(distances, labels, *, number, cameras=None, links=None):
    """Chooses the pairs of images to ask a person about.

    A question is about two sets of images A and B: two clusters, which a yes merges, or the two parts of one cluster,
    which a no splits. With the mean similarity s(A, B) of their pairs of two images, 1 - d_J, its value is

        v(A, B) = |A| |B| min(p, 1 - p),    p = min(1, s(A, B) / sqrt(s(A, A) s(B, B))),

    the pairs of images that the answer decides, times the probability of the rarer answer. p estimates that A and B are
    one person: then they are as similar to each other as each is to itself. The parts of a cluster are those of the
    normalised cut: the signs of the second eigenvector of its similarities.

    The questions with the largest values are chosen, each cluster in one of them, without those that an answer is
    known to. The person sees the most central image of A, and the most central one of B, of another camera if B has
    one.

    Args:
        distances: sparse, from `jaccard_distances`.
        labels: (N,) integers, clusters, -1 for outliers, which agree with the links.
        number: pairs at most.
        cameras: camera of each image, None where it is unknown. Default: all are unknown.
        links: `Links` of image numbers. Default: none.

    Returns:
        list of (first, second) image numbers, the most valuable pair first.

    Reference: Shi and Malik, Normalized Cuts and Image Segmentation (PAMI 2000), for the parts.
    """
    number, labels, links = count("number", number), np.asarray(labels), links or Links()
    parts = _parts(distances, labels)
    merges, splits = _questions(distances, labels, links), _questions(distances, parts, links, halves=True)
    values = np.concatenate([merges[0], splits[0]])
    pairs, used = [], set()
    for row in np.argsort(-values, kind="stable").tolist():
        if values[row] <= 0 or len(pairs) == number:
            break
        split = row >= len(merges[0])
        of, (_, one, two) = (parts, splits) if split else (labels, merges)
        row -= split * len(merges[0])
        clusters = {int(label) // (1 + split) for label in (one[row], two[row])}
        if not clusters & used:
            used |= clusters
            sets = np.flatnonzero(of == one[row]), np.flatnonzero(of == two[row])
            pairs.append(_central(*sets, distances, cameras))
    return pairs


def _questions(distances, labels, links, *, halves=False):
    """(values, A, B) of questions about the images of two labels that are similar at all; or of labels 2 k, 2 k + 1."""
    sums, sizes = _sums(distances, labels), np.bincount(labels[labels != OUTLIER])
    pairs = sums.tocoo()
    kept = (pairs.row < pairs.col) & ((pairs.row // 2 == pairs.col // 2) | (not halves))
    one, two = pairs.row[kept], pairs.col[kept]
    own = np.where(sizes > 1, (sums.diagonal() - sizes) / np.maximum(sizes * (sizes - 1), 1), 1)
    decided = (sizes[one] * sizes[two]).astype("float64")
    p = np.minimum(1, pairs.data[kept] / decided / np.sqrt(np.maximum(own[one] * own[two], 1e-12)))
    known = _known(labels, links)
    open_ = [(a, b) not in known for a, b in zip(one.tolist(), two.tolist(), strict=True)]
    return decided * np.minimum(p, 1 - p) * open_, one, two


def _sums(distances, labels):
    """(labels, labels) sparse: the sum of the similarities of the images of each two labels."""
    sparse, inside = type(distances), np.flatnonzero(labels != OUTLIER)
    shape = len(labels), labels.max(initial=-1) + 1
    member = sparse((np.ones(len(inside)), (inside, labels[inside])), shape=shape)
    total = sparse((shape[1], shape[1]), dtype="float64")
    for start in range(0, len(labels), PART):  # a copy of some rows, not of all
        part = distances[start : start + PART].astype("float64")
        part.data = 1 - part.data
        total += member[start : start + PART].T @ (part @ member)
    return total.tocsr()


def _known(labels, links):
    """Pairs of labels, the smaller one first, of which two images are known to show one person or two."""
    known = set()
    for group in links.people():
        other = [image for first in links.others.get(group[0], ()) for image in links.groups[first]]
        known |= {tuple(sorted((a, b))) for a in labels[group].tolist() for b in labels[group + other].tolist()}
    return known


def _parts(distances, labels):
    """(N,) 2 k or 2 k + 1, the part of cluster k in which an image is; -1 for outliers."""
    parts = np.full(len(labels), OUTLIER)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(labels.max(initial=-1) + 2))
    for label, (start, stop) in enumerate(pairwise(bounds)):
        rows = order[start:stop]
        parts[rows] = 2 * label + _cut(similarities(distances, rows, rows))
    return parts


def _cut(inside):
    """Which images of a cluster are in the second part of its normalised cut, by power iteration."""
    degree = np.sqrt(inside.sum(1))
    top = degree / np.linalg.norm(degree)  # the first eigenvector
    central = int(np.argmax(degree))
    far = int(np.argmin(inside[[central]].toarray()))
    vector = (inside[[central]] - inside[[far]]).toarray()[0]
    for _ in range(STEPS):
        vector = vector - top * (top @ vector)
        size = np.linalg.norm(vector)
        if size < 1e-9:  # all images are equally similar
            return np.zeros(len(degree), bool)
        vector = vector / size
        vector = inside @ (vector / degree) / degree + vector  # + vector: no eigenvalue is negative
    return vector - top * (top @ vector) < 0


def _central(first, second, distances, cameras):
    """The most central image of each of two sets, the second of another camera if there is one."""

    def central(rows, allowed):
        return int(rows[np.where(allowed, similarities(distances, rows, rows).sum(1), -1).argmax()])

    image = central(first, True)
    camera = cameras[image] if cameras is not None else None
    allowed = np.array([camera is not None and cameras[row] not in (None, camera) for row in second.tolist()])
    return image, central(second, allowed | ~allowed.any())
