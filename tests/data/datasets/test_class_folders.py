"""Images in a folder per class, as ImageNet's validation set is usually laid out."""

import pytest

from keras_osnet.data.datasets.class_folders import load

FILES = {
    "train": {"n01": ("b.JPEG", "a.JPEG", ".hidden.JPEG", "notes.txt"), "n02": ("c.jpg",)},
    "val": {"n01": ("d.JPEG",), "n02": ("e.png", "f.png")},
}


def tree(root, files=FILES):
    for part, classes in files.items():
        for name, images in classes.items():
            (root / part / name).mkdir(parents=True)
            for image in images:
                (root / part / name / image).touch()
    return root


@pytest.mark.parametrize("second", ["val", "test"])
def test_classes_are_numbered_by_name_and_images_sorted(tmp_path, second):
    splits = load(tree(tmp_path, {"train": FILES["train"], second: FILES["val"]}))
    assert splits.classes == ("n01", "n02")
    expected = [("n01/a.JPEG", 0), ("n01/b.JPEG", 0), ("n02/c.jpg", 1)]
    assert list(splits.train) == [(str(tmp_path / "train" / name), label) for name, label in expected]
    assert [label for _, label in splits.val] == [0, 1, 1]


def test_a_warning_names_images_that_are_passed_over(tmp_path):
    second = ("c.jpg", "d.heic", "list.csv")
    tree(tmp_path, {**FILES, "train": {"n01": ("a.JPEG",), "n02": second, "n01/more": ("g.png",)}})
    with pytest.warns(UserWarning, match="^2 files or folders are passed over: ") as caught:
        splits = load(tmp_path)
    assert len(splits.passed_over) == 3
    (message,) = (str(each.message) for each in caught)
    assert f"{tmp_path}/train/n01/more/g.png (in a nested folder)" in message
    assert f"{tmp_path}/train/n02/d.heic (not an image suffix)" in message


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": FILES["train"]}, "`folder` must hold\ntrain/"),
        ({**FILES, "val": {"n01": ("d.JPEG",)}}, "the same classes.*Received: 2 and 1, of which in one only: n02"),
        ({**FILES, "val": {"n01": ("d.JPEG",), "n02": (".x.png",)}}, "n02 must hold images"),
        ({"train": {}, "val": {}}, "`folder` must hold"),
    ],
    ids=["a part is missing", "a class is missing", "a class is empty", "nothing"],
)
def test_what_is_missing_is_named(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        load(tree(tmp_path, files))


def test_a_folder_that_is_no_path_is_named():
    with pytest.raises(ValueError, match=r"`folder` must be a path\. Received: folder=None"):
        load(None)
