"""Which queries, people and images the report shows, where it cannot show all."""

import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.data import Record
from keras_osnet.report import panels


def set_of(identities, queries):
    records = tuple(Record(f"{i}.jpg", int(identity), None) for i, identity in enumerate(identities))
    features = np.random.default_rng(0).normal(size=(len(records), 6)).astype(np.float32)
    return panels.TestSet(records, features, np.asarray(identities), np.arange(len(records)), queries, "cosine")


def test_of_many_queries_the_worst_and_a_spread_of_the_others_are_listed():
    count = 46
    order = np.random.default_rng(1).permutation(count)
    precision = order / count
    precision[order == count - 1] = np.nan
    top = np.zeros((count, 1), int)
    ranking = panels.Ranking(top, top.astype(np.float32), top.astype(np.int8), precision, top[:, 0])
    rows = [row for row, *_ in panels.listed(ranking, count, limit=10)]
    # Query i is number order[i] from the worst; the one without a match comes last.
    assert [int(order[row]) for row in rows] == [0, 1, 2, 3, 4, 5, 15, 25, 35, 45]


def test_the_map_takes_whole_people_first():
    people = np.repeat([4, 5, 6, 7], 6)
    identities = np.concatenate([people, np.zeros(30, int)])
    rows, points = panels.mapped(set_of(identities, 24), limit=15)
    shown = identities[rows]
    assert points.shape == (15, 2)
    assert [np.sum(shown == person) for person in np.unique(shown)] == [3, 6, 6]


@pytest.mark.parametrize(
    ("valid", "expected"),
    [(9, [[0, 1, 2], [3, 4, 5], [8, 7, 6]]), (4, [[0, 1], [2, 3], []]), (1, [[0], [], []])],
)
def test_images_for_the_maps_are_worst_middle_and_best_without_repeats(valid, expected):
    precision = np.append(np.arange(valid) / 10, np.nan)
    empty = np.zeros((valid + 1, 1))
    groups = panels.middle_and_ends(panels.Ranking(empty, empty, empty, precision, empty), each=3)
    assert [rows.tolist() for rows in groups.values()] == expected


def test_all_true_attributes_and_all_predicted_ones_are_shown():
    probabilities, labels = [[0.9, 0.2, 0.5, 0.1], [0.4, 0.1, 0.2, 0.3]], [[1, 1, 0, 0], [0, 0, 0, 0]]
    first, second = panels.recognised((("hat", "bag", "skirt", "boots"), probabilities, labels))
    assert first == (0, [("hat", 0.9, True), ("bag", 0.2, False), ("skirt", 0.5, False)])
    assert second == (1, [])


@pytest.mark.parametrize(
    ("exponents", "names"),
    [
        ((1, 2), ["t = 1 (3 × 3)", "t = 2 (5 × 5)"]),
        ((2, 2), ["stream 1, t = 2", "stream 2, t = 2"]),
    ],
)
def test_streams_are_named_by_what_tells_them_apart(exponents, names):
    assert panels.exponent_names(exponents) == names


def test_an_image_has_its_map_where_no_image_for_the_gates_can_be_read(tmp_path):
    network = OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=6)
    tests = set_of(np.arange(301), 300)
    Image.new("RGB", (16, 32), "red").save(tmp_path / "1.jpg")  # the gates are those of 0, 3, 5, ...
    records = tuple(Record(str(tmp_path / record.path), record.identity, None) for record in tests.records)
    tests = panels.TestSet(records, tests.features, tests.identities, tests.cameras, 300, "cosine")
    groups = {"hardest": np.array([0]), "middle": np.array([1])}
    shown, gates = panels.inside([network], tests, groups, name="osnet", layer="conv5", block=None)
    assert [(group, row) for group, row, *_ in shown] == [("middle", 1)]
    assert gates == "None of the query images whose gates are clustered can be read."
