import numpy as np

from keras_osnet.data import load_classes
from keras_osnet.data.drawn import shapes


def test_the_row_has_as_many_images_and_labels_as_its_parts_say():
    found = load_classes("shapes", "nowhere")
    assert found.train.shape == (2000, 32, 32, 3)
    assert found.test.shape == (500, 32, 32, 3)
    assert found.classes == tuple("disc ring square frame triangle cross rows columns checks dots".split())
    assert set(found.train_labels) == set(found.test_labels) == set(range(10))


def test_a_seed_draws_the_same_images_again_and_another_one_others():
    first, again, other = (shapes.draw(seed, train=20, test=3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(again.train, first.train)
    np.testing.assert_array_equal(again.test_labels, first.test_labels)
    assert (other.train != first.train).any()


def test_rows_and_columns_differ_along_their_own_axis():
    found = shapes.draw(train=300, test=1)
    for name, axis in (("rows", 2), ("columns", 1)):
        images = found.train[found.train_labels == shapes.SHAPES.index(name)].astype("float64")
        along, across = (
            np.abs(np.diff(images.mean(-1), axis=axis)).mean(),
            np.abs(np.diff(images.mean(-1), axis=3 - axis)).mean(),
        )
        assert along < across
