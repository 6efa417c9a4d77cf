"""MSMT17's official folder, written here in small; its images stay empty, as only names and lists are read."""

from pathlib import Path

import pytest

from keras_osnet.data import DATASETS, load

# The test lists count people from 0 again.
LISTS = {
    "train": (("0000/0000_000_01_0303morning_0008_0.jpg", 0), ("0003/0003_000_15_0113noon_0001_2_ex.jpg", 3)),
    "val": (("0000/0000_001_14_0303morning_0020_1.jpg", 0), ("0005/0005_000_02_0303evening_0020_1.jpg", 5)),
    "query": (("0000/0000_000_04_0302afternoon_0010_0.jpg", 0), ("0003/0003_002_11_0303noon_0010_0.jpg", 3)),
    "gallery": (("0000/0000_003_13_0302afternoon_0011_1.jpg", 0), ("0008/0008_001_05_0303noon_0010_0.jpg", 8)),
}
FOLDERS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}


def write_list(root, name, lines, version="MSMT17_V1"):
    text = "".join(f"{path} {label}\n" for path, label in lines)
    (root / version / f"list_{name}.txt").write_text(text, encoding="utf-8")


def official(root, version="MSMT17_V1"):
    for name, lines in LISTS.items():
        for path, _ in lines:
            image = root / version / FOLDERS[version][name in ("query", "gallery")] / path
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        write_list(root, name, lines, version)
    return root


def labels(records):
    return [(record.identity, record.camera) for record in records]


@pytest.mark.parametrize("version", FOLDERS)
def test_lists_give_images_and_identities_and_names_the_cameras(tmp_path, version):
    splits = load("msmt17", official(tmp_path, version))
    assert labels(splits.train) == [(0, 1), (3, 15)]
    train, test = (tmp_path / version / folder for folder in FOLDERS[version])
    for records, folder, name in ((splits.train, train, "train"), (splits.gallery, test, "gallery")):
        assert [Path(record.path) for record in records] == [folder / path for path, _ in LISTS[name]]


def test_a_list_may_be_saved_by_a_windows_editor(tmp_path):
    file = official(tmp_path) / "MSMT17_V1" / "list_query.txt"
    before, text = load("msmt17", tmp_path), file.read_text(encoding="utf-8")
    file.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load("msmt17", tmp_path) == before


def test_test_identities_follow_those_of_training(tmp_path):
    splits = load("msmt17", official(tmp_path))
    assert labels(splits.query) == [(4, 4), (7, 11)]
    assert labels(splits.gallery) == [(4, 13), (12, 5)]


def test_nobody_is_both_trained_on_and_tested(tmp_path):
    splits = load("msmt17", official(tmp_path))
    tested = {record.identity for record in splits.query + splits.gallery}
    assert {record.identity for record in splits.train}.isdisjoint(tested)


def test_all_images_of_all_four_lists_are_one_training_set(tmp_path):
    splits = load("msmt17_all", official(tmp_path))
    assert labels(splits.train) == [(0, 1), (3, 15), (0, 14), (5, 2), (6, 4), (9, 11), (6, 13), (14, 5)]
    assert (splits.query, splits.gallery) == ((), ())


def test_the_validation_list_is_needed_only_for_all_images(tmp_path):
    (official(tmp_path) / "MSMT17_V1" / "list_val.txt").unlink()
    assert load("msmt17", tmp_path).train
    with pytest.raises(ValueError) as error:
        load("msmt17_all", tmp_path)
    missing = tmp_path / "MSMT17_V1" / "list_val.txt"
    assert str(error.value).endswith(f"Not found: {missing}. Received: root={tmp_path}")


def test_blank_lines_and_those_of_other_systems_are_read_too(tmp_path):
    path = official(tmp_path) / "MSMT17_V1" / "list_train.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert labels(load("msmt17", tmp_path).train) == [(0, 1), (3, 15)]


def test_a_missing_folder_shows_the_expected_tree_and_every_path_looked_for(tmp_path):
    with pytest.raises(ValueError, match="`root` must hold MSMT17's official folder") as error:
        load("msmt17", tmp_path)
    before, after = str(error.value).split("Not found: ")
    assert DATASETS["msmt17"].expected_tree in before
    for name in ("train", "test", "list_train.txt", "list_query.txt", "list_gallery.txt"):
        assert str(tmp_path / "MSMT17_V1" / name) in after
    assert "list_val" not in after


def test_version_2_without_its_own_folders_is_told_their_names(tmp_path):
    official(tmp_path, "MSMT17_V2")
    (tmp_path / "MSMT17_V2" / "mask_test_v2").rename(tmp_path / "MSMT17_V2" / "test")
    with pytest.raises(ValueError) as error:
        load("msmt17", tmp_path)
    missing = tmp_path / "MSMT17_V2" / "mask_test_v2"
    assert str(error.value).endswith(f"Not found: {missing}. Received: root={tmp_path}")


def test_lines_that_do_not_parse_are_counted_and_the_first_three_shown(tmp_path):
    bad = [("0000/0000_000.jpg", 0), ("0000/a_000_01_x.jpg", 1), ("0000/0000_000_01_x.jpg", "x"), ("b", 2)]
    write_list(official(tmp_path), "query", [*LISTS["query"], *bad])
    with pytest.raises(ValueError, match="must have lines like") as error:
        load("msmt17", tmp_path)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "MSMT17_V1" / "list_query.txt"))
    assert "Received: 6 lines, 4 of another form: " in message
    assert message.endswith("0000/0000_000.jpg 0, 0000/a_000_01_x.jpg 1, 0000/0000_000_01_x.jpg x, ...")


@pytest.mark.parametrize("label", [2**63, "9" * 5000, "0" * 5000])
def test_a_number_of_too_many_digits_is_a_line_of_another_form(tmp_path, label):
    write_list(official(tmp_path), "query", [*LISTS["query"], (LISTS["query"][0][0], label)])
    with pytest.raises(ValueError, match=r"list_query\.txt must have lines like .*: 3 lines, 1 of another form"):
        load("msmt17", tmp_path)


def test_an_empty_list_is_refused(tmp_path):
    write_list(official(tmp_path), "gallery", ())
    with pytest.raises(ValueError, match=r"list_gallery\.txt must have lines like .* Received: 0 lines"):
        load("msmt17", tmp_path)


def test_images_that_are_listed_but_not_there_are_counted_and_the_first_three_shown(tmp_path):
    gone = [("0000/0000_000_02_a.jpg", 0), ("0009/0009_000_02_b.jpg", 9), ("0009/0009_000_02_c.jpg", 9)]
    write_list(official(tmp_path), "train", [gone[0], *LISTS["train"], *gone[1:], ("0010/0010_000_01_d.jpg", 10)])
    with pytest.raises(ValueError, match="must hold the 6 images that") as error:
        load("msmt17", tmp_path)
    assert str(error.value).startswith(str(tmp_path / "MSMT17_V1" / "train"))
    names = ", ".join(path for path, _ in gone)
    assert str(error.value).endswith(f"list_train.txt names. Received: 4 of them are missing: {names}, ...")


def test_the_tables_rows_hold_the_papers_counts_and_their_sum():
    row, everything = DATASETS["msmt17"], DATASETS["msmt17_all"]
    assert (row.identities, row.images) == ((1041, 3060, 3060), (30248, 11659, 82161))
    # 32,621 images of train/ (Wei et al.), of which the paper trains on 30,248.
    assert (everything.identities, everything.images) == ((1041 + 3060, 0, 0), (32621 + 11659 + 82161, 0, 0))
