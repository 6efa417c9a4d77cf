"""Boxes, frames and tracks; without a network and without OpenCV."""

import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import boxes as boxes_module
import numpy as np
import pytest
import video
from frames import FrameImages, VideoFrames
from gallery import Gallery
from PIL import Image


def gallery_of(**features):
    gallery = Gallery("none.npz", "ab" * 32)
    for name, rows in features.items():
        gallery.append([name] * len(rows), rows)
    return gallery


# Who is who: red, green and blue boxes have cosine 1 to Red, Green and Blue and 0 to the others.
PEOPLE = gallery_of(Red=[[1, 0, 0]], Green=[[0, 1, 0]], Blue=[[0, 0, 1]])
ANN_AND_BOB = gallery_of(Ann=[[1, 0, 0]], Bob=[[0, 1, 0]])


def colours(image, boxes):
    """Mean colour of each box, of length 1."""
    means = np.stack(
        [np.asarray(image, float)[top:bottom, left:right].mean((0, 1)) for left, top, right, bottom in boxes]
    )
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def followed(*arguments, **options):
    return [one for of_frame in video.identities(*arguments, **options) for one in of_frame]


def read(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return boxes_module.read_boxes(path)


def tuples(boxes):
    return {n: [(box.track, *box.edges) for box in of_frame] for n, of_frame in boxes.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "frame,left,top,right,bottom\n2,1,2,3.5,4\n\n1,0,0,9,9\n",
            {2: [(None, 1, 2, 3.5, 4)], 1: [(None, 0, 0, 9, 9)]},
        ),
        ("\ufeffTrack, bottom,right,top,left,frame,note\nx7,4,3,2,1,1,hello\n", {1: [("x7", 1, 2, 3, 4)]}),
        ("frame,left,top,right,bottom,track\n1,0,0,1,1,\n1,5,5,6,6,\n", {1: [(None, 0, 0, 1, 1), (None, 5, 5, 6, 6)]}),
        ("1,3,11,21,30,40,1,-1,-1,-1\n2,3,12,21,30,40\n", {1: [("3", 10, 20, 40, 60)], 2: [("3", 11, 20, 41, 60)]}),
        ("1,-1,11,21,30,40,0.9\n1,-1,1,1,2,2,0.5\n", {1: [(None, 10, 20, 40, 60), (None, 0, 0, 2, 2)]}),
    ],
)
def test_boxes_are_read_from_named_columns_and_as_the_mot_challenge_has_them(tmp_path, text, expected):
    found, skipped = read(tmp_path, text)
    assert tuples(found) == expected
    assert not skipped


MOT = {1: [("3", 10, 20, 40, 60)], 2: [("3", 11, 20, 41, 60)]}


@pytest.mark.parametrize("delimiter", [",", ", ", ";", "\t", " ", "   "])
def test_values_may_be_separated_by_commas_semicolons_tabs_or_spaces(tmp_path, delimiter):
    rows = [(1, 3, 11, 21, 30, 40), (2, 3, "1.2e1", 21, 30, 40)]
    text = "".join(delimiter.join(map(str, row)) + "\n" for row in rows)
    assert tuples(read(tmp_path, text)[0]) == MOT
    named = delimiter.join(("frame", "left", "top", "right", "bottom")) + "\n" + delimiter.join("12345") + "\n"
    assert tuples(read(tmp_path, named)[0]) == {1: [(None, 2, 3, 4, 5)]}


