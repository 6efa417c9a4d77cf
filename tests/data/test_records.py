"""Datasets as plain values: the people that are held out of a training set."""

from collections import Counter

import pytest

from keras_osnet.data import Record, Splits, hold_out

# Images of each person under cameras 1, 2 and an unknown one.
COUNTS = {3: (4, 2, 0), 5: (1, 3, 2), 7: (1, 1, 1), 8: (2, 2, 0), 9: (0, 5, 1), 11: (2, 0, 0), 12: (3, 3, 3)}
TRAIN = tuple(
    Record(f"{person}-{camera}-{number}.jpg", person, camera)
    for person, counts in COUNTS.items()
    for camera, count in zip((1, 2, None), counts, strict=True)
    for number in range(count)
)
TEST = (Record("test.jpg", 99, 1),)
SPLITS = Splits(TRAIN, TEST, TEST, camera_names=("door", "yard"))


def paths(records):
    return [record.path for record in records]


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_image_of_a_held_out_person_is_query_or_gallery_and_none_is_trained_on(count, seed):
    found = hold_out(SPLITS, count, seed)
    held = {record.identity for record in found.query + found.gallery}
    assert len(held) == count
    assert sorted(paths(found.train + found.query + found.gallery)) == sorted(paths(TRAIN))
    assert not held & {record.identity for record in found.train}
    assert paths(found.train) == [record.path for record in TRAIN if record.identity not in held]
    assert found.camera_names == ("door", "yard")


@pytest.mark.parametrize("seed", range(5))
def test_of_each_camera_of_a_person_with_several_images_one_is_a_query(seed):
    found = hold_out(SPLITS, 6, seed)
    held = {record.identity for record in found.query + found.gallery}
    expected = {
        (person, camera): 1
        for person in held for camera, count in zip((1, 2, None), COUNTS[person], strict=True) if count > 1
    }  # fmt: skip
    assert Counter((record.identity, record.camera) for record in found.query) == expected


def test_people_and_queries_are_drawn_by_the_seed():
    assert hold_out(SPLITS, 3) == hold_out(SPLITS, 3, seed=0)
    drawn = [hold_out(SPLITS, 3, seed) for seed in range(20)]
    assert len({frozenset(record.identity for record in found.query + found.gallery) for found in drawn}) > 10
    assert {path for found in drawn for path in paths(found.query) if path.startswith("12-1")} == {
        "12-1-0.jpg", "12-1-1.jpg", "12-1-2.jpg",
    }  # fmt: skip


@pytest.mark.parametrize("count", [-1, 0, 7, 8, 3.0, True])
def test_more_people_than_the_training_set_can_lose_are_refused(count):
    with pytest.raises(ValueError, match=f"`held_out` must be 1 .. 6, as the dataset has 7 .*held_out={count}$"):
        hold_out(SPLITS, count)


@pytest.mark.parametrize("seed", [-1, 0.5, "a", None])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match=f"`seed` must be a whole number of at least 0. Received: seed={seed!r}$"):
        hold_out(SPLITS, 3, seed=seed)


def test_people_with_one_image_under_each_camera_are_refused():
    single = tuple(Record(f"{person}-{camera}.jpg", person, camera) for person in range(4) for camera in (1, 2, None))
    with pytest.raises(ValueError, match="`held_out` needs people with several images under one camera"):
        hold_out(Splits(single, (), ()), 2)


def test_a_dataset_without_training_people_has_none_to_hold_out():
    with pytest.raises(ValueError, match=r"`splits` must have at least 2 training people.* Received: 0"):
        hold_out(Splits((), SPLITS.query, SPLITS.gallery), 5)
