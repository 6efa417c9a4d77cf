"""CUHK03's official files, written here in small: cuhk-03.mat as MATLAB 7.3 stores it, and a 767/700 split's lists."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_osnet.data import DATASETS, load
from keras_osnet.data.datasets import cuhk03

PEOPLE = {1: 3, 2: 2}  # people before each pair of cameras
NUMBERS = (1, 2, 5, 6, 9)  # the cells, of 1 .. 10, that hold an image; 1 .. 5 are of the first camera
WITHOUT = {("detected", 1, 2, 5), ("labeled", 2, 1, 9)}  # and these are empty all the same
# Split s of the 20 tests this person of pair 1 and that of pair 2.
TESTED = [(1 + s % 3, 1 + s % 2) for s in range(20)]
LABELS = {(1, 1): 1, (1, 2): 2, (1, 3): 3, (2, 1): 4, (2, 2): 5}
TRAIN, TEST = ((1, 2), (2, 2)), ((1, 1), (1, 3), (2, 1))


def image(boxes, pair, person, number):
    rng = np.random.default_rng((len(boxes), pair, person, number))
    return rng.integers(0, 256, (9 + number, 3 + pair, 3), "uint8")


def cells(boxes):
    return [
        (pair, person, number)
        for pair in PEOPLE
        for person in range(1, PEOPLE[pair] + 1)
        for number in NUMBERS
        if (boxes, pair, person, number) not in WITHOUT
    ]


def name_of(pair, person, number):
    return f"{pair}_{person:03d}_{1 if number <= 5 else 2}_{number:02d}.png"


def write_mat(path, replaced=None):
    """MATLAB keeps cells as references into #refs#, every array transposed, an empty one as its own size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def keep(array):
            return refs.create_dataset(str(len(refs)), data=array).ref

        def cell_array(references):
            return np.array(references, dtype=h5py.ref_dtype)

        for boxes in ("detected", "labeled"):
            filled, pairs = cells(boxes), []
            for pair, people in PEOPLE.items():
                grid = np.empty((10, people), h5py.ref_dtype)
                for number, person in np.ndindex(grid.shape):
                    key = (pair, person + 1, number + 1)
                    array = image(boxes, *key).transpose(2, 1, 0) if key in filled else np.zeros(2, "uint64")
                    grid[number, person] = keep((replaced or {}).get((boxes, *key), array))
                pairs.append(keep(grid))
            file[boxes] = cell_array([pairs])
        file["testsets"] = cell_array([[keep(np.array([[1, 2], people], float)) for people in TESTED]])


def lists(boxes):
    """The split's variables, every image with a number from 1; a test person's first of each camera is a query."""
    keys = cells(boxes)
    numbered = list(enumerate(keys, start=1))
    firsts = {(*key[:2], camera): None for key in keys for camera in (1, 2)}
    for number, (pair, person, cell) in reversed(numbered):
        firsts[pair, person, 1 if cell <= 5 else 2] = number
    query = [n for n, key in numbered if key[:2] in TEST and n in firsts.values()]
    filelist = np.empty((len(keys), 1), object)
    filelist[:, 0] = [name_of(*key) for key in keys]
    column = {
        "train_idx": [n for n, key in numbered if key[:2] in TRAIN],
        "query_idx": query,
        "gallery_idx": [n for n, key in numbered if key[:2] in TEST and n not in query],
        "labels": [LABELS[key[:2]] for key in keys],
        "camId": [1 if cell <= 5 else 2 for _, _, cell in keys],
    }
    return {name: np.array(values, float)[:, None] for name, values in column.items()} | {"filelist": filelist}


def config_of(root, boxes):
    return root / "cuhk03" / f"cuhk03_new_protocol_config_{boxes}.mat"


def mat_of(root):
    return root / "cuhk03" / "cuhk03_release" / "cuhk-03.mat"


def official(root):
    write_mat(mat_of(root))
    for boxes in ("detected", "labeled"):
        savemat(config_of(root, boxes), lists(boxes))
    return root


def rows(records):
    return [(Path(record.path).name, record.identity, record.camera) for record in records]


def identities(records):
    return {record.identity for record in records}


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
def test_the_images_are_unpacked_pixel_for_pixel_under_their_official_names(tmp_path, boxes):
    folder = cuhk03.unpack(official(tmp_path), boxes)
    assert folder == tmp_path / "cuhk03" / "pictures" / boxes
    assert {path.name for path in folder.iterdir()} == {name_of(*key) for key in cells(boxes)}
    for key in cells(boxes):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / name_of(*key))), image(boxes, *key))
    assert [path.name for path in folder.parent.glob("[!.]*")] == [boxes]