@pytest.mark.parametrize(
    ("rows", "expected", "skipped"),
    [
        # Ground truth: frame, track, box, flag, class, visibility.
        ("1,3,11,21,30,40,1,1,.9\n1,4,1,1,5,5,0,1,.5\n1,5,1,1,5,5,1,7,1\n1,6,1,1,5,5,1,7,1\n2,3,12,21,30,40,1,1,1\n",
         MOT, {"flagged to be ignored": 1, "of class 7": 2}),
        # Ground truth of 2015: 10 columns, in which a flag stands for the confidence.
        ("1,3,11,21,30,40,1,-1,-1,-1\n1,4,1,1,5,5,0,-1,-1,-1\n2,3,12,21,30,40,1,-1,-1,-1\n",
         MOT, {"flagged to be ignored": 1}),
        # Detections and results: frame, track, box, confidence, three coordinates that may be anything.
        ("1,3,11,21,30,40,0,-1,-1,-1\n2,3,12,21,30,40,.5,7,2,0\n", MOT, {}),
        ("1,3,11,21,30,40,0\n2,3,12,21,30,40,-2.5\n", MOT, {}),
    ],
)  # fmt: skip
def test_rows_of_the_mot_challenge_that_are_no_people_to_find_are_skipped_and_counted(
    tmp_path, rows, expected, skipped
):
    found, counted = read(tmp_path, rows)
    assert tuples(found) == expected
    assert counted == skipped


HEAD = "frame,left,top,right,bottom,track\n1,0,0,2,2,a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold boxes"),
        ("1,3,11,21,30,40,0,1,1\n", "must hold boxes of people. Received: 1 rows that are skipped"),
        ("frame,left,top,right,bottom\n", "must hold boxes"),
        ("frame,x,y,right,bottom\n1,2,3,4,5\n", "lacks left, top"),
        (HEAD + "2,0,0,two,2,a\n", "row 3: must hold numbers.*'two'"),
        (HEAD + "2,0,0\n", "row 3: must hold numbers"),
        (HEAD + "2,0,0,nan,2,a\n", "row 3: must hold finite numbers"),
        (HEAD + "0,0,0,2,2,a\n", "row 3: frames are numbered 1, 2, 3.*Received: 0"),
        (HEAD + "1.5,0,0,2,2,a\n", "row 3: frames are numbered"),
        (HEAD + "1e300,0,0,2,2,a\n", "row 3: frames are numbered"),
        (HEAD + "2,5,0,5,2,a\n", r"row 3: the box \(5.0, 0.0, 5.0, 2.0\) of frame 2 is empty"),
        (HEAD + "2,0,3,5,2,a\n", "row 3: .* of frame 2 is empty"),
        (HEAD + "1,0,0,2,2,a\n", "row 3: track a is twice in frame 1"),
        (HEAD + "2,0,0,2,2,\n", "row 3: where some boxes have a track, all must"),
        ("1,1,5,5,0,9\n", "row 1: .* is empty"),
        ("frame,left,left,top,right,bottom\n1,0,5,0,9,9\n", "each column once. Received: frame, left, left, top"),
        ("frame,left,top,right,bottom" + ",x" * 9999 + "\n", "each column once. Received: .{200}$"),
        ("frame,\udcff\n", "boxes.csv is no CSV file"),
    ],
)
def test_a_bad_row_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def frame(path, colours, size=(60, 40)):
    """A grey image with boxes of colour, (left, top, right, bottom) -> colour."""
    image = Image.new("RGB", size, (90, 90, 90))
    for box, colour in colours.items():
        image.paste(colour, box)
    image.save(path)


def in_frame(number, *edges, track=None):
    return boxes_module.Box("boxes.csv, row 7", number, track, edges)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_identities_follow_boxes_that_move_and_are_told_apart_from_strangers(tmp_path):
    # Frames have the numbers of their names; the frame between them has no boxes.
    frame(tmp_path / "f8.png", {(0, 0, 10, 20): RED, (40, 5, 60, 40): BLUE})
    frame(tmp_path / "f9.png", {})
    frame(tmp_path / "f10.png", {(43, 5, 60, 40): BLUE, (2, 0, 12, 20): RED, (20, 30, 24, 34): (255, 255, 255)})
    boxes = {
        8: [in_frame(8, 0, 0, 10, 20), in_frame(8, 40, 5, 60, 40)],
        10: [in_frame(10, 43, 5, 80.2, 40), in_frame(10, 2, -5, 12, 20), in_frame(10, 20, 30, 24, 34)],
    }
    seen = followed(FrameImages(tmp_path, {".png"}, Image.open), boxes, colours, PEOPLE, 0.65)
    assert [(one.frame, one.track, one.box, one.name) for one in seen] == [
        (8, "1", (0, 0, 10, 20), "Red"),
        (8, "2", (40, 5, 60, 40), "Blue"),
        (10, "2", (43, 5, 60, 40), "Blue"),
        (10, "1", (2, 0, 12, 20), "Red"),
        (10, "3", (20, 30, 24, 34), "unknown"),  # white: cosine 0.58 to all of them
    ]


