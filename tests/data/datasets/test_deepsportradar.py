"""The folder of DeepSportradar's archive, written here in small; its files stay empty, as only names are read."""

import pytest

from keras_osnet.data import DATASETS, load

FILES = {
    "reid_training": ("0000_000_000.jpeg", "0000_000_001.jpeg", "0001_000_000.jpeg"),
    "reid_test/query": ("0436_031_000.jpeg",),
    "reid_test/gallery": ("0436_031_001.jpeg", "0437_031_004.jpeg"),
    "reid_challenge/query": ("00000.jpeg",),
}


def official(root):
    for part, names in FILES.items():
        (root / "data_reid" / part).mkdir(parents=True)
        for name in names:
            (root / "data_reid" / part / name).touch()
    return root


def test_players_come_from_the_names_and_no_pair_is_excluded(tmp_path):
    splits = load("deepsportradar", official(tmp_path))
    labels = [[(r.identity, r.camera) for r in part] for part in (splits.train, splits.query, splits.gallery)]
    assert labels == [[(0, None), (0, None), (1, None)], [(436, None)], [(436, None), (437, None)]]


def test_names_of_another_form_are_refused(tmp_path):
    (official(tmp_path) / "data_reid" / "reid_test" / "query" / "00007.jpeg").touch()
    with pytest.raises(ValueError, match=r"named like 0436_000_001\.jpeg.*1 of other names: 00007\.jpeg"):
        load("deepsportradar", tmp_path)


def test_the_counts_are_those_of_the_challenge():
    assert DATASETS["deepsportradar"].images == (8569, 50, 910)
