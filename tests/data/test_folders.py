"""People's own data; files stay empty where only their names are read."""

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from keras_osnet.data.csv_list import CSV_TREE
from keras_osnet.data.folders import FOLDER_TREE, divide, identity_names, load_csv, load_folder
from keras_osnet.data.records import Record

PARTS = ("train", "query", "gallery")
ODD_NAMES = ('<b>&amp;"x"\'', "Zoë", "李 雷", "10", "2", "a#b%20c", "{brace}")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def table(root, text, encoding="utf-8", name="labels.csv"):
    """A CSV file, beside it the images 0.jpg .. 19.jpg."""
    touch(root, *(f"{i}.jpg" for i in range(20)))
    (root / name).write_text(text, encoding=encoding)
    return root


def rows(root, header, lines):
    return table(root, "\n".join([header, *lines]) + "\n")


def shown(records, root):
    return [(Path(r.path).relative_to(root).as_posix(), r.identity, r.camera) for r in records]


def everything(splits):
    return splits.train + splits.query + splits.gallery


def parts_of(splits):
    """{identity: parts it is in}"""
    parts = defaultdict(set)
    for name in PARTS:
        for record in getattr(splits, name):
            parts[record.identity].add(name)
    return dict(parts)


def matched(query, gallery):
    return any(
        r.identity == query.identity and (query.camera is None or r.camera is None or r.camera != query.camera)
        for r in gallery
    )


def test_a_quoted_cell_may_follow_a_space(tmp_path):
    text = 'path, identity, split\n0.jpg, "Anna, B.", train\n1.jpg,"Anna, B.",train\n2.jpg, "Ben", train\n'
    splits = load_csv(table(tmp_path, text))
    assert shown(splits.train, tmp_path) == [("0.jpg", 1, None), ("1.jpg", 1, None), ("2.jpg", 2, None)]
    assert identity_names("csv", tmp_path) == {1: "Anna, B.", 2: "Ben"}


def test_a_folder_per_identity_is_read_whatever_the_case_of_the_suffix_and_other_files_are_passed_over(tmp_path):
    kept = ("a/1.jpg", "a/2.JPG", "b/1.jpeg", "b/2.PNG", "b/3.Bmp", "c/1.png", "c/2.jpg")
    other = ("a/notes.txt", "a/._1.jpg", "b/Thumbs.db", ".cache/1.jpg", "readme.md")
    splits = load_folder(touch(tmp_path, *kept, *other))
    assert sorted(path for path, _, _ in shown(everything(splits), tmp_path)) == sorted(kept)
    assert {r.camera for r in everything(splits)} == {None}
    assert not splits.cameras_known
    for name in ("a/notes.txt", "b/Thumbs.db", "readme.md"):
        assert any(line.startswith(str(tmp_path / name)) for line in splits.passed_over)