def see(tracks, features):
    return [tracks.see(n, ["x"], [(0, 0, 1, 1)], np.array([row]))[0] for n, row in enumerate(features, start=1)]


def test_a_track_is_the_person_whose_mean_feature_is_nearest_to_its_own_so_far():
    people = gallery_of(Ann=[[4, 0, 3], [4, 0, -3]], Bob=[[0, 2, 0]])  # means (1, 0, 0) and (0, 1, 0)
    seen = see(video.Tracks(people, 0.72), [[0, 5, 0], [8, 6, 0], [1, 0, 0], [0, 0, 2]])
    # sums of features of length 1: (0, 1, 0), (.8, 1.6, 0), (1.8, 1.6, 0), (1.8, 1.6, 1)
    expected = [1, 1.6 / 3.2**0.5, 1.8 / 5.8**0.5, 1.8 / 6.8**0.5]
    assert [one.name for one in seen] == ["Bob", "Bob", "Ann", "unknown"]
    np.testing.assert_allclose([one.cosine for one in seen], expected, rtol=1e-4)


def test_features_that_the_gallery_cannot_be_compared_with_are_refused():
    with pytest.raises(ValueError, match=r"holds \(2, 3\) features. They cannot be compared with \(1, 4\)"):
        see(video.Tracks(ANN_AND_BOB, 0.5), np.ones((1, 4)))
    with pytest.raises(ValueError, match="must hold people"):
        see(video.Tracks(gallery_of(), 0.5), np.ones((1, 4)))


def test_a_long_track_is_who_its_last_300_boxes_show():
    seen = see(video.Tracks(ANN_AND_BOB, 0.5, least=400), [[0.9, 0.1, 0]] * 300 + [[0.1, 0.9, 0]] * 151)
    assert [seen[n].name for n in (298, 299, 448, 450)] == ["unknown", "Ann", "Ann", "Bob"]


def test_a_track_gets_its_name_once_it_has_enough_boxes():
    seen = see(video.Tracks(ANN_AND_BOB, 0.58, least=3), [[0.2, 0.9, 0]] * 4)
    assert [one.name for one in seen] == ["unknown", "unknown", "Bob", "Bob"]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 4, 2), (0, 0, 4, 2), 1),
        ((0, 0, 4, 2), (2, 1, 6, 3), 2 / 14),
        ((0, 0, 4, 2), (4, 0, 8, 2), 0),
        ((0, 0, 4, 2), (9, 9, 12, 12), 0),
        ((0, 0, 6, 6), (1, 2, 3, 5), 6 / 36),
    ],
)
def test_overlap_is_intersection_over_union(a, b, expected):
    assert video.overlap(a, b) == pytest.approx(expected)


def test_the_pair_that_overlaps_most_is_taken_first_and_a_track_lives_ten_frames_unseen():
    tracks = video.Tracks(ANN_AND_BOB, 0.5)

    def see(number, *boxes):
        return [one.track for one in tracks.see(number, [None] * len(boxes), list(boxes), np.ones((len(boxes), 3)))]

    assert see(1, (0, 0, 10, 10)) == ["1"]
    assert see(2, (3, 0, 13, 10), (1, 0, 11, 10)) == ["2", "1"]  # overlap 7 / 13 and 9 / 11 with the first
    assert see(13, (1, 0, 11, 10)) == ["1"]
    assert see(25, (1, 0, 11, 10)) == ["3"]
    assert see(26, (7, 0, 17, 10)) == ["4"]  # overlap 4 / 16


OUTSIDE = [(60, 0, 70, 10), (-9, 0, 0.4, 10), (5, 40, 9, 50), (5, 5, 5.4, 9)]


