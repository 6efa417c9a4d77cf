"""Benchmarks measure as much as they print."""

import pytest

from tests.scripts import load


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_rendering_makes_as_many_images_as_its_size(monkeypatch, size):
    from keras_osnet.data.rendered import dataset, making

    made = []
    monkeypatch.setattr(making, "make", lambda settings, root: made.append(settings))
    load("benchmarks/growth.py").rendering(size)()
    assert sum(len(dataset.shots(made[0], *person)) for person in dataset.people_of(made[0])) == size


@pytest.mark.parametrize("size", [0, 500, 1500])
def test_a_gallery_of_part_of_a_batch_is_refused(size):
    with pytest.raises(SystemExit, match=rf"`sizes` must be multiples of 1000\. Received: {size}"):
        load("benchmarks/gallery.py").main(sizes=(1000, size))
