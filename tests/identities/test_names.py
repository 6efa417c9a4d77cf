"""Names that a gallery gives to people, and what it remembers of them."""

import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from keras_osnet.identities import Gallery, Track
from keras_osnet.identities.names import names_from
from keras_osnet.metrics import MatchProbability

MATCH = MatchProbability(offset=10.0, slope=20.0)  # evidence 0 at a distance of .5
RULES = {"base_rate": 0.5}


@pytest.fixture
def gallery(tmp_path):
    with Gallery.open(tmp_path / "people.db", network="n", fingerprint="f", dimension=3) as gallery:
        yield gallery


def track(camera, start, *feature):
    return Track(camera, [start, start + 5], np.tile(feature, (2, 1)))


def test_people_keep_their_names_and_new_ones_are_numbered_on(gallery):
    gallery.add([[1, 0, 0], [0, 1, 0]], ["Anna", "person 4"], ["door", "door"], [10, 20])
    tracks = [track("yard", 100, 0, 0, 1), track("yard", 110, 0.9, 0.1, 0), track("door", 120, 1, 0, 0)]
    names = names_from(gallery, tracks, [7, 8, 8], MATCH, **RULES)
    assert names == {7: "person 5", 8: "Anna"}
    assert gallery.identities() == {"Anna": 3, "person 4": 1, "person 5": 1}
    (found,) = gallery.search([[0, 0, 1]], 1)
    assert (found[0].identity, found[0].camera, found[0].time) == ("person 5", "yard", 100)


def test_a_name_goes_to_the_most_similar_person_only(gallery):
    gallery.add([[1, 0, 0]], ["Anna"], ["door"], [10])
    tracks = [track("yard", 100, 1, 0.4, 0), track("yard", 100, 1, 0.1, 0)]
    assert names_from(gallery, tracks, [1, 2], MATCH, **RULES) == {1: "person 1", 2: "Anna"}


def test_a_name_with_many_rows_hides_no_other_name(gallery):
    times = list(range(150))
    gallery.add([[1, 0, 0.001 * time] for time in times], ["Anna"] * 150, ["door"] * 150, times)
    gallery.add([[1, 0.6, 0]], ["Ben"], ["door"], [200])  # near enough, but behind all of Anna
    tracks = [track("yard", 300, 1, 0, 0), track("yard", 300, 1, 0.1, 0)]
    assert names_from(gallery, tracks, [1, 2], MATCH, **RULES) == {1: "Anna", 2: "Ben"}


def test_no_tracks_have_no_names(gallery):
    assert names_from(gallery, [], [], MATCH, **RULES) == {}
    assert gallery.identities() == {}


@pytest.mark.parametrize("different", [(1, 2), [(1, 2, 3)], [(1,)], 5])
def test_people_who_are_told_apart_are_pairs(gallery, different):
    tracks = [track("yard", 1, 1, 0, 0), track("yard", 9, 0, 1, 0)]
    with pytest.raises(ValueError, match=r"`different` must be pairs of identities\. Received: "):
        names_from(gallery, tracks, [1, 2], MATCH, different=different, **RULES)
    assert gallery.identities() == {}


def test_no_name_is_given_by_distances_of_another_metric(gallery):
    euclidean = MatchProbability(offset=10.0, slope=20.0, metric="euclidean")
    with pytest.raises(ValueError, match="`match` must be a MatchProbability of cosine distances"):
        names_from(gallery, [track("yard", 1, 1, 0, 0)], [1], euclidean, **RULES)
    assert gallery.identities() == {}


def test_identities_are_one_for_each_track(gallery):
    tracks = [track("yard", 1, 1, 0, 0), track("yard", 9, 0, 1, 0)]
    for identities in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match=r"`identities` must be one for each of 2 tracks\. Received: [13]"):
            names_from(gallery, tracks, identities, MATCH, **RULES)
    assert gallery.identities() == {}
    assert names_from(gallery, iter(tracks), np.array([1, 2]), MATCH, **RULES) == {1: "person 1", 2: "person 2"}


@pytest.mark.parametrize("identities", [[[1], [2]], [1, "a"], None])
def test_identities_that_cannot_be_sorted_are_refused(gallery, identities):
    tracks = [track("yard", 1, 1, 0, 0), track("yard", 9, 0, 1, 0)]
    with pytest.raises(ValueError, match=r"`identities` must be all numbers or all strings\. Received: "):
        names_from(gallery, tracks, identities, MATCH, **RULES)
    with pytest.raises(ValueError, match=r"`tracks` must be Tracks\. Received: str"):
        names_from(gallery, ["yard"], [1], MATCH, **RULES)
    assert gallery.identities() == {}


def test_an_empty_gallery_learns_everybody(gallery):
    assert names_from(gallery, [track("yard", 1, 1, 0, 0)], [3], MATCH, **RULES) == {3: "person 1"}