@pytest.mark.parametrize("edges", OUTSIDE)
def test_a_box_without_a_pixel_in_its_frame_is_skipped_and_counted_or_refused(tmp_path, edges):
    for n in (1, 2):
        frame(tmp_path / f"f{n}.png", {(0, 0, 10, 20): RED})
    frames = FrameImages(tmp_path, {".png"}, Image.open)
    red = [in_frame(n, 0, 0, 10, 20) for n in (1, 2)]
    boxes, skipped = {1: [in_frame(1, *edges)], 2: [red[1], in_frame(2, *edges)]}, Counter()
    seen = followed(frames, boxes, colours, PEOPLE, 0.65, skipped=skipped)
    assert [(one.frame, one.box, one.name) for one in seen] == [(2, (0, 0, 10, 20), "Red")]
    assert skipped == {"outside the frame": 2}
    with pytest.raises(ValueError, match=r"boxes.csv, row 7: .* of frame 1 has no pixel in the frame of 60 x 40"):
        followed(frames, boxes, colours, PEOPLE, 0.65)


def test_a_frame_that_is_not_there_is_named_before_anything_is_computed(tmp_path):
    frame(tmp_path / "f1.png", {})
    boxes = {1: [in_frame(1, 0, 0, 5, 5)], 4: [in_frame(4, 0, 0, 5, 5)]}
    with pytest.raises(ValueError, match="row 7: there is no frame 4 in "):
        next(video.identities(FrameImages(tmp_path, {".png"}, Image.open), boxes, None, PEOPLE, 0.65))


def test_a_folder_without_images_is_no_video(tmp_path):
    with pytest.raises(ValueError, match=r"must hold images \(\.png\)"):
        FrameImages(tmp_path, {".png"}, Image.open)


class Capture:
    """What OpenCV returns: arrays with blue first, and then nothing."""

    def __init__(self, source):
        self.left = {os.path.abspath("film.mp4"): 3, 0: 1}.get(source, 0)

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((40, 60, 3), (255, 0, 10 * self.left), np.uint8) if self.left >= 0 else None

    def get(self, value):
        return 0

    def release(self):
        self.left = 0


OPENCV = SimpleNamespace(VideoCapture=Capture, CAP_PROP_POS_MSEC=0, CAP_PROP_FPS=5, CAP_PROP_FRAME_COUNT=7)


def test_a_video_is_read_frame_by_frame_with_red_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", OPENCV)
    boxes = {n: [in_frame(n, 0, 0, 60, 40)] for n in (1, 3)}
    frames = list(VideoFrames(Path("film.mp4")).frames(boxes))
    assert [(n, image.size, image.getpixel((5, 5))) for n, image in frames] == [
        (1, (60, 40), (20, 0, 255)),
        (3, (60, 40), (0, 0, 255)),
    ]
    assert [n for n, _ in VideoFrames(0).frames({1: []})] == [1]


def test_a_camera_that_ends_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", OPENCV)
    live = VideoFrames(0).frames(None)
    next(live)
    live.close()  # by the user
    assert capsys.readouterr().err == ""
    assert len(list(VideoFrames(0).frames(None))) == 1
    assert "warning: camera 0 gives no more frames after 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cv2", "source", "box", "message"),
    [
        (
            None,
            "film.mp4",
            in_frame(1, 0, 0, 5, 5),
            "--video film.mp4 needs OpenCV: pip install opencv-python-headless",
        ),
        (
            OPENCV,
            "text.txt",
            in_frame(1, 0, 0, 5, 5),
            "text.txt must be a video that OpenCV",
        ),
        (
            OPENCV,
            "film.mp4",
            in_frame(4, 0, 0, 5, 5),
            "ends after 3 frames.* boxes in 4",
        ),
        (OPENCV, "film.mp4", in_frame(2, 60, 0, 65, 5), "row 7: .* frame of 60 x 40"),
    ],
)
def test_a_video_that_cannot_be_followed_says_why(monkeypatch, cv2, source, box, message):
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    with pytest.raises(ValueError, match=message):
        followed(VideoFrames(source), {box.frame: [box]}, colours, PEOPLE, 0.65)


