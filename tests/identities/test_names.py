"""Names that a gallery gives to people, and what it remembers of them."""

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


def test_an_empty_gallery_learns_everybody(gallery):
    assert names_from(gallery, [track("yard", 1, 1, 0, 0)], [3], MATCH, **RULES) == {3: "person 1"}
