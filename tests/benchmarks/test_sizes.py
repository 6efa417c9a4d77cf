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


def test_two_files_of_one_name_are_two_networks():
    sources = ("runs/a/model.keras", "runs/b/model.keras", "osnet_x0_25_people")
    found = load("benchmarks/accelerators.py").named(sources)
    assert found == {sources[0]: sources[0], sources[1]: sources[1], "osnet_x0_25_people": "osnet_x0_25_people"}


def test_a_row_that_is_none_and_one_image_are_refused():
    with pytest.raises(SystemExit, match=r"`ways` must be parts of the names of keras_osnet.* Received: elephant"):
        load("benchmarks/first_feature.py").main(ways=("LiteRT", "elephant"))
    with pytest.raises(SystemExit, match=r"`images` must be at least 2\. Received: images=1"):
        load("benchmarks/accelerators.py").main(images=1)