def test_a_number_is_given_once_also_after_its_person_was_deleted_or_merged(gallery, tmp_path):
    gallery.add([[1, 0, 0]], ["person 2"], ["door"], [5])
    assert names_from(gallery, [track("yard", 10, 0, 1, 0)], [1], MATCH, **RULES) == {1: "person 3"}
    gallery.merge("person 2", "person 3")
    assert names_from(gallery, [track("yard", 20, 0, 0, 1)], [1], MATCH, **RULES) == {1: "person 4"}
    gallery.delete("person 4")
    gallery.close()
    with Gallery.open(tmp_path / "people.db", network="n", fingerprint="f", dimension=3) as again:
        assert names_from(again, [track("yard", 30, 0, 0, 1)], [1], MATCH, **RULES) == {1: "person 5"}
        assert again.new_names(2) == ["person 6", "person 7"]
        with pytest.raises(ValueError, match="`count` must be an integer of at least 1"):
            again.new_names(0)


def test_a_damaged_number_of_the_last_person_names_the_file(gallery, tmp_path):
    gallery.new_names(1)
    with closing(sqlite3.connect(tmp_path / "people.db")) as connection, connection:
        connection.execute("UPDATE gallery SET value = 'x' WHERE key = 'people'")
    with pytest.raises(ValueError, match=r"`address` must be a gallery\. .*people\.db, but the number .* 'x'"):
        gallery.new_names(1)


TRACKS = [track("door", 10, 1, 0, 0), track("yard", 20, 1, 0.05, 0), track("yard", 40, 0, 0, 1)]


def test_a_track_that_the_gallery_has_is_not_added_again(gallery):
    first = names_from(gallery, TRACKS, [1, 1, 2], MATCH, **RULES)
    assert names_from(gallery, TRACKS, [5, 5, 4], MATCH, **RULES) == {5: first[1], 4: first[2]}
    assert gallery.identities() == {"person 1": 2, "person 2": 1}
    later = [*TRACKS, track("door", 50, 0, 0.1, 1)]
    assert names_from(gallery, later, [1, 1, 2, 2], MATCH, **RULES) == first
    assert gallery.identities() == {"person 1": 2, "person 2": 2}


def test_names_that_were_changed_by_hand_stay(gallery):
    names_from(gallery, TRACKS, [1, 1, 2], MATCH, **RULES)
    gallery.rename("person 1", "Anna")
    gallery.merge("Anna", "person 2")
    assert names_from(gallery, TRACKS, [1, 1, 2], MATCH, **RULES) == {1: "Anna", 2: "Anna"}
    assert gallery.identities() == {"Anna": 3}


def test_a_person_who_is_told_apart_later_gets_another_name_and_takes_the_rows_along(gallery):
    names_from(gallery, TRACKS, [1, 1, 2], MATCH, **RULES)
    names = names_from(gallery, TRACKS, [1, 3, 2], MATCH, **RULES, different=[(1, 3)])
    assert names == {1: "person 1", 3: "person 3", 2: "person 2"}
    assert gallery.identities() == {"person 1": 1, "person 2": 1, "person 3": 1}
    (found,) = gallery.search([[1, 0.05, 0]], 1)
    assert (found[0].identity, found[0].time) == ("person 3", 20)


def test_people_who_are_joined_later_get_the_name_of_most_of_their_tracks(gallery):
    tracks = [*TRACKS, track("door", 60, 0, 1, 0)]
    names_from(gallery, tracks, [1, 1, 2, 3], MATCH, **RULES)
    assert names_from(gallery, tracks, [4, 4, 4, 3], MATCH, **RULES) == {4: "person 1", 3: "person 3"}
    assert gallery.identities() == {"person 1": 3, "person 3": 1}


def test_two_processes_give_no_name_twice(gallery, tmp_path):
    """Another one waits while names are given."""
    with Gallery.open(tmp_path / "people.db", network="n", fingerprint="f", dimension=3) as other:
        search, waited = gallery.search, []

        def slow_search(*arguments, **options):
            if not waited:
                waited.append(threading.Thread(target=other_run))
                waited[0].start()
                waited[0].join(0.5)
                assert waited[0].is_alive()
            return search(*arguments, **options)

        def other_run():
            with Gallery.open(tmp_path / "people.db", network="n", fingerprint="f", dimension=3) as other:
                names_from(other, [track("hall", 5, 0, 1, 0)], [1], MATCH, **RULES)

        gallery.search = slow_search
        assert names_from(gallery, [track("door", 5, 1, 0, 0)], [1], MATCH, **RULES) == {1: "person 1"}
        waited[0].join()
        assert other.identities() == {"person 1": 1, "person 2": 1}