def test_images_beside_the_folders_are_named_also_beside_those_of_a_part(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/a/2.jpg", "train/c/1.jpg", "query/b/1.jpg", "gallery/b/2.jpg")
    touch(tmp_path, "loose.png", "query/3.jpg")
    assert load_folder(tmp_path).passed_over == tuple(
        f"{tmp_path / name} (beside the folders of identities)" for name in ("loose.png", "query/3.jpg")
    )


def test_identities_are_numbered_from_1_in_sorted_order_and_their_names_come_back(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.jpg" for name in ODD_NAMES for i in range(2)))
    names = identity_names("folder", tmp_path)
    assert names == dict(zip(range(1, 8), sorted(ODD_NAMES), strict=True))
    assert [names[i] for i in (1, 2)] == ["10", "2"]
    for record in everything(load_folder(tmp_path)):
        assert names[record.identity] == Path(record.path).parent.name


def test_the_folders_train_query_and_gallery_are_the_parts(tmp_path):
    touch(tmp_path, "train/a/2.jpg", "train/a/1.jpg", "train/b/1.jpg", "query/d/1.jpg", "gallery/d/2.jpg",
          "gallery/c/1.png")  # fmt: skip
    splits = load_folder(str(tmp_path))
    assert shown(splits.train, tmp_path) == [
        ("train/a/1.jpg", 1, None), ("train/a/2.jpg", 1, None), ("train/b/1.jpg", 2, None)
    ]  # fmt: skip
    assert shown(splits.query, tmp_path) == [("query/d/1.jpg", 4, None)]
    assert shown(splits.gallery, tmp_path) == [("gallery/c/1.png", 3, None), ("gallery/d/2.jpg", 4, None)]


def test_with_a_fourth_folder_train_is_the_name_of_a_person(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.jpg" for name in (*PARTS, "smith") for i in range(2)))
    assert identity_names("folder", tmp_path) == {1: "gallery", 2: "query", 3: "smith", 4: "train"}


def test_half_of_the_identities_train_and_of_each_other_one_the_first_image_is_the_query(tmp_path):
    sizes = {f"p{i}": 2 + i % 3 for i in range(21)}
    touch(tmp_path, *(f"{name}/{i}.jpg" for name, size in sizes.items() for i in range(size)))
    splits = load_folder(tmp_path)
    parts = parts_of(splits)
    assert Counter(map(frozenset, parts.values())) == {frozenset({"train"}): 11, frozenset({"query", "gallery"}): 10}
    assert all(Path(r.path).name == "0.jpg" for r in splits.query)
    assert Counter(r.identity for r in splits.query) == dict.fromkeys({r.identity for r in splits.gallery}, 1)
    assert len(everything(splits)) == sum(sizes.values())


def test_the_halves_do_not_depend_on_where_the_data_lie(tmp_path):
    roots = [touch(tmp_path / place, *(f"p{i}/{j}.jpg" for i in range(9) for j in range(2))) for place in ("b", "a/c")]
    here, there = (shown(load_folder(root).train, root) for root in roots)
    assert here == there
    assert {identity for _, identity, _ in here} not in (set(range(1, 6)), set(range(5, 10)))


@pytest.mark.parametrize("count", [20, 21])
@pytest.mark.parametrize("new", ["a", "p05b", "z"])
def test_a_new_identity_moves_at_most_one_other_to_the_other_half(count, new):
    def tested(names):
        numbered = dict(enumerate(sorted(names), 1))
        records = tuple(Record(f"{i}.jpg", identity, None) for identity in numbered for i in range(2))
        return {numbered[r.identity] for r in divide(records, numbered)["gallery"]}

    names = [f"p{i:02d}" for i in range(count)]
    assert len(tested(names)) == 10
    assert len((tested([*names, new]) - {new}) ^ tested(names)) <= 1


def test_identities_with_one_image_train(tmp_path):
    touch(tmp_path, *(f"single{i}/1.jpg" for i in range(5)), *(f"p{i}/{j}.jpg" for i in range(4) for j in range(3)))
    names, parts = identity_names("folder", tmp_path), parts_of(load_folder(tmp_path))
    assert all(parts[identity] == {"train"} for identity in names if names[identity].startswith("single"))
    assert sum("query" in own for own in parts.values()) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_is_read_in_utf8_with_or_without_the_mark_that_spreadsheets_write(tmp_path, encoding):
    text = "identity, path ,split,age\nZoë,1.jpg,train,7\nZoë, 0.jpg,train,\n\n<李>,2.jpg,train,9\n,,,\n"
    table(tmp_path, text, encoding)
    if encoding == "utf-16":
        with pytest.raises(ValueError, match=r"must be a CSV file in UTF-8 of at most .* Received: "):
            load_csv(tmp_path)
        return
    splits = load_csv(tmp_path)
    assert shown(splits.train, tmp_path) == [("0.jpg", 2, None), ("1.jpg", 2, None), ("2.jpg", 1, None)]
    assert splits.query == splits.gallery == ()
    assert identity_names("csv", tmp_path) == {1: "<李>", 2: "Zoë"}


def test_split_and_camera_are_read_and_an_empty_camera_is_unknown(tmp_path):
    lines = ["0.jpg,a,yard,train", "1.jpg,a,,train", "2.jpg,b,door,train", "3.jpg,c,yard,query", "4.jpg,c,<&>,gallery"]
    splits = load_csv(rows(tmp_path, "path,identity,camera,split", lines) / "labels.csv")
    assert shown(splits.train, tmp_path) == [("0.jpg", 1, 3), ("1.jpg", 1, None), ("2.jpg", 2, 2)]
    assert shown(splits.query, tmp_path) == [("3.jpg", 3, 3)]
    assert shown(splits.gallery, tmp_path) == [("4.jpg", 3, 1)]
    assert splits.camera_names == ("<&>", "door", "yard")
    assert splits.cameras_of(splits.train) == ["yard", None, "door"]


def test_paths_may_be_absolute_quoted_and_outside_the_folder_of_the_file(tmp_path):
    folder = touch(tmp_path / "labels", "x.jpg").parent / "labels"
    touch(tmp_path, "pictures/a, b.jpg", "pictures/日本.png")
    folder.joinpath("all.CSV").write_text(
        f'path,identity,split\n"../pictures/a, b.jpg",1,train\n{tmp_path}/pictures/日本.png,1,train\n./x.jpg,2,train\n',
        encoding="utf-8",
    )
    assert {Path(r.path) for r in load_csv(folder).train} == {
        tmp_path / "pictures" / "a, b.jpg", tmp_path / "pictures" / "日本.png", folder / "x.jpg"
    }  # fmt: skip


def test_two_dots_are_the_folder_above_the_real_one_where_the_folder_of_the_file_is_a_link(tmp_path):
    pictures = [f"pictures/{n}.jpg" for n in (1, 2, 3)]
    touch(tmp_path, "real/lists/x.jpg", *(f"{folder}/{name}" for folder in ("real", "seen") for name in pictures))
    (tmp_path / "real/lists/all.csv").write_text(
        "path,identity,split\n" + "".join(f"../{name},{n // 2},train\n" for n, name in enumerate(pictures))
    )
    (tmp_path / "seen/lists").symlink_to(tmp_path / "real/lists")
    found = load_csv(tmp_path / "seen/lists/all.csv").train
    assert {Path(record.path) for record in found} == {tmp_path / "real" / name for name in pictures}


def test_two_dots_after_a_link_are_the_folder_above_its_target(tmp_path):
    touch(tmp_path, "disk/cam/x.jpg", "disk/1.jpg", "set/1.jpg", "set/2.jpg", "set/3.jpg")
    (tmp_path / "set/cam").symlink_to(tmp_path / "disk/cam")
    (tmp_path / "set/all.csv").write_text("path,identity,split\ncam/../1.jpg,a,train\n2.jpg,b,train\n3.jpg,b,train\n")
    first, second, _ = (Path(record.path) for record in load_csv(tmp_path / "set").train)
    assert first.samefile(tmp_path / "disk/1.jpg")
    assert second == tmp_path / "set/2.jpg"


def test_a_file_for_testing_only_needs_no_training_images(tmp_path):
    splits = load_csv(rows(tmp_path, "path,identity,split", ["0.jpg,a,query", "1.jpg,a,gallery", "2.jpg,b,gallery"]))
    assert (len(splits.train), len(splits.query), len(splits.gallery)) == (0, 1, 2)


# Cameras of one identity's images, in the order of the paths -> those that are queries.
QUERIES = {
    "no camera known": (["", "", ""], [0]),
    "two images under each of two": (["x", "x", "y", "y"], [0, 2]),
    "one under each of two": (["x", "y"], [0]),
    "one under each of three": (["x", "y", "z"], [0, 1]),
    "two under one, one under the other": (["x", "x", "y"], [0]),
    "one under the first, two under the other": (["x", "y", "y"], [0]),
    "two under each of two, one under a third": (["x", "z", "x", "y", "y"], [0, 1, 3]),
    "two under one and one unknown": (["x", "x", ""], [0]),
    "under one camera only": (["x", "x", "x"], []),
    "one image": (["x"], []),
}


@pytest.mark.parametrize("case", QUERIES)
def test_the_first_image_of_each_camera_is_a_query_as_long_as_every_query_keeps_a_match(tmp_path, case):
    cameras, expected = QUERIES[case]
    records = tuple(Record(f"{i}.jpg", 1, camera or None) for i, camera in enumerate(cameras))
    parts = divide(records, {1: "a"})
    assert [int(Path(r.path).stem) for r in parts["query"]] == expected
    rest = [r for r in records if r not in parts["query"]]
    assert parts["gallery" if expected else "train"] == rest
    assert all(matched(query, rest) for query in parts["query"])


def test_with_cameras_only_identities_of_two_cameras_are_tested(tmp_path):
    touch(tmp_path, *(f"{i:03d}.jpg" for i in range(60)))
    # 12 identities with 5 images: every third under one camera, the others under two or three.
    lines = [f"{i:03d}.jpg,p{i // 5},c{0 if i // 5 % 3 == 0 else i % (1 + i // 5 % 3)}" for i in range(60)]
    splits = load_csv(rows(tmp_path, "path,identity,camera", lines))
    cameras = defaultdict(set)
    for record in everything(splits):
        cameras[record.identity].add(record.camera)
    tested = {r.identity for r in splits.query}
    assert len(tested) == 4
    assert Counter((r.identity, r.camera) for r in splits.query).most_common(1)[0][1] == 1
    assert all(len(cameras[identity]) > 1 for identity in tested)
    assert tested == {r.identity for r in splits.gallery}
    assert all(matched(query, splits.gallery) for query in splits.query)
    assert splits.cameras_known


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    lines = [f"{i}.jpg,p{i % 5},c{i % 3}" for i in range(20)]
    forth = load_csv(rows(tmp_path, "path,identity,camera", lines))
    assert load_csv(rows(tmp_path, "path,identity,camera", lines[::-1])) == forth


FOLDER_ERRORS = {
    "no folder": ((), "a folder per identity", "1 folders that hold none: "),
    "images outside of folders": (("1.jpg", "2.jpg"), "a folder per identity", "1 folders that hold none: "),
    "folders without images": (
        ("a/1.jpg", "a/2.jpg", *(f"{c}/1.heic" for c in "bcde")),
        "with 4 folders that hold none: ", "b, ", "d, ...",
    ),
    "a part without identities": (
        ("train/a/1.jpg", "train/a/2.jpg", "query/b/1.jpg", "gallery/1.jpg"), "1 folders that hold none: ", "gallery"
    ),
    "a part is missing": (("train/a/1.jpg", "query/b/1.jpg"), "2 folders that hold none: ", "train/Anna/"),
    "one identity": (("a/1.jpg", "a/2.jpg"), "at least 2 identities", "Received: 1 identities, 2 images, root="),
    "one image each": (("a/1.jpg", "b/1.jpg", "c/1.jpg"), "one with at least 2 images", "3 identities, 3 images"),
    "one left to train on": (("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"), "train must have", "1 identities, 2 i"),
    "one image each in train": (("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"), "train must have", "2 identities, 2 i"),
    "on both sides": (
        ("train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "query/b/2.jpg", "gallery/a/3.jpg"),
        "either in train or in query and gallery", "2 in both: a, b, root=",
    ),
    "no query in the gallery": (
        ("train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "query/c/1.jpg", "gallery/d/1.jpg"),
        "At least one query must have a match", "1 queries, 1 gallery images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDER_ERRORS)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, case):
    files, *texts = FOLDER_ERRORS[case]
    with pytest.raises(ValueError) as error:
        load_folder(touch(tmp_path, *files))
    for text in texts:
        assert text in str(error.value)
    assert f"root={tmp_path}" in str(error.value)


def test_a_missing_folder_shows_the_expected_tree(tmp_path):
    for load, tree in ((load_folder, FOLDER_TREE), (load_csv, CSV_TREE)):
        with pytest.raises(ValueError, match="`root` must ") as error:
            load(tmp_path / "nowhere")
        assert tree in str(error.value)


CSV_ERRORS = {
    "empty": ("", "must begin with a header", "Missing or double: path, identity. Received: an empty file"),
    "no header": ("0.jpg,a\n1.jpg,a\n", "Missing or double: path, identity. Received: 0.jpg, a"),
    "a column is missing": ("path,person,camera\n0.jpg,a,1\n", "double: identity. Received: path, person, camera"),
    "semicolons": ("path;identity\n0.jpg;a\n", "separated by commas", "Received: path;identity"),
    "a column twice": ("path,identity,camera,camera\n0.jpg,a,1,2\n", "Missing or double: camera. "),
    "only a header": ("path,identity\n", "Received: 0 identities, 0 images"),
    "cells are missing": (
        "path,identity,age\n0.jpg,a,1\n1.jpg,,1\n\n,b,1\n2.jpg,a\n3.jpg,a,1,1\n4.jpg,a,1\n",
        "3 cells in each row", "Received: 4 other rows, in line 3, 5, 6, ...",
    ),
    "files are missing": (
        "path,identity\n0.jpg,a\n" + "".join(f"no{i}.jpg,a\n" for i in range(4)),
        "must name files that exist. Received: 4 not found: ", "no0.jpg, ", "no2.jpg, ...",
    ),
    "a folder is no image": ("path,identity\n.,a\n0.jpg,a\n", "Received: 1 not found"),
    "a path twice": (
        "path,identity\n0.jpg,a\n1.jpg,a\n./0.jpg,b\nx/../1.jpg,a\n2.jpg,b\n",
        "must name each file once. Received: 2 named again: ", "0.jpg, ", "1.jpg",
    ),
    "unknown splits": (
        "path,identity,split\n0.jpg,a,train\n1.jpg,a,test\n2.jpg,b,\n3.jpg,b,test\n",
        "must have train, query, gallery in the column split. Received: 2 other values: '', 'test'",
    ),
    "on both sides": (
        "path,identity,split\n0.jpg,a,train\n1.jpg,a,train\n2.jpg,b,train\n3.jpg,b,query\n4.jpg,b,gallery\n",
        "1 in both: b, root=",
    ),
    "everybody under one camera": (
        "path,identity,camera\n" + "".join(f"{i}.jpg,p{i // 2},c{i // 2}\n" for i in range(8)),
        "under another camera if cameras are known", "0 queries, 0 gallery images",
    ),
    "queries whose matches are under their own camera": (
        "path,identity,camera,split\n0.jpg,a,c,query\n1.jpg,a,c,gallery\n2.jpg,b,d,gallery\n", "1 queries, 2 gallery i"
    ),
    "queries without a gallery": ("path,identity,split\n0.jpg,a,query\n1.jpg,a,query\n2.jpg,b,query\n", "0 gallery i"),
}  # fmt: skip


CSV_ERRORS |= {
    "one name in two forms of Unicode, on both sides": (
        "path,identity,split\n0.jpg,Jos\u00e9,train\n1.jpg,a,train\n2.jpg,a,train\n3.jpg,Jose\u0301,query\n"
        "4.jpg,Jos\u00e9,gallery\n",
        "1 in both: Jos\u00e9, root=",
    ),
    **{f"a person called {missing}": (
        f"path,identity\n0.jpg,a\n1.jpg,a\n2.jpg,{missing}\n", "they mark missing values", "1 images with such names: "
    ) for missing in ("NaN", "nan", "None", "null", "NULL", "NA", "N/A", "<NA>", "NaT")},
}  # fmt: skip


@pytest.mark.parametrize("case", CSV_ERRORS)
def test_a_csv_that_cannot_be_used_says_why(tmp_path, case):
    text, *expected = CSV_ERRORS[case]
    with pytest.raises(ValueError) as error:
        load_csv(table(tmp_path, text))
    for part in expected:
        assert part in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_name_in_two_forms_of_unicode_is_one_person_and_one_camera(tmp_path):
    lines = ["0.jpg,Jos\u00e9,Caf\u00e9", "1.jpg,Jose\u0301,Cafe\u0301", "2.jpg,b,door", "3.jpg,b,Cafe\u0301"]
    splits = load_csv(rows(tmp_path, "path,identity,camera,split", [f"{line},train" for line in lines]))
    assert {Path(r.path).name: (r.identity, r.camera) for r in everything(splits)} == {
        "0.jpg": (1, 1), "1.jpg": (1, 1), "2.jpg": (2, 2), "3.jpg": (2, 1)
    }  # fmt: skip
    assert identity_names("csv", tmp_path) == {1: "Jos\u00e9", 2: "b"}
    assert splits.camera_names == ("Caf\u00e9", "door")


def test_cameras_that_stand_for_missing_values_are_unknown_and_such_folders_are_no_people(tmp_path):
    cameras = ("NaN", "None", "null", "N/A", "door", "")
    lines = [f"{i}.jpg,{'ab'[i % 2]},{camera},train" for i, camera in enumerate(cameras)]
    splits = load_csv(rows(tmp_path / "csv", "path,identity,camera,split", lines))
    assert [r.camera for r in splits.train] == [None, None, None, None, 1, None]
    touch(tmp_path / "folders", "a/1.jpg", "a/2.jpg", "nan/1.jpg")
    with pytest.raises(
        ValueError, match=r"they mark missing values\. Received: 1 images with such names: .*nan/1\.jpg"
    ):
        load_folder(tmp_path / "folders")


def test_of_no_csv_or_two_none_is_chosen(tmp_path):
    with pytest.raises(ValueError, match=r"a folder with exactly one(.|\n)*Received: 0 CSV files, root="):
        load_csv(tmp_path)
    touch(tmp_path, "a.csv", "b.CSV", ".hidden.csv", "folder.csv/c.txt")
    with pytest.raises(ValueError, match=r"Received: 2 CSV files: a\.csv, b\.CSV, root="):
        load_csv(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="other systems hold names as text")
def test_file_names_that_are_not_utf8_are_refused(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    try:
        open(os.path.join(os.fsencode(tmp_path), b"b", b"M\xfcller.jpg"), "wb").close()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(ValueError, match=r"File names must be UTF-8\. Received: 1 others: b'.*M\\xfcller\.jpg'"):
        load_folder(tmp_path)


def test_names_are_given_for_the_two_known_layouts_only(tmp_path):
    with pytest.raises(ValueError, match=r"`row` must be one of \['csv', 'folder'\]\. Received: row='market1501'"):
        identity_names("market1501", tmp_path)


@pytest.mark.parametrize("root", [None, 3, b"people"])
@pytest.mark.parametrize("read", [load_folder, load_csv, lambda root: identity_names("csv", root)])
def test_a_root_that_is_no_path_is_named(read, root):
    with pytest.raises(ValueError, match=rf"`root` must be a path\. Received: root={root!r}$"):
        read(root)


def test_a_list_is_no_row(tmp_path):
    with pytest.raises(ValueError, match=r"`row` must be one of \['csv', 'folder'\]\. Received: row=\['csv'\]"):
        identity_names(["csv"], tmp_path)