def test_a_number_that_is_no_camera_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", OPENCV)
    with pytest.raises(ValueError, match=r"--video 3 must be the number of a camera that OpenCV can open"):
        VideoFrames(3)


def test_numbers_and_names_that_opencv_does_not_take_are_refused(tmp_path, monkeypatch):
    """OpenCV raises an error of its own for the number, and crashes at the name, also at that of the folder."""
    pytest.importorskip("cv2", reason="needs OpenCV")
    with pytest.raises(ValueError, match=r"--video 9{12} must be the number of a camera that OpenCV can open"):
        VideoFrames(999_999_999_999)
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "film.mp4").write_bytes(b"no film")
    monkeypatch.chdir(folder)
    for path in (folder / "film.mp4", Path("film.mp4")):
        with pytest.raises(ValueError, match=r"--video .*film\.mp4 must be a path of UTF-8"):
            VideoFrames(path)


def test_a_function_finds_the_people_of_every_frame(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", OPENCV)
    for n in (1, 2, 3):
        frame(tmp_path / f"f{n}.png", {} if n == 2 else {(5, 5, 15, 25): RED})

    def reddish(image):
        mask = np.asarray(image)[..., 0] > 200
        rows, columns = np.nonzero(mask)
        return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if mask.any() else [])

    folder = FrameImages(tmp_path, {".png"}, Image.open)
    seen = list(video.identities(folder, reddish, colours, PEOPLE, 0.65))
    assert [[(one.frame, one.box, one.name, one.track) for one in some] for some in seen] == [
        [(1, (5, 5, 15, 25), "Red", "1")], [], [(3, (5, 5, 15, 25), "Red", "1")],
    ]  # fmt: skip
    assert [n for n, _ in VideoFrames(Path("film.mp4")).frames(None)] == [1, 2, 3]


def test_videos_take_turns_frame_by_frame_and_each_has_its_own_tracks():
    def one(frame, track):
        return video.Seen(frame, track, (1, 2, 3, 4), "Ann", 0.9)

    first, second = iter([[one(1, "1"), one(1, "2")], [], [one(3, "1")]]), iter([[], [one(2, "1")]])
    seen = [(some.video, some.frame, some.track) for some in video.in_turn({"door": first, "yard": second})]
    assert seen == [("door", 1, "1"), ("door", 1, "2"), ("yard", 2, "1"), ("door", 3, "1")]
    assert [some.video for some in video.in_turn({"door": iter([[one(1, "1")]])})] == [""]


def test_ctrl_c_ends_a_camera_and_what_it_saw_is_kept():
    def frames():
        yield 1
        raise KeyboardInterrupt

    assert list(video.until_interrupted(frames())) == [1]


def test_results_are_written_as_csv_and_as_lines():
    seen = [video.Seen(12, "a,b", (1, 2, 30, 40), "Ann Lee", 0.91239)]

    class File(list):
        write = list.append

    file = File()
    assert video.write(file, seen) == 1
    assert "".join(file).splitlines() == [
        "frame,track,left,top,right,bottom,name,cosine",
        '12,"a,b",1,2,30,40,Ann Lee,0.9124',
    ]
    changing = File()
    boxes = [video.Seen(n, track, (1, 2, 3, 4), name, 0.5 + n / 10) for n, track, name in (
        (1, "7", "unknown"), (1, "8", "Bob"), (2, "7", "Ann"), (2, "8", "unknown"))]  # fmt: skip
    video.write(changing, boxes)
    assert [line.split(",")[-2:] for line in "".join(changing).splitlines()[1:]] == [
        ["Ann", "0.7000"], ["unknown", "0.7000"], ["Ann", "0.7000"], ["unknown", "0.7000"],
    ]  # fmt: skip
    several = File()
    video.write(several, [video.Seen(12, "1", (1, 2, 30, 40), "Ann", 0.5, "door")], several=True)
    assert "".join(several).splitlines() == [f"{video.HEADING},video", "12,1,1,2,30,40,Ann,0.5000,door"]
    assert list(video.lines(seen))[1].split(None, 4) == ["12", "a,b", "0.912", "1,2,30,40", "Ann Lee"]