def test_the_767_700_split_follows_its_lists(tmp_path):
    splits = load("cuhk03", official(tmp_path))
    assert rows(splits.train) == [
        ("1_002_1_01.png", 2, 1),
        ("1_002_1_02.png", 2, 1),  # 1_002_1_05 is an empty cell
        ("1_002_2_06.png", 2, 2),
        ("1_002_2_09.png", 2, 2),
        ("2_002_1_01.png", 5, 1),
        ("2_002_1_02.png", 5, 1),
        ("2_002_1_05.png", 5, 1),
        ("2_002_2_06.png", 5, 2),
        ("2_002_2_09.png", 5, 2),
    ]
    people = [("1_001", 1), ("1_003", 3), ("2_001", 4)]
    assert rows(splits.query) == [
        (f"{name}_{tail}.png", label, int(tail[0])) for name, label in people for tail in ("1_01", "2_06")
    ]
    assert rows(splits.gallery) == [
        (f"{name}_{tail}.png", label, int(tail[0])) for name, label in people for tail in ("1_02", "1_05", "2_09")
    ]
    assert all(Path(r.path).is_file() for r in splits.train + splits.query + splits.gallery)


def test_hand_drawn_boxes_are_a_dataset_of_their_own(tmp_path):
    splits = load("cuhk03_labeled", official(tmp_path))
    assert {Path(record.path).parent.name for record in splits.train + splits.gallery} == {"labeled"}
    assert "1_002_1_05.png" in {name for name, _, _ in rows(splits.train)}
    assert "2_001_2_09.png" not in {name for name, _, _ in rows(splits.gallery)}


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
@pytest.mark.parametrize("split", [0, 7, 19])
def test_a_classic_split_tests_the_people_of_its_test_set_and_trains_on_all_others(tmp_path, boxes, split):
    splits = load(f"cuhk03_classic_{boxes}", official(tmp_path), split)
    tested = {(1, TESTED[split][0]), (2, TESTED[split][1])}
    expected = {True: [], False: []}
    for pair, person, number in cells(boxes):
        row = (name_of(pair, person, number), 10_000 * pair + person, 1 if number <= 5 else 2)
        expected[(pair, person) in tested].append(row)
    assert rows(splits.query) == expected[True]
    assert splits.gallery == splits.query
    assert rows(splits.train) == expected[False]


@pytest.mark.parametrize("name", [name for name in DATASETS if name.startswith("cuhk03")])
def test_nobody_is_both_trained_on_and_tested(tmp_path, name):
    splits = load(name, official(tmp_path))
    assert identities(splits.train)
    assert identities(splits.train).isdisjoint(identities(splits.query + splits.gallery))


def test_images_are_unpacked_only_once(tmp_path):
    first = load("cuhk03", official(tmp_path))
    mat_of(tmp_path).write_bytes(b"no longer read")
    assert load("cuhk03", tmp_path) == first


def test_images_are_read_one_at_a_time_and_a_damaged_one_leaves_nothing_behind(tmp_path):
    official(tmp_path)
    grey = np.zeros((1, 4, 11), "uint8")
    write_mat(mat_of(tmp_path), {("detected", 2, 2, 9): grey})
    assert next(cuhk03.images_in(mat_of(tmp_path), "detected"))[0] == "1_001_1_01.png"
    with pytest.raises(ValueError, match=r"must be the whole official file .*cuhk-03\.mat, but .*\(11, 4, 1\)"):
        load("cuhk03", tmp_path)
    assert not any(path.is_dir() for path in (tmp_path / "cuhk03" / "pictures").iterdir())
    write_mat(mat_of(tmp_path))
    assert load("cuhk03", tmp_path).train


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def without_images(path):
    with h5py.File(path, "w") as file:
        file["testsets"] = np.zeros((1, 20))


def numbers_in_place_of_references(path):
    with h5py.File(path, "w") as file:
        file["detected"] = file["testsets"] = np.ones((1, 20))


def only_empty_cells(path):
    nothing = {("detected", *key): np.zeros(2, "uint64") for key in cells("detected")}
    write_mat(path, nothing)


@pytest.mark.parametrize(
    "spoil",
    [cut_short, without_images, numbers_in_place_of_references, only_empty_cells, lambda p: p.write_text("x")],
)
@pytest.mark.parametrize("name", ["cuhk03", "cuhk03_classic_detected"])
def test_a_spoilt_cuhk_03_mat_is_named(tmp_path, spoil, name):
    spoil(mat_of(official(tmp_path)))
    with pytest.raises(ValueError, match="must be the whole official file") as error:
        load(name, tmp_path)
    assert f"path={mat_of(tmp_path)}, but " in str(error.value)


def test_test_sets_of_another_form_are_refused_also_when_the_images_are_unpacked(tmp_path):
    load("cuhk03_classic_detected", official(tmp_path), 3)
    numbers_in_place_of_references(mat_of(tmp_path))
    with pytest.raises(ValueError, match="must be the whole official file"):
        load("cuhk03_classic_detected", tmp_path, 3)


