"""A report on sets made by hand, with a known fault each."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data import Dataset
from keras_osnet.data.check import Part, Report, check
from keras_osnet.data.records import Record, Splits


def pixels(seed, height=12, width=9, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def save(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return str(path)


@pytest.fixture
def make(tmp_path):
    """A part of (identity, camera) rows, each an image of its own."""
    made = Counter()

    def make(*labels):
        made.update(images=len(labels))
        numbers = range(made["images"] - len(labels), made["images"])
        return tuple(
            Record(save(tmp_path / f"{i:03d}.png", pixels(i)), *label)
            for i, label in zip(numbers, labels, strict=True)
        )  # fmt: skip

    return make


@pytest.fixture
def parts(make):
    """A set with nothing wrong."""
    return {
        "train": make((1, 1), (1, 2), (2, 1), (2, 3)),
        "query": make((3, 1), (4, 2)),
        "gallery": make((0, 1), (3, 2), (4, 2), (4, 3)),
    }


def test_counts_are_those_of_each_part(parts):
    report = check(Splits(**parts))
    assert [(p.name, p.cameras, p.images) for p in report.parts] == [
        ("train", 3, 4), ("query", 2, 2), ("gallery", 3, 4)
    ]  # fmt: skip
    assert report.problems == report.remarks == report.unreadable == ()
    assert str(report).split("\n")[-1] == "nothing wrong found"
    assert "cameras unknown" not in str(report)


@pytest.mark.parametrize(
    ("row", "queried", "identities"),
    [
        (None, 3, 2),
        ({}, 3, 2),
        ({"images": (4, 2, 4)}, 3, 2),
        ({"identities": (2, 2, 3)}, 3, 3),
        ({"identities": (2, 2, 5)}, 3, 5),
        ({"identities": (2, 2, 4)}, 3, 3),
        (None, 0, 3),
    ],
    ids=str,
)
def test_distractors_are_one_identity_or_one_each_where_the_row_counts_them_so(parts, make, row, queried, identities):
    """Two identities and three distractors in the gallery; where a query has the identity 0, it is one like others."""
    parts["query"] += make((queried, 2))
    parts["gallery"] += make((0, 2), (0, 3))
    assert check(Splits(**parts), row if row is None else Dataset(None, "", **row)).parts[2].identities == identities


def test_published_counts_stand_beside_and_other_ones_are_remarked(parts, make):
    row = Dataset(None, "", (2, 2, 3), (4, 2, 4))
    report = check(Splits(**parts), row)
    assert [part.published for part in report.parts] == [(2, 4), (2, 2), (3, 4)]
    assert report.remarks == ()
    parts["query"] += make((3, 1))
    parts["gallery"] += make((5, 1))
    report = check(Splits(**parts), row)
    assert report.remarks == ("counts differ from the published ones: query, gallery",)
    assert report.problems == ()


def test_a_row_may_have_counts_of_identities_alone(parts):
    report = check(Splits(**parts), Dataset(None, "", (2, 2, 3)))
    assert [part.published for part in report.parts] == [(2, None), (2, None), (3, None)]
    assert [line.split()[-2:] for line in report.lines()[1:4]] == [["2", "-"], ["2", "-"], ["3", "-"]]
    assert report.remarks == ()


def test_the_name_of_a_row_is_refused(parts):
    with pytest.raises(ValueError, match=r"`dataset` must be a row of `DATASETS`, not its name\. Received: .*'csv'"):
        check(Splits(**parts), "csv")


def test_the_lines_are_an_aligned_table_with_problems_and_remarks_below():
    report = Report(
        (Part("train", 1041, 15, 30248, (1041, 30248)), Part("query", 2, 0, 3, (3060, 0))),
        problems=("something", "images that cannot be read: 22 of 99"),
        remarks=("a trifle",),
        unreadable=tuple((f"<{i}>&é.jpg", "no image") for i in range(22)),
        unknown_cameras="cameras unknown: no pair is excluded",
    )
    head, train, query, *rest = report.lines()
    assert head.split() == ["identities", "cameras", "images", "published:", "identities", "images"]
    assert train.split() == ["train", "1,041", "15", "30,248", "1,041", "30,248"]
    assert query.split() == ["query", "2", "-", "3", "3,060", "0"]
    assert len(head) == len(train) == len(query)
    assert head.index("cameras") + len("cameras") == train.index(" 15") + 3 == query.index("-") + 1
    assert rest == [
        "cameras unknown: no pair is excluded",
        "wrong: something",
        "wrong: images that cannot be read: 22 of 99",
        *(f"    <{i}>&é.jpg (no image)" for i in range(20)),
        "    ... and 2 more",
        "remark: a trifle",
    ]
    assert str(report) == "\n".join(report.lines())


def cut(path, last=-200):
    content = path.read_bytes()
    path.write_bytes(content[:last])


def truncated(path, kind):
    save(path, pixels(90, 60, 41), format=kind)
    cut(path)


UNREADABLE = {
    "truncated.jpg": (lambda path: truncated(path, "JPEG"), "truncated"),
    "truncated.png": (lambda path: truncated(path, "PNG"), "truncated"),
    "float.tif": (lambda path: save(path, Image.new("F", (9, 12))), "TIFF of floating-point levels"),
    "text.jpg": (lambda path: path.write_text("<html>no image</html>"), "damaged, or in none of the formats JPEG"),
    "empty.jpg": (lambda path: path.touch(), "empty file"),
    "missing.jpg": (lambda path: None, "No such file or directory"),
    "folder.jpg": (lambda path: path.mkdir(), "not a regular file"),
    "large.jpg": (lambda path: save(path, Image.new("L", (14_000, 14_000))), "limit here is 33,554,432 pixels"),
}


def test_every_image_that_cannot_be_read_is_named_with_the_reason(parts, tmp_path):
    labels = [(part, parts[part][-1].identity, parts[part][-1].camera) for part in parts]
    expected = []
    for number, (name, (write, why)) in enumerate(UNREADABLE.items()):
        write(tmp_path / name)
        part, *label = labels[number * 3 // len(UNREADABLE)]
        parts[part] += (Record(str(tmp_path / name), *label),)
        expected.append((str(tmp_path / name), why))
    report = check(Splits(**parts))
    assert [path for path, _ in report.unreadable] == [path for path, _ in expected]
    for (_, why), (_, text) in zip(report.unreadable, expected, strict=True):
        assert text in why
    assert report.problems == ("images that cannot be read: 8 of 18",)
    assert f"    {tmp_path / 'empty.jpg'} (empty file)" in report.lines()
    assert "nothing wrong" not in str(report)


def test_odd_images_that_can_be_read_are_remarks(parts, tmp_path):
    odd = {
        "grey & <b>.png": pixels(80, channels=1),
        "groß.png": pixels(81, channels=4),
        "李.jpg": pixels(82, channels=1),
        "narrow.png": pixels(83, 40, 7),
        "low.png": pixels(84, 7, 40),
        "small.png": pixels(85, 8, 8),
    }
    parts["train"] += tuple(Record(save(tmp_path / name, image), 1, 1) for name, image in odd.items())
    report = check(Splits(**parts))
    assert report.problems == report.unreadable == ()
    assert report.remarks == (
        f"images with a side of less than 8 pixels: 2 ({tmp_path / 'narrow.png'}, {tmp_path / 'low.png'})",
        "images that are not RGB (read as RGB, without transparency): 3 (L 2, RGBA 1)",
    )


# Cameras of a query, of its identity's gallery images -> whether a match is left.
MATCHES = [
    (1, [], False), (1, [1], False), (1, [1, 1], False), (1, [2], True), (1, [1, 2], True), (1, [None], True),
    (1, [1, None], True), (None, [], False), (None, [1], True), (None, [None], True),
]  # fmt: skip


def test_queries_without_a_match_under_the_camera_rule_are_counted(make):
    parts = {"train": make((100, 1), (100, 2)), "query": (), "gallery": ()}
    for identity, (camera, cameras, _) in enumerate(MATCHES, 1):
        parts["query"] += make((identity, camera))
        parts["gallery"] += make(*((identity, other) for other in cameras))
    alone = [query.path for query, (*_, left) in zip(parts["query"], MATCHES, strict=True) if not left]
    assert len(alone) == 4
    assert check(Splits(**parts)).problems == (
        f"queries without a match under another camera: 4 of 10 ({', '.join(alone[:3])}, ...)",
    )


def test_identities_of_train_in_query_or_gallery_are_wrong(parts, make):
    parts["train"] += make((4, 1), (0, 2), (4, 2))
    report = check(Splits(**parts))
    assert report.problems == ("identities both in train and in query or gallery: 2 (0, 4)",)


def test_training_identities_with_one_image_are_a_remark(parts, make):
    parts["train"] += make((7, 1), (5, 1), (6, 1), (6, 2), (9, 1), (8, 1))
    report = check(Splits(**parts))
    assert report.remarks == ("training identities with one image: 4 (5, 7, 8, ...)",)
    assert report.problems == ()


# (part, identity, camera) of two files with the same bytes -> whether that is wrong.
TWINS = [
    (("train", 1, 1), ("gallery", 3, 2), True),
    (("train", 1, 1), ("query", 3, 1), True),
    (("query", 3, 1), ("gallery", 3, 2), True),
    (("query", 3, 1), ("gallery", 4, 1), True),
    (("query", 3, 1), ("gallery", 3, 1), False),
    (("query", 3, None), ("gallery", 3, None), True),
    (("train", 1, 1), ("train", 2, 1), True),
    (("train", 1, 1), ("train", 1, 2), False),
    (("gallery", 3, 2), ("gallery", 3, 2), False),
    (("gallery", 3, 2), ("gallery", 4, 2), True),
]


@pytest.mark.parametrize(("one", "other", "wrong"), TWINS, ids=str)
def test_the_same_bytes_are_wrong_in_two_parts_or_under_two_identities(parts, tmp_path, one, other, wrong):
    paths = [save(tmp_path / name, pixels(70)) for name in ("one.png", "other.png")]
    for path, (part, *label) in zip(paths, (one, other), strict=True):
        parts[part] += (Record(path, *label),)
    expected = (f"the same content in two parts or under two identities: 1 ({paths[0]} = {paths[1]})",)
    assert check(Splits(**parts)).problems == (expected if wrong else ())


def test_of_many_twins_each_content_counts_once_and_the_first_three_are_shown(parts, tmp_path):
    for i in range(5):
        for part, identity in (("train", 1), ("train", 2), ("gallery", 3)):
            path = save(tmp_path / f"{part}{identity}{i}.png", pixels(60 + i))
            parts[part] += (Record(path, identity, 2),)
    (problem,) = check(Splits(**parts)).problems
    assert problem.startswith("the same content in two parts or under two identities: 5 (")
    assert problem.count(" = ") == 3
    assert problem.endswith(", ...)")


def test_a_file_that_is_both_query_and_gallery_image_of_one_camera_is_read_once(parts):
    parts["gallery"] += parts["query"]
    done = []
    report = check(Splits(**parts), progress=lambda *numbers: done.append(numbers))
    assert report.problems == ()
    assert done == [(i + 1, 10) for i in range(10)]


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (0, "cameras unknown: no pair is excluded"),
        (3, "cameras unknown: no pair is excluded for 3 of 6 images"),
        (6, None),
    ],
)
def test_unknown_cameras_are_told(make, known, line):
    cameras = [1, 2, 1, 2, 3, 2][:known] + [None] * (6 - known)
    records = make(*zip((1, 1, 3, 4, 3, 4), cameras, strict=True))
    report = check(Splits(records[:2], records[2:4], records[4:]))
    assert report.unknown_cameras == line
    assert [text for text in report.lines() if text.startswith("cameras")] == [line] * bool(line)
    assert all("-" in text.split() for text in report.lines()[1:4]) == (known == 0)


def test_a_set_for_training_only_has_nothing_wrong(parts):
    report = check(Splits(parts["train"], (), ()))
    assert report.problems == report.remarks == ()
    assert [part.images for part in report.parts] == [4, 0, 0]


def test_every_frame_of_a_tracklet_is_compared(parts, tmp_path):
    def tracklet(name, identity, camera, *seeds):
        paths = tuple(save(tmp_path / f"{name}{i}.png", pixels(seed)) for i, seed in enumerate(seeds))
        return Record(paths[0], identity, camera, frames=paths)

    parts["gallery"] += tracklet("a", 3, 2, 60, 61), tracklet("b", 4, 2, 62, 61), tracklet("c", 4, 3, 63, 64, 64)
    report = check(Splits(**parts))
    twins = f"{tmp_path / 'a1.png'} = {tmp_path / 'b1.png'}"
    assert report.problems == (f"the same content in two parts or under two identities: 1 ({twins})",)
    repeated = f"{tmp_path / 'c1.png'} = {tmp_path / 'c2.png'}"
    assert report.remarks == (f"the same content twice under one identity and camera: 1 ({repeated})",)


def test_a_jpeg_that_training_refuses_is_named(parts):
    pytest.importorskip("tensorflow", reason="training needs TensorFlow")
    path = str(Path(__file__).with_name("damaged.jpg"))
    parts["train"] += (Record(path, 1, 1),)
    report = check(Splits(**parts))
    assert [name for name, _ in report.unreadable] == [path]
    assert report.unreadable[0][1].startswith("jpeg::Uncompress")
