"""Answers about pairs, what follows from them, and clusters that agree with them."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="distances are a SciPy matrix, which scikit-learn brings")
from scipy.sparse import csr_array

from keras_osnet.adaptation.links import Links, with_links


def follows(answers, images):
    """{(a, b): True or False} of all that follows from answers, by loops until nothing is added."""
    known = {(a, a): True for a in images}
    for a, b, same in answers:
        known[a, b] = known[b, a] = same
    while True:
        more = {
            (a, c): known[a, b] and known[b, c]
            for a, b, c in itertools.product(images, repeat=3)
            if (a, b) in known and (b, c) in known and (known[a, b] or known[b, c]) and (a, c) not in known
        }
        if not more:
            return known
        known |= more


@pytest.mark.parametrize("seed", range(20))
def test_links_follow_from_others_as_in_plain_loops(seed):
    rng = np.random.default_rng(seed)
    people = rng.integers(4, size=10)
    answers = [(int(a), int(b), bool(people[a] == people[b])) for a, b in rng.integers(10, size=(9, 2)) if a != b]
    links, known = Links(answers), follows(answers, range(10))
    for a, b in itertools.product(range(10), repeat=2):
        assert links.known(a, b) == known.get((a, b))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([("a", "b", True), ("b", "c", True), ("a", "c", False)], "by which a and c show one person. Received: no"),
        ([("a", "b", True), ("b", "c", False), ("c", "a", True)], "by which c and a show two people. Received: yes"),
        ([("a", "b", False), ("b", "a", True)], "by which b and a show two people. Received: yes"),
        ([("a", "b", "no")], "`same` must be True or False. Received: same='no'"),
        ([("a", "a", True)], "`first` and `second` must be two images. Received: a twice"),
    ],
)
def test_an_answer_that_contradicts_earlier_ones_is_refused_by_name_and_changes_nothing(answers, message):
    links = Links(answers[:-1])
    with pytest.raises(ValueError, match=message):
        links.add(*answers[-1])
    assert links.known("a", "x") is None
    assert len(links.people()) == len(Links(answers[:-1]).people())


def sparse_of(similarity):
    """The sparse distances of a dense matrix of similarities, without those of 0."""
    rows, columns = np.nonzero(similarity)
    return csr_array(((1 - similarity[rows, columns]).astype("float32"), (rows, columns)), shape=similarity.shape)


def random_similarity(rng, total):
    similarity = np.triu(rng.random((total, total)) * (rng.random((total, total)) < 0.6), 1)
    return similarity + similarity.T + np.eye(total)


def test_a_yes_merges_clusters_and_takes_outliers_in():
    distances = sparse_of(np.eye(9))
    links = Links([(0, 3, True), (6, 1, True), (7, 8, True)])
    labels = with_links([0, 0, 1, 1, 2, 2, -1, -1, -1], distances, links)
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 0, 2, 2]


@pytest.mark.parametrize("seed", range(10))
def test_a_no_splits_a_cluster_by_the_mean_similarity_to_the_sides(seed):
    similarity = random_similarity(np.random.default_rng(seed), 11)
    labels = with_links([0] * 9 + [1] * 2, sparse_of(similarity), Links([(2, 7, False)]))
    side = {2: 0, 7: 1}
    for _ in range(20):
        before = dict(side)
        for image in set(range(9)) - {2, 7}:
            means = []
            for number in (0, 1):
                members = [other for other in before if before[other] == number]
                means.append(sum(similarity[image, other] for other in members) / len(members))
            side[image] = int(means[1] > means[0])
        if side == before:
            break
    for a, b in itertools.combinations(range(9), 2):
        assert (labels[a] == labels[b]) == (side[a] == side[b])
    assert labels[9] == labels[10] not in labels[:9]


@pytest.mark.parametrize("seed", range(20))
def test_clusters_agree_with_every_answer_and_only_the_named_clusters_change(seed):
    rng = np.random.default_rng(seed)
    people, before = rng.integers(5, size=30), rng.integers(-1, 6, size=30)
    pairs = [(int(a), int(b)) for a, b in rng.integers(24, size=(12, 2)) if a != b]
    before[24:] = 6  # a cluster without answers
    links = Links([(a, b, bool(people[a] == people[b])) for a, b in pairs])
    labels = with_links(before, sparse_of(random_similarity(rng, 30)), links)
    for a, b in itertools.combinations(range(30), 2):
        if links.known(a, b) is True:
            assert labels[a] == labels[b] != -1
        if links.known(a, b) is False:
            assert labels[a] != labels[b] or labels[a] == -1
    assert len(set(labels[24:].tolist())) == 1
    assert not np.isin(labels[24:], labels[:24]).any()
    named = set(links.groups)
    assert all(labels[image] == -1 for image in range(30) if before[image] == -1 and image not in named)
    first = [labels.tolist().index(label) for label in range(labels.max() + 1)]
    assert first == sorted(first)


def test_without_answers_only_the_numbers_of_clusters_may_change():
    assert with_links([2, -1, 0, 2], sparse_of(np.eye(4)), Links()).tolist() == [0, -1, 1, 0]