def test_test_people_without_images_are_counted(tmp_path):
    official(tmp_path)
    write_mat(mat_of(tmp_path), {("detected", 2, 1, number): np.zeros(2, "uint64") for number in NUMBERS})
    with pytest.raises(ValueError, match=r"Received: 2, 1 of them not: 2_001"):
        load("cuhk03_classic_detected", tmp_path, 0)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (official(tmp_path) / "cuhk03" / "pictures").write_text("a file in the folder's place")
    with pytest.raises(ValueError, match="`root` must be writable the first time") as error:
        load("cuhk03", tmp_path)
    assert str(tmp_path / "cuhk03" / "pictures" / "detected") in str(error.value)


def with_names(variables, names):
    variables["filelist"][1:5, 0] = names


SPOILT_LISTS = {
    "a_list_missing": (lambda v: v.pop("gallery_idx"), "Received: a file without gallery_idx"),
    "words_for_numbers": (lambda v: v.update(train_idx="one"), r"labels 24, train_idx 1"),
    "a_number_too_high": (lambda v: v["query_idx"].__setitem__(0, 25), "lists of numbers from 1 to their count"),
    "a_number_too_low": (lambda v: v["query_idx"].__setitem__(0, 0), "lists of numbers from 1 to their count"),
    "no_number_in_a_list": (
        lambda v: v.update(query_idx=np.where(v["query_idx"] > 1, v["query_idx"], np.nan)),
        "lists of numbers from 1 to their count",
    ),
    "no_number_among_the_labels": (
        lambda v: v.update(labels=np.where(v["labels"] > v["labels"].min(), v["labels"], np.nan)),
        "must hold a label for each name",
    ),
    "a_label_too_few": (lambda v: v.update(labels=v["labels"][1:]), "Received: 24 names, labels 23"),
    "one_person_in_both": (lambda v: v["gallery_idx"].__setitem__(0, 6), "Received: 5, 1 of them not: 2"),
    "names_not_official": (
        lambda v: with_names(v, ["a.png", "b.png", "c.png", "d.png"]),
        r"names like 1_001_1_01\.png .* Received: 24, 4 of them not: a\.png, b\.png, c\.png, \.\.\.$",
    ),
    "names_of_images_that_are_not_there": (
        lambda v: with_names(v, [f"7_00{i}_1_01.png" for i in range(4)]),
        r"Received: 24, 4 of them not: 7_000_1_01\.png, 7_001_1_01\.png, 7_002_1_01\.png, \.\.\.$",
    ),
}


@pytest.mark.parametrize("case", SPOILT_LISTS)
def test_spoilt_lists_of_the_767_700_split_are_named(tmp_path, case):
    spoil, message = SPOILT_LISTS[case]
    variables = lists("detected")
    spoil(variables)
    savemat(config_of(official(tmp_path), "detected"), variables)
    with pytest.raises(ValueError, match=message) as error:
        load("cuhk03", tmp_path)
    assert str(error.value).startswith(str(config_of(tmp_path, "detected")))


@pytest.mark.parametrize("spoil", [cut_short, without_images, lambda path: path.write_text("no MATLAB file")])
def test_lists_in_a_file_that_does_not_read_are_named(tmp_path, spoil):
    spoil(config_of(official(tmp_path), "detected"))
    with pytest.raises(ValueError, match="must be a whole MATLAB file of version 5") as error:
        load("cuhk03", tmp_path)
    assert f"path={config_of(tmp_path, 'detected')}, but " in str(error.value)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("cuhk03", {"cuhk-03.mat", "cuhk03_new_protocol_config_detected.mat"}),
        ("cuhk03_labeled", {"cuhk-03.mat", "cuhk03_new_protocol_config_labeled.mat"}),
        ("cuhk03_classic_labeled", {"cuhk-03.mat"}),
    ],
)
def test_missing_files_are_named_beside_the_expected_tree(tmp_path, name, needed):
    with pytest.raises(ValueError, match="`root` must hold CUHK03's official files") as error:
        load(name, tmp_path)
    before, after = str(error.value).split("Not found: ")
    assert DATASETS[name].expected_tree in before
    assert {Path(path).name for path in after.split(". Received: ")[0].split(", ")} == needed
    assert all(file in DATASETS[name].expected_tree for file in needed)


def test_the_tables_rows_hold_the_papers_counts_and_those_of_the_splits_sources():
    assert DATASETS["cuhk03"].identities == DATASETS["cuhk03_labeled"].identities == (767, 700, 700)
    assert DATASETS["cuhk03"].images == (7365, 1400, 5332)
    assert DATASETS["cuhk03_labeled"].images == (7368, 1400, 5328)
    for boxes in ("detected", "labeled"):
        assert (DATASETS[f"cuhk03_classic_{boxes}"].splits, DATASETS[f"cuhk03_classic_{boxes}"].protocol) == (
            20,
            "cuhk03",
        )
