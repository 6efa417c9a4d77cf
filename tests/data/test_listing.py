"""Image files below folders with links, loops and other files in them."""

import os
import re

import pytest

from keras_osnet.data.listing import list_images, require_files, scan


@pytest.fixture
def tree(tmp_path):
    names = ["b.PNG", "a/z.jpeg", "a/b/c.bmp", "a.jpg", "a/ab.webp", "dir.jpg/x.jfif"]
    for name in [*names, "notes.txt", "a/z.jpeg.part", ".hidden.jpg", ".cache/k.jpg", "a/photo.heic"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


IN_ORDER = ["a/ab.webp", "a/b/c.bmp", "a/z.jpeg", "a.jpg", "b.PNG", "dir.jpg/x.jfif"]


@pytest.mark.filterwarnings("ignore:.*passed over")
def test_images_in_a_folder_are_all_below_it_in_sorted_order(tree):
    for folder in (tree, str(tree)):
        assert list_images(folder) == [tree / name for name in IN_ORDER]


def test_what_is_passed_over_is_named_with_the_reason(tree):
    (tree / "gone.jpg").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "pipe.png")
    found, passed_over = scan(tree)
    assert found == [tree / name for name in IN_ORDER]
    assert passed_over == {
        str(tree / "notes.txt"): "not an image suffix",
        str(tree / "a/z.jpeg.part"): "not an image suffix",
        str(tree / "a/photo.heic"): "not an image suffix",
        str(tree / "gone.jpg"): "broken link",
        str(tree / "pipe.png"): "not a regular file",
    }
    with pytest.warns(UserWarning, match=r"files or folders are passed over: .*gone\.jpg \(broken link\)"):
        list_images(tree)


def test_linked_folders_are_followed_once_and_loops_end(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "y.tif").write_bytes(b"")
    (tree / "a" / "up").symlink_to(tree)
    (tree / "a" / "other").symlink_to(other)
    (tree / "again").symlink_to(other)
    (other / "back").symlink_to(tree / "a")
    (tree / "self").symlink_to(tree / "self")
    found, passed_over = scan(tree)
    assert found == sorted([*(tree / name for name in IN_ORDER), tree / "again/y.tif"])
    assert passed_over[str(tree / "self")] == "not an image suffix"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tree):
    (tree / "a").chmod(0)
    try:
        assert scan(tree)[1][str(tree / "a")] == "Permission denied"
        with pytest.warns(UserWarning, match="Permission denied"):
            list_images(tree)
    finally:
        (tree / "a").chmod(0o700)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"must hold images \(\.apng, .*\)\. Received: 1 other .*notes\.txt"):
        list_images(tmp_path)
    with pytest.raises(ValueError, match=r"^'.*notes\.txt' must be a folder\.$"):
        list_images(tmp_path / "notes.txt")
    for folder in (None, 0, [tmp_path]):  # 0 would be an open file
        with pytest.raises(ValueError, match=r" must be a folder\.$"):
            list_images(folder)


def test_files_are_required_without_being_opened(tmp_path):
    paths = [tmp_path / name for name in ("whole.jpg", "text.jpg", "empty.jpg", "missing.jpg")]
    paths[0].write_bytes(b"content")
    paths[1].write_text("no image")
    paths[2].touch()
    require_files(paths[:2])
    message = rf"Received: 2 of 4 others: {re.escape(f'{paths[2]} (0 bytes), {paths[3]} (missing)')}$"
    with pytest.raises(ValueError, match=message):
        require_files(paths)
