"""Partial-REID's official folder, written here in small; its files stay empty, as only their names are read."""

import pytest

from keras_osnet.data import load

FILES = {
    "partial_body_images": ("001_001.jpg", "002_005.jpg"),
    "whole_body_images": ("001_001.jpg", "001_002.jpg", "002_001.jpg"),
    "occluded_body_images": ("001_001.jpg",),
}


def official(root):
    for part, names in FILES.items():
        (root / "Partial_REID" / part).mkdir(parents=True)
        for name in names:
            (root / "Partial_REID" / part / name).touch()
    return root


def test_partial_images_are_queries_of_whole_ones_and_there_is_nothing_to_train_on(tmp_path):
    splits = load("partial_reid", official(tmp_path))
    assert splits.train == ()
    assert [[(r.identity, r.camera) for r in part] for part in (splits.query, splits.gallery)] == [
        [(1, None), (2, None)],
        [(1, None), (1, None), (2, None)],
    ]


def test_names_of_another_form_are_refused(tmp_path):
    (official(tmp_path) / "Partial_REID" / "whole_body_images" / "a_1.jpg").touch()
    with pytest.raises(ValueError, match=r"named like 001_001\.jpg.*1 of other names: a_1\.jpg"):
        load("partial_reid", tmp_path)
