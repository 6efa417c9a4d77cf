"""Which pairs of images a person is asked about."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="distances are a SciPy matrix, which scikit-learn brings")

from keras_osnet.adaptation.answers import newest_pairs, write_answers
from keras_osnet.adaptation.links import Links, with_links
from keras_osnet.adaptation.pairs import choose_pairs
from tests.adaptation.test_links import sparse_of


def similar(seed, sizes=(5, 3, 4, 6, 3, 4, 2), near=0.75, far=0.15):
    """Similarities of images in blobs, 0 between some; a blob is a person's images of one day."""
    rng, blobs = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    between = np.triu(rng.random((len(sizes), len(sizes))) * 2 * far, 1)
    between += between.T + near * np.eye(len(sizes))
    noise = rng.normal(0, 0.02, (len(blobs), len(blobs)))
    result = np.clip(between[blobs][:, blobs] + noise + noise.T, 0, 0.99)
    result[(result < 0.05)] = 0
    np.fill_diagonal(result, 1)
    return result, blobs


def value(similarity, one, two):
    def mean(pairs):
        return sum(similarity[a, b] for a, b in pairs) / len(pairs) if pairs else 1.0

    within = [mean([(a, b) for a in rows for b in rows if a != b]) for rows in (one, two)]
    p = min(1.0, mean(list(itertools.product(one, two))) / (within[0] * within[1]) ** 0.5)
    return len(one) * len(two) * min(p, 1 - p)


def halves(similarity, rows):
    """The parts of the normalised cut by the eigenvectors of a dense matrix."""
    part = similarity[np.ix_(rows, rows)]
    scale = 1 / np.sqrt(part.sum(1))
    second = np.linalg.eigh(scale[:, None] * part * scale)[1][:, -2]
    return [r for r, s in zip(rows, second, strict=True) if s > 0], [
        r for r, s in zip(rows, second, strict=True) if s <= 0
    ]


def central(similarity, rows):
    return max(rows, key=lambda row: (sum(similarity[row, other] for other in rows), -row))


def slow(similarity, labels, number, cameras=None):
    """The pairs by plain loops over all clusters and halves of clusters."""
    clusters = [[row for row in range(len(labels)) if labels[row] == c] for c in range(max(labels) + 1)]
    found = [((a, b), clusters[a], clusters[b]) for a, b in itertools.combinations(range(len(clusters)), 2)]
    found += [((c,), *halves(similarity, rows)) for c, rows in enumerate(clusters)]
    found = sorted(((value(similarity, one, two), of, one, two) for of, one, two in found if one and two), reverse=True)
    pairs, used = [], set()
    for v, of, one, two in found:
        if v > 0 and not used & set(of) and len(pairs) < number:
            used |= set(of)
            choices = []
            for first, second in ((one, two), (two, one)):  # the halves of a cluster have no order
                image = central(similarity, first)
                camera = cameras[image] if cameras else None
                other = [row for row in second if camera and cameras[row] not in (None, camera)]
                choices.append((image, central_of(similarity, second, other or second)))
            pairs.append({frozenset(choice) for choice in choices[: 1 if len(of) == 2 else 2]})
    return pairs


def central_of(similarity, rows, allowed):
    return max(allowed, key=lambda row: (sum(similarity[row, other] for other in rows), -row))


@pytest.mark.parametrize("cameras", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_pairs_are_those_of_plain_loops(seed, cameras):
    similarity, blobs = similar(seed)
    labels = np.array([0, 0, 1, 1, 2, 2, -1])[blobs]  # two blobs in each cluster: its cut is clear
    cameras = np.random.default_rng(seed).choice([None, "door", "yard"], len(blobs)).tolist() if cameras else None
    found = choose_pairs(sparse_of(similarity), labels, number=3, cameras=cameras)
    want = slow(similarity, labels.tolist(), 3, cameras)
    assert len(found) == len(want) > 0
    for pair, allowed in zip(found, want, strict=True):
        assert frozenset(pair) in allowed
    assert found == choose_pairs(sparse_of(similarity), labels, number=3, cameras=cameras)
    assert found[:1] == choose_pairs(sparse_of(similarity), labels, number=1, cameras=cameras)


def three_questions():
    """Similarities of blobs of images, the blob of each image, and clusters. The best pairs are of the blobs 2 and 3, 0
    and 1, 4 and 5, in this order."""
    blobs = np.repeat([0, 1, 2, 3, 4, 5], [8, 8, 8, 8, 2, 2])
    between = 0.8 * np.eye(6)
    for a, b in ((0, 1), (2, 3), (4, 5)):
        between[a, b] = between[b, a] = 0.4
    similarity = between[blobs][:, blobs]
    np.fill_diagonal(similarity, 1)
    return similarity, blobs, np.array([0, 0, 1, 2, 3, 4])[blobs]


def test_a_large_loose_cluster_and_large_near_clusters_come_before_small_ones():
    similarity, blobs, labels = three_questions()
    pairs = choose_pairs(sparse_of(similarity), labels, number=9)
    assert [{blobs[a], blobs[b]} for a, b in pairs[:3]] == [{2, 3}, {0, 1}, {4, 5}]


def test_a_pair_that_a_person_is_unsure_about_leaves_its_place_to_the_next_one(tmp_path):
    pytest.importorskip("tensorflow", reason="the chief of a strategy asks")
    from keras_osnet.adaptation.questions import Questions
    from keras_osnet.adaptation.settings import Target

    similarity, blobs, labels = three_questions()
    paths = [f"{row}.png" for row in range(len(blobs))]
    questions = Questions(tmp_path, Target(paths, [None] * len(paths)), None, pairs=1)
    answers = []
    for number, expected in enumerate(({2, 3}, {0, 1}, {4, 5})):
        questions.ask(tmp_path / f"rounds/{number:02d}", sparse_of(similarity), labels, Links())
        ((first, second),) = newest_pairs(tmp_path)[1]
        assert {blobs[paths.index(image["path"])] for image in (first, second)} == expected
        answers.append((first["path"], second["path"], None))
        write_answers(tmp_path / "answers.csv", answers)


@pytest.mark.parametrize("same", [True, False])
def test_what_is_answered_or_follows_is_not_asked_again(same):
    similarity, blobs = similar(3)
    labels = np.array([0, 0, 1, 2, 3, 3, 4])[blobs]
    distances, links, asked = sparse_of(similarity), Links(), 0
    while pairs := choose_pairs(distances, labels, number=2, links=links):
        for a, b in pairs:
            assert links.known(a, b) is None
            links.add(a, b, same)
        labels = with_links(labels, distances, links)
        asked += len(pairs)
        assert asked < len(blobs) ** 2
    assert asked > 3


@pytest.mark.parametrize("labels", [[-1] * 6, [0] * 6, [0, 0, 0, 1, 1, 1]])
def test_nothing_is_asked_where_no_answer_could_change_anything(labels):
    alike = np.ones((6, 6)) if labels[0] == labels[5] else np.kron(np.eye(2), np.ones((3, 3)))
    assert choose_pairs(sparse_of(alike), np.array(labels), number=5) == []


def test_the_number_of_pairs_must_be_positive():
    with pytest.raises(ValueError, match=r"`number` must be a positive integer\. Received: number=0"):
        choose_pairs(sparse_of(np.eye(3)), np.zeros(3, int), number=0)
