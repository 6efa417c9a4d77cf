"""Every row of `DATASETS`: it has tests of its own, and its folder is refused alike where it is not there."""

from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load, load_attributes, load_classes, load_splits

TESTS = Path(__file__).parents[2]
DRAWN = ("synthetic", "people", "shapes")  # made where they are not there


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_is_named_in_a_test(name):
    files = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in DRAWN])
def test_every_row_names_its_layout_where_its_folder_is_missing(name, tmp_path):
    row = DATASETS[name]
    with pytest.raises(ValueError, match="must") as refusal:
        row.load(tmp_path, 0) if row.splits > 1 else row.load(tmp_path)
    assert row.expected_tree in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_serves_a_known_task(name):
    assert DATASETS[name].tasks
    assert set(DATASETS[name].tasks) <= {"retrieval", "attributes", "classes"}


@pytest.mark.parametrize("split", [-1, 20, "1", 0.0, True, None])
def test_what_is_no_split_is_refused(split, tmp_path):
    with pytest.raises(ValueError, match=r"`split` must be 0 \.\. 19 for viper\. Received: split="):
        load("viper", tmp_path, split)


@pytest.mark.parametrize("root", [None, 3, ["folder"]])
def test_what_is_no_path_of_a_folder_is_refused(root):
    calls = (load, "viper"), (load_splits, "viper"), (load_attributes, "peta"), (load_classes, "cifar10")
    for function, name in calls:
        with pytest.raises(ValueError, match=r"`root` must be a path\. Received: root="):
            function(name, root)
