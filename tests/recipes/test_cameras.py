"""Who is who in several cameras: boxes, tracks, times, identities, decisions, and the page."""

import csv
import hashlib
import json
import math
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.data.drawn.synthetic import render
from keras_osnet.export import to_onnx, to_tflite
from keras_osnet.metrics import MatchProbability
from tests.scripts import load

RECIPE, FOOTAGE, SIGHTINGS, RESULTS = (
    load(f"recipes/{name}.py") for name in ("cameras", "footage", "sightings", "camera_results")
)
PEOPLE, FRAMES, SIZE = ("Anna", "Ben"), 6, (240, 160)
MATCH = {"offset": 9.0, "slope": 30.0}
STARTS = ("--start", "c1=1767225600", "c2=1767225600")


def box_of(person, camera, frame):
    """Anna walks to the right and Ben to the left; they do not meet."""
    left = 4 + 4 * frame if person == 0 else 180 - 4 * frame
    return left, 20 + camera, left + 48, 116 + camera


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Two folders of frames, the ground truth, and boxes with tracks in the form of the MOT challenge."""
    folder, rows = tmp_path_factory.mktemp("scene"), []
    for camera in (1, 2):
        (folder / f"c{camera}").mkdir()
        lines = []
        for frame in range(FRAMES):
            image = Image.new("RGB", SIZE, (120, 130, 120))
            for person in range(len(PEOPLE)):
                box = box_of(person, camera, frame)
                image.paste(render(person + 1, camera, 0).resize((48, 96)), box[:2])
                rows.append((camera, frame, frame / 10, PEOPLE[person], *box, 1.0))
                lines.append(f"{frame + 1},{camera + person},{box[0] + 1},{box[1] + 1},48,96,1,1,1")
            image.save(folder / f"c{camera}" / f"{frame:06d}.png")
        (folder / f"c{camera}.txt").write_text("\n".join(lines))
    with open(folder / "ground_truth.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("camera", "frame", "time", "identity", "left", "top", "right", "bottom", "visible"))
        table.writerows(rows)
    (folder / "match.json").write_text(json.dumps(MATCH))
    return folder


def run(run_script, scene, output, *options, boxes=None):
    videos = [scene / "c1", scene / "c2"]
    boxes = boxes or [scene / "c1.txt", scene / "c2.txt"]
    run_script("recipes/cameras.py", *videos, "--boxes", *boxes, "--fps", 10, "--output", output, *options)
    with open(output / "identities.csv", newline="") as file:
        return list(csv.DictReader(file))


def data_of(page):
    text = page.read_text().split('<script id="data" type="application/json">')[1]
    return json.loads(text.split("</script>")[0])


class Colours:
    """In the place of a `FeatureExtractor`: the mean colour of each box."""

    def crops(self, frames, boxes):
        means = [
            frame[top:bottom, left:right].reshape(-1, 3).mean(axis=0)
            for frame, some in zip(frames, boxes, strict=True)
            for left, top, right, bottom in some
        ]
        return np.array(means).reshape(-1, 3) + 1


def seen_of(folder, boxes, **options):
    return SIGHTINGS.sightings_of("c1", FOOTAGE.Frames(folder, 0.0, 10.0), boxes, Colours(), rate=10.0, **options)


@pytest.fixture(scope="module")
def results(scene, run_script, tmp_path_factory):
    """The output folder and rows of one run with all that it writes."""
    output = tmp_path_factory.mktemp("output")
    rows = run(run_script, scene, output, "--start", "c2=100", "--people", 2, "--find", scene / "c1/000000.png")
    return output, rows


def test_each_box_has_a_person_and_a_time_on_the_common_clock(results):
    _, rows = results
    assert len(rows) == 2 * 2 * FRAMES
    first = rows[0]
    assert (first["camera"], first["frame"], first["track"], first["time"]) == ("c1", "1", "1", "0.000")
    assert [int(first[edge]) for edge in ("left", "top", "right", "bottom")] == list(box_of(0, 1, 0))
    assert {float(row["time"]) for row in rows if row["camera"] == "c2"} == {100 + n / 10 for n in range(FRAMES)}
    assert all(row["identity"] in ("1", "2") for row in rows)


def test_people_of_one_camera_at_one_time_are_two(results):
    people = {row["track"]: row["identity"] for row in results[1] if row["camera"] == "c1"}
    assert len(set(people.values())) == 2


def test_the_page_holds_every_track_with_an_image_and_loads_nothing(results):
    data, text = data_of(results[0] / "cameras.html"), (results[0] / "cameras.html").read_text()
    assert [(t["camera"], t["track"]) for t in data["tracks"]] == [("c1", "1"), ("c1", "2"), ("c2", "2"), ("c2", "3")]
    assert all(t["image"].startswith("data:image/jpeg;base64,") for t in data["tracks"])
    assert np.array(data["odds"]).shape == (4, 4)
    assert sorted(data["found"][0]["order"]) == [0, 1, 2, 3]
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_tells_consecutive_frames_of_a_fast_camera_apart(tmp_path):
    image, times = np.zeros((4, 2, 3), np.uint8), np.arange(6) / 240  # both .0083 and .0125 are .01 if rounded
    seen = SIGHTINGS.Sightings("c1", images={"1": image, "2": image})
    tracks = [SimpleNamespace(start=times[0], end=times[2]), SimpleNamespace(start=times[3], end=times[5])]
    keys = [("c1", "1"), ("c1", "2")]
    people, same = dict(zip(keys, (1, 2), strict=True)), np.ones((2, 2))
    RESULTS.write_page(tmp_path / "cameras.html", (), {"c1": seen}, keys, tracks, people, same, [], {})
    first, second = data_of(tmp_path / "cameras.html")["tracks"]
    assert first["end"] < second["start"]  # the page merges them


def test_the_page_knows_the_order_of_improbable_pairs(tmp_path):
    image, keys = np.zeros((4, 2, 3), np.uint8), [("c1", str(number)) for number in range(4)]
    seen = SIGHTINGS.Sightings("c1", images={name: image for _, name in keys})
    tracks = [SimpleNamespace(start=float(number), end=float(number)) for number in range(4)]
    probabilities = np.array([[1.0, 0.0, 0.002, 0.0012]] * 4)  # three of them are 0 %
    people = dict.fromkeys(keys, 1)
    RESULTS.write_page(tmp_path / "cameras.html", (), {"c1": seen}, keys, tracks, people, probabilities, [], {})
    row = data_of(tmp_path / "cameras.html")["odds"][0]
    assert row[0] > row[2] > row[3] > row[1]
    assert row[2:] == [round(100 * math.log(p / (1 - p))) for p in (0.002, 0.0012)]


def test_identities_are_scored_against_the_ground_truth_of_a_scene(scene, run_script, tmp_path, capsys):
    pytest.importorskip("motmetrics", reason="scores need motmetrics")
    run(run_script, scene, tmp_path / "out", "--ground-truth", scene / "ground_truth.csv")
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["camera_idf1"] == {"c1": 1, "c2": 1}
    assert "IDF1" in capsys.readouterr().out
    run(run_script, scene, tmp_path / "out")
    assert "scores.json is kept. It shows the identities of an earlier run." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("missing", "options"), [("motmetrics", ("--ground-truth", "truth.csv")), ("cv2", ("--video-out",))]
)
def test_what_the_last_steps_need_is_asked_for_before_the_work(
    scene, run_script, tmp_path, monkeypatch, missing, options
):
    (tmp_path / "truth.csv").write_bytes((scene / "ground_truth.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=rf"{missing}.*: pip install "):
        run(run_script, scene, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_ground_truth_with_a_person_twice_in_a_frame_is_refused_before_the_work(scene, run_script, tmp_path):
    lines = (scene / "ground_truth.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(SystemExit, match=r"each identity once in a frame.* 2 boxes of Anna in frame 1 of camera c1"):
        run(run_script, scene, tmp_path / "out", "--ground-truth", tmp_path / "twice.csv")
    assert not (tmp_path / "out").exists()


ROW = "camera,frame,time,identity,left,top,right,bottom,visible\n1,0,0,Anna,{},2,3,4,1\n"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe video", b'"' + b"a" * 200_000, ROW.format("nan").encode(), ROW.format("-inf").encode()]
)
def test_a_damaged_ground_truth_is_named(tmp_path, content):
    (tmp_path / "truth.csv").write_bytes(ROW.format(1).encode())
    assert FOOTAGE.read_ground_truth(tmp_path / "truth.csv", ["c1"]) == {"c1": {1: [("Anna", (1, 2, 3, 4))]}}
    (tmp_path / "truth.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"`ground_truth` must be the .* Received: .*truth\.csv"):
        FOOTAGE.read_ground_truth(tmp_path / "truth.csv", ["c1"])


def test_a_ground_truth_that_a_spreadsheet_has_saved_is_read(tmp_path):
    (tmp_path / "truth.csv").write_bytes(b"\xef\xbb\xbf" + ROW.format(1).replace("\n", "\r\n").encode())
    assert FOOTAGE.read_ground_truth(tmp_path / "truth.csv", ["c1"]) == {"c1": {1: [("Anna", (1, 2, 3, 4))]}}


def test_what_a_person_has_decided_is_kept_and_shown_again(scene, run_script, tmp_path):
    pairs = {"same": [[["c1", "1"], ["c2", "3"]]], "different": [[["c1", "1"], ["c2", "2"]]]}
    (tmp_path / "decisions.json").write_text(json.dumps(pairs))
    rows = run(run_script, scene, tmp_path / "out", "--decisions", tmp_path / "decisions.json")
    people = {(row["camera"], row["track"]): row["identity"] for row in rows}
    assert people["c1", "1"] == people["c2", "3"] != people["c2", "2"]
    assert data_of(tmp_path / "out/cameras.html")["decisions"] == pairs


def test_a_gallery_names_people_again_and_one_of_another_network_is_refused(scene, run_script, tmp_path):
    options = ("--gallery", tmp_path / "people.db", *STARTS, "--people", 2)
    first, second = (run(run_script, scene, tmp_path / "out", *options) for _ in range(2))
    assert [row["name"] for row in first] == [row["name"] for row in second]
    assert {row["name"] for row in first} == {f"person {row['identity']}" for row in first}
    tracks = {(row["camera"], row["track"]): row["name"] for row in first}
    with closing(sqlite3.connect(tmp_path / "people.db")) as database:
        names = database.execute("SELECT identity FROM sightings").fetchall()
    assert sorted(name for (name,) in names) == sorted(tracks.values()), "the second run has added none"
    apart = next([one, other] for one in tracks for other in tracks if one < other and tracks[one] == tracks[other])
    (tmp_path / "decisions.json").write_text(json.dumps({"same": [], "different": [apart]}))
    third = run(run_script, scene, tmp_path / "out", *options, "--decisions", tmp_path / "decisions.json")
    names = {row["name"] for row in third if (row["camera"], row["track"]) in apart}
    assert len(names) == 2
    RECIPE.Gallery.open(tmp_path / "other.db", network="another", fingerprint="0" * 64).close()
    with pytest.raises(SystemExit, match=r"holds features of another .* with those of osnet_x0_25_people"):
        run(run_script, scene, tmp_path / "out", "--gallery", tmp_path / "other.db", *STARTS)


@pytest.mark.parametrize("images_too", [True, False])
def test_a_gallery_compares_by_the_probability_of_tracks_and_an_image_by_that_of_images(
    scene, run_script, tmp_path, monkeypatch, images_too
):
    kinds = {False: MatchProbability(9.0, 20.0), True: MatchProbability(9.0, 25.0)}  # tracks: True
    known = {kind: match for kind, match in kinds.items() if kind or images_too}
    of = lambda extractor, normalized, *, tracks=False: None if normalized else known.get(tracks)  # noqa: E731
    monkeypatch.setattr(FeatureExtractor, "match_of", of)
    used = {}
    for name in ("names_from", "search"):
        monkeypatch.setattr(RECIPE, name, lambda *given, name=name, **_: used.setdefault(name, given[3]) and {})
    run(run_script, scene, tmp_path / "out", "--gallery", tmp_path / "people.db", *STARTS)
    assert used == {"names_from": kinds[True], "search": kinds[not images_too]}


def test_the_files_of_a_network_share_its_gallery(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model = OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1))
    to_onnx(model, tmp_path / "network.onnx")
    to_tflite(model, tmp_path / "network.tflite")
    unnamed = onnx.load(tmp_path / "network.onnx")
    del unnamed.metadata_props[:]
    onnx.save(unnamed, tmp_path / "unnamed.onnx")
    monkeypatch.setenv("HOME", str(tmp_path))

    def opened(weights, network):
        options = SimpleNamespace(gallery=str(tmp_path / "people.db"), weights=weights)
        with RECIPE.open_gallery(options, FeatureExtractor(network)) as gallery:
            return gallery.fingerprint

    arrays = b"".join(array.tobytes() for array in model.get_weights())
    found = {opened("a network", model)}
    found |= {opened(path, path) for path in (str(tmp_path / "network.onnx"), "~/network.onnx", "~/network.tflite")}
    assert found == {hashlib.sha256(arrays).hexdigest()}
    with pytest.raises(ValueError, match="They cannot be compared with those of"):
        opened("~/unnamed.onnx", "~/unnamed.onnx")
    larger = OSNet(0.0625, "osnet_t1", (48, 32, 3), (1, 1, 1))
    larger.set_weights(model.get_weights())
    with pytest.raises(ValueError, match=r"images of 32x16\)\. They cannot be compared .* images of 48x32\)"):
        opened("larger", larger)


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        (
            {"same": [[["c1", "1"], ["c1", "2"]]], "different": []},
            "join track 1 of camera c1 and track 2 of camera c1: both are seen at one time. Received: ",
        ),
        (
            {"same": [[["c1", "1"], ["c2", "2"]], [["c1", "2"], ["c2", "2"]]], "different": []},
            "join track 2 of camera c1 and track 1 of camera c1: both are seen",
        ),
        (
            {"same": [[["c3", "7"], ["c1", "2"]]], "different": []},
            "join track 7 of camera c3 and track 2 of camera c1: `travel` leaves no time",
        ),
        (
            {"same": [[["c2", "2"], ["c1", "1"]]], "different": [[["c1", "1"], ["c2", "2"]]]},
            "join track 2 of camera c2 and track 1 of camera c1: they are two people by `different`",
        ),
        ({"same": [[["c1", "1"], ["c1", "1"]]], "different": []}, "saved by the page of the same videos"),
        ({"same": [[["c4", "1"], ["c1", "1"]]], "different": []}, "saved by the page of the same videos"),
        ({"same": [[["c1", "1"], ["c2", "9"]]], "different": []}, "saved by the page of the same videos"),
        ({"same": [[["c1", "1"]]], "different": []}, "saved by the page of the same videos"),
        ([], "saved by the page of the same videos"),
    ],
)
def test_decisions_that_cannot_be_are_refused(tmp_path, decisions, message):
    (tmp_path / "decisions.json").write_text(json.dumps(decisions))
    keys = [("c1", "1"), ("c1", "2"), ("c2", "2"), ("c3", "7")]
    tracks = [SIGHTINGS.Track(camera, [0, 1], np.ones((2, 3))) for camera, _ in keys]
    path, cameras, travel = tmp_path / "decisions.json", {"c1", "c2", "c3"}, {("c1", "c3"): 5.0}
    with pytest.raises(ValueError, match=message):
        RECIPE.possible(RECIPE.read_decisions(path, cameras), path, keys, tracks, travel)


def tracked_with(scene, boxes, extractor, decisions, travel):
    frames = {camera: FOOTAGE.Frames(scene / camera, 0.0, 10.0) for camera in boxes}
    options = RECIPE.Options(videos=(), decisions=scene / "decisions.json")
    return RECIPE.tracked(options, frames, boxes, extractor, decisions, travel)


def test_decisions_that_cannot_be_are_refused_before_features_are_computed(scene):
    boxes = {camera: FOOTAGE.read_boxes(scene / f"{camera}.txt")[0] for camera in ("c1", "c2")}
    decisions = {"same": [(("c1", "2"), ("c2", "3"))], "different": []}
    message = "must not join track 2 of camera c1 and track 3 of camera c2: `travel` leaves no time between them"
    with pytest.raises(ValueError, match=message):
        tracked_with(scene, boxes, None, decisions, {("c2", "c1"): 5.0})
    assert tracked_with(scene, boxes, Colours(), decisions, {})[1] == {"same": [(1, 3)], "different": []}


def test_with_decisions_the_tracks_are_those_of_a_run_without(scene):
    pytest.importorskip("trackers", reason="needs trackers")
    box = lambda image: np.array([box_of(0, 1, 0), box_of(1, 1, 0)], float)  # noqa: E731
    plain, none = tracked_with(scene, {"c1": box}, Colours(), {"same": [], "different": []}, {})
    keys = RECIPE.tracks_of(plain)[0]
    seen, pairs = tracked_with(scene, {"c1": box}, Colours(), {"same": [], "different": [keys]}, {})
    assert (none, pairs) == ({}, {"same": [], "different": [(0, 1)]})
    for name in ("frames", "times", "tracks", "boxes"):
        assert getattr(seen["c1"], name) == getattr(plain["c1"], name)
    np.testing.assert_array_equal(seen["c1"].features, plain["c1"].features)


def test_the_first_boxes_of_a_long_video_are_found_in_time():
    count = 40_000  # with a search through all boxes before each, half a minute
    tracks = [-1 - row if row % 2 == 0 else row for row in range(count)]
    seen = SIGHTINGS.Sightings("c1", frames=list(range(count)), tracks=tracks, boxes=[(0, 0, 9, 20)] * count)
    seen.images = dict.fromkeys(tracks, np.zeros((20, 9, 3), np.uint8))
    began = time.perf_counter()
    SIGHTINGS._add_first_boxes(seen)
    assert time.perf_counter() - began < 10
    assert seen.tracks == [row | 1 for row in range(count)]
    assert set(seen.images) == set(seen.tracks)


@pytest.mark.parametrize("heights", [(50, 40), (40, 50)])
def test_the_image_of_a_track_is_that_of_its_largest_box_also_if_that_is_the_first(heights):
    first, second = (np.full((height, 10, 3), height, np.uint8) for height in heights)
    boxes = [(0, 0, 10, height) for height in heights]
    seen = SIGHTINGS.Sightings("c1", frames=[1, 2], tracks=[-1, 7], boxes=boxes, images={-1: first, 7: second})
    SIGHTINGS._add_first_boxes(seen)
    assert seen.tracks == [7, 7]
    assert list(seen.images) == [7]
    assert (seen.images[7] == 50).all()


def test_a_camera_without_boxes_needs_no_tracker(scene, monkeypatch):
    monkeypatch.delattr(SIGHTINGS, "byte_track")
    assert seen_of(scene / "c1", {}).frames == []


def test_a_gallery_that_cannot_be_written_is_refused_before_the_work(scene, run_script, tmp_path, monkeypatch, capsys):
    options = ("--gallery", tmp_path / "people.db", *STARTS)
    run(run_script, scene, tmp_path / "first", *options)
    monkeypatch.setattr("keras_osnet.identities.stores.SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "people.db")) as another:
        another.execute("BEGIN IMMEDIATE")
        with pytest.raises(SystemExit):
            run(run_script, scene, tmp_path / "second", *options)
    assert "people.db is locked by another process" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_identities_are_kept_where_the_gallery_fails_at_the_end(scene, tmp_path, monkeypatch):
    def busy(*_, **__):
        raise TimeoutError("locked by another process")

    boxes = tuple(str(scene / f"c{camera}.txt") for camera in (1, 2))
    options = RECIPE.Options(
        videos=(str(scene / "c1"), str(scene / "c2")), boxes=boxes, fps=10.0, output=tmp_path / "out",
        start=STARTS[1:], gallery=str(tmp_path / "people.db"),
    )  # fmt: skip
    monkeypatch.setattr(RECIPE, "names_from", busy)
    with pytest.raises(TimeoutError, match="locked"):
        RECIPE.run_cameras(options)
    with open(tmp_path / "out/identities.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * FRAMES
    assert {row["name"] for row in rows} == {""}
    assert (tmp_path / "out/cameras.html").exists()


@pytest.mark.parametrize("step", ["write_page", "write_identities"])
def test_a_run_that_was_killed_while_it_wrote_its_results_may_be_repeated(
    scene, run_script, tmp_path, monkeypatch, step
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    boxes = tuple(str(scene / f"c{camera}.txt") for camera in (1, 2))
    videos = str(scene / "c1"), str(scene / "c2")
    options = RECIPE.Options(videos=videos, boxes=boxes, fps=10.0, output=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(RECIPE, step, killed)
        with pytest.raises(KeyboardInterrupt):
            RECIPE.run_cameras(options)
    assert len(run(run_script, scene, tmp_path)) == 2 * 2 * FRAMES


def test_names_that_are_not_utf8_are_refused_before_the_work(scene, run_script, tmp_path):
    folder, video = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/t\xfcr", b"/t\xfcr.mp4"))
    shutil.copytree(scene / "c1", folder)
    shutil.copyfile(scene / "c1.txt", video)
    received = r"error: File names must be UTF-8\. Received: 1 others: b'.*t\\xfcr"
    options = ("--fps", 10, "--output", tmp_path / "out")
    for source in (folder, f"door={video}"):
        with pytest.raises(SystemExit, match=received):
            run_script("recipes/cameras.py", source, *options)
    with pytest.raises(SystemExit, match=received):
        run_script("recipes/cameras.py", scene / "c1", "--fps", 10, "--output", f"{folder}/out", "--video-out")
    assert not (tmp_path / "out").exists()
    assert list(RECIPE.sources([f"door={folder}"])) == ["door"]


def test_rows_to_ignore_are_left_out_and_counted(scene, tmp_path, capsys):
    lines = (scene / "c1.txt").read_text().splitlines()
    lines[0] = lines[0].removesuffix("1,1,1") + "0,1,1"
    lines[1] = lines[1].removesuffix("1,1,1") + "1,3,1"
    (tmp_path / "boxes.txt").write_text("\n".join(lines).replace(",", "   "))
    boxes, skipped = FOOTAGE.read_boxes(tmp_path / "boxes.txt")
    assert sum(map(len, boxes.values())) == 2 * FRAMES - 2
    RECIPE.warn("door", skipped)
    assert capsys.readouterr().err == (
        "warning: camera door: 1 boxes are left out: flagged to be ignored\n"
        "warning: camera door: 1 boxes are left out: of class 3\n"
    )


def test_boxes_outside_of_their_frame_are_left_out_or_refused(scene):
    boxes = {1: [((300, 10, 340, 100), "x"), ((-20, 10, 30, 100), "y")], 2: [((0, -90, 40, 0), "x")]}
    seen = seen_of(scene / "c1", boxes)
    assert (seen.tracks, seen.boxes) == (["y"], [(0, 10, 30, 100)])
    assert seen.skipped["outside of their frame"] == 2
    with pytest.raises(ValueError, match="A box of frame 1 of camera c1 has no pixel in the frame"):
        seen_of(scene / "c1", boxes, refuse_outside=True)
    assert seen_of(scene / "c1", {1: boxes[1][:1]}).frames == []


def test_people_are_found_by_the_file_of_a_detector(scene, run_script, tmp_path, capsys):
    for package in ("trackers", "onnx", "motmetrics"):
        pytest.importorskip(package, reason=f"needs {package}")
    from tests.tflite.detectors import two_halves

    detector = two_halves(tmp_path / "two.onnx", (120, 130, 120), SIZE[1], SIZE[0])
    options = ("--detector", detector, "--detector-as", "0..255", "--people", 2, "--fps", 10)
    options += ("--ground-truth", scene / "ground_truth.csv", "--output", tmp_path / "out")
    run_script("recipes/cameras.py", scene / "c1", scene / "c2", *options)
    assert "two.onnx is read as end-to-end (1, 2, 6). People are class 0." in capsys.readouterr().out
    with open(tmp_path / "out/identities.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = sorted(
        (row["camera"], int(row["frame"]), [int(row[edge]) for edge in ("left", "top", "right", "bottom")])
        for row in rows
    )
    expected = sorted(
        (f"c{camera}", frame + 1, list(box_of(person, camera, frame)))
        for camera in (1, 2) for frame in range(FRAMES) for person in (0, 1)
    )  # fmt: skip
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], atol=2)
    assert json.loads((tmp_path / "out/scores.json").read_text())["camera_idf1"] == {"c1": 1, "c2": 1}


def test_a_detector_that_cannot_be_used_is_named_before_any_work(scene, run_script, tmp_path):
    options = ("--fps", 10, "--output", tmp_path / "out")
    with pytest.raises(SystemExit, match="`detector` and `boxes` must not be given both"):
        run(run_script, scene, tmp_path / "out", "--detector", "d.onnx")
    with pytest.raises(SystemExit, match=r"`detector_score` must be 0 .. 1"):
        run_script("recipes/cameras.py", scene / "c1", *options, "--detector", "d.onnx", "--detector-score", 2)
    with pytest.raises(SystemExit, match=r"There is no file d.onnx"):
        run_script("recipes/cameras.py", scene / "c1", *options, "--detector", "d.onnx")
    assert not (tmp_path / "out").exists()


def test_videos_without_people_are_refused(scene, run_script, tmp_path):
    (tmp_path / "boxes.txt").write_text("99,1,5,5,40,90\n")
    with pytest.raises(SystemExit, match="error: The videos must show people"):
        run(run_script, scene, tmp_path / "out", boxes=[tmp_path / "boxes.txt"] * 2)


def test_dropped_frames_keep_the_numbers_and_times_of_the_others(scene, tmp_path):
    shutil.copytree(scene / "c1", tmp_path / "door")
    (tmp_path / "door/000002.png").unlink()
    boxes = FOOTAGE.read_boxes(scene / "c1.txt")[0]
    seen = seen_of(tmp_path / "door", boxes)
    assert seen.frames[::2] == [1, 2, 4, 5, 6]
    np.testing.assert_allclose(seen.times[::2], [0, 0.1, 0.3, 0.4, 0.5])
    assert seen.boxes[4] == box_of(0, 1, 3)
    assert seen.skipped["of frames that are missing"] == 2


@pytest.mark.parametrize("dropped", [(), (2,)])
def test_boxes_without_tracks_get_those_of_bytetrack(scene, tmp_path, dropped):
    pytest.importorskip("trackers", reason="needs trackers")
    shutil.copytree(scene / "c1", tmp_path / "door")
    for number in dropped:
        (tmp_path / f"door/{number:06d}.png").unlink()
    boxes = {n: [(edges, None) for edges, _ in some] for n, some in FOOTAGE.read_boxes(scene / "c1.txt")[0].items()}
    seen = seen_of(tmp_path / "door", boxes)
    names = [set(seen.tracks[person::2]) for person in range(2)]
    assert [len(some) for some in names] == [1, 1]
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "cellar=3"], "`start` must name one of c1, c2. Received: cellar"),
        (["--start", "c1"], "`start` must be NAME=VALUE"),
        (["--start", "c1=soon"], "`start` must be NAME=SECONDS. Received: c1=soon"),
        (["--travel", "c1=3"], "`travel` must name one of c1,c1, "),
        (["--travel", "c1,c2=5", "c2,c1=-9"], "`travel` must be one number .* Received: c1,c2=5 and c2,c1=-9"),
        (["--gallery", "nowhere/people.db"], "`start` must be given .* Received: none for c1, c2"),
        (["--gallery", "nowhere/people.db", "--start", "c2=9"], "`start` must be given .* Received: none for c1"),
        (["--person-class", "0"], "`detector` must be given where these are: person_class"),
        (["--detector-overlap", "0"], "`detector` must be given where these are: detector_overlap"),
        (["--detector-score", ".4", "--detector-as", "bgr"], "where these are: detector_score, detector_as"),
        (["--false-matches", "0"], "`false_matches` must be between 0 and 1"),
        (["--people", "1"], "`people` must be at least 2"),
        (["--match", "ground_truth.csv"], "ground_truth.csv"),
        (["--ground-truth", "c1.txt"], "`ground_truth` must be the ground_truth.csv of a rendered scene"),
    ],
)
def test_wrong_options_are_named(scene, run_script, tmp_path, options, message):
    options = [str(scene / text) if (scene / text).is_file() else text for text in options]
    with pytest.raises(SystemExit, match=message):
        run(run_script, scene, tmp_path / "out", *options)
    assert not (tmp_path / "out/identities.csv").exists()


def test_folders_need_a_rate_and_each_camera_its_own_name_and_boxes(scene, run_script):
    with pytest.raises(SystemExit, match="`fps` must be given for folders"):
        run_script("recipes/cameras.py", scene / "c1")
    with pytest.raises(SystemExit, match="each name once"):
        run_script("recipes/cameras.py", scene / "c1", scene / "c1", "--fps", 10)
    with pytest.raises(SystemExit, match="one file for each of 1 videos"):
        run_script("recipes/cameras.py", scene / "c1", "--boxes", "a", "b", "--fps", 10)
    with pytest.raises(SystemExit, match="names without / "):
        run_script("recipes/cameras.py", f"../door={scene / 'c1'}", "--fps", 10)
    with pytest.raises(SystemExit, match="which does not exist"):
        run_script("recipes/cameras.py", "door=nowhere.mp4")
    with pytest.raises(SystemExit, match="`videos` must be a video, or a folder of images, for each camera"):
        run_script("recipes/cameras.py")
    assert list(RECIPE.sources([f"door={scene / 'c1'}", str(scene / "c2")])) == ["door", "c2"]


def test_weights_without_a_probability_need_one(scene, run_script, tmp_path):
    OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1)).save(tmp_path / "w.keras")
    with pytest.raises(SystemExit, match="`match` must be given for these weights"):
        run(run_script, scene, tmp_path / "out", "--weights", tmp_path / "w.keras")
    assert not (tmp_path / "out").exists()


def test_a_probability_of_euclidean_distances_is_none_for_tracks():
    of_images = {kind: MatchProbability(9, 3, metric="euclidean", normalized=kind) for kind in (False, True)}
    extractor = SimpleNamespace(match_of=lambda kind, tracks=False: None if tracks else of_images[kind])
    with pytest.raises(ValueError, match="`match` must be given for these weights"):
        RECIPE.matches_of(RECIPE.Options(videos=()), extractor)


def in_two_rooms(people):
    """Tracks of people in two cameras, whose rooms are most of every feature."""
    rng = np.random.default_rng(0)
    rooms, own = rng.normal(size=(2, 32)), rng.normal(size=(people, 32))
    return [
        SIGHTINGS.Track(
            f"c{camera}", [9.0 * person, 9.0 * person + 1], np.tile(4 * rooms[camera] + own[person], (2, 1))
        )
        for camera in (0, 1)
        for person in range(people)
    ]


def test_what_all_images_of_a_camera_have_in_common_is_removed_where_it_has_enough_tracks():
    tracks = in_two_rooms(8)
    matches = {False: MatchProbability(10, 20), True: MatchProbability(10, 14, normalized=True)}
    compared, match = SIGHTINGS.comparable(tracks, matches)
    assert match is matches[True]
    features = np.stack([track.feature for track in compared])
    nearest = (features[:8] @ features[8:].T).argmax(axis=1)
    assert nearest.tolist() == list(range(8))
    assert [(track.camera, track.start) for track in compared] == [(track.camera, track.start) for track in tracks]
    plain = np.stack([track.feature for track in tracks])
    assert (plain[:8] @ plain[:8].T).min() > 0.8, "the people of a room look alike without it"
    for some in (tracks[:12], in_two_rooms(4), []):
        assert SIGHTINGS.comparable(some, matches) == (some, matches[False])
    assert SIGHTINGS.comparable(tracks, {False: matches[False]}) == (tracks, matches[False])
    with pytest.raises(ValueError, match="`match` must be fitted without --camera-normalization"):
        SIGHTINGS.comparable(in_two_rooms(4), {True: matches[True]})


def test_images_and_galleries_need_a_probability_of_features_with_camera_means(scene, run_script, tmp_path):
    (tmp_path / "match.json").write_text(json.dumps(MATCH | {"normalized": True}))
    options = ("--match", tmp_path / "match.json", "--gallery", tmp_path / "people.db", *STARTS)
    with pytest.raises(SystemExit, match="without --camera-normalization for `gallery` and `find`"):
        run(run_script, scene, tmp_path / "out", *options)
    with pytest.raises(SystemExit, match="where a camera has fewer than 5 tracks"):
        run(run_script, scene, tmp_path / "out", *options[:2])


def test_a_probability_comes_from_a_file_or_a_report_of_scores(tmp_path):
    options = RECIPE.Options(videos=(), match=tmp_path / "match.json")
    scores = MATCH | {"metric": "cosine", "same": 9, "different": 9, "fitted_on": "", "brier": 0.1}
    for content in (MATCH, {"rank1": 0.5, "match_probability": {"market1501": scores}}):
        options.match.write_text(json.dumps(content))
        (match,) = RECIPE.matches_of(options, None).values()
        assert match.slope == MatchProbability(**MATCH).slope
    both = {
        "match_probability": {"market1501": scores},
        "track_match_probability": {"market1501": scores | {"slope": 7.0}},
    }
    options.match.write_text(json.dumps(both))
    assert RECIPE.matches_of(options, None)[False].slope == 7
    options.match.write_text("{}")
    with pytest.raises(ValueError, match="`match` must hold a MatchProbability"):
        RECIPE.matches_of(options, None)


def test_a_video_is_read_with_its_times_and_written_with_names(scene, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    video = cv2.VideoWriter(str(tmp_path / "door.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, SIZE)
    for path in sorted((scene / "c1").iterdir()):
        video.write(np.asarray(Image.open(path))[..., ::-1].copy())
    video.release()
    frames = FOOTAGE.Frames(tmp_path / "door.mp4", start=7.0)
    numbers, times, images = zip(*frames, strict=True)
    assert numbers == tuple(range(1, FRAMES + 1))
    np.testing.assert_allclose(times, 7 + np.arange(FRAMES) / 5, atol=0.01)
    left, top, right, bottom = box_of(0, 1, 0)
    original = np.asarray(Image.open(scene / "c1/000000.png")).astype(int)
    assert abs(images[0].astype(int) - original)[top:bottom, left:right].mean() < 12
    boxes = FOOTAGE.read_boxes(scene / "c1.txt")[0]
    seen = SIGHTINGS.sightings_of("door", frames, boxes, Colours(), rate=5.0)
    (tmp_path / ".unfinished.mp4").write_bytes(b"of a run that was killed")
    RECIPE.write_video(tmp_path / "out.mp4", frames, seen, {("door", "1"): 1, ("door", "2"): 2})
    drawn = [image for _, _, image in FOOTAGE.Frames(tmp_path / "out.mp4")]
    assert len(drawn) == FRAMES
    assert {path.name for path in tmp_path.iterdir()} == {"door.mp4", "out.mp4"}
    assert abs(drawn[0].astype(int) - images[0])[top - 1 : top + 1, left:right].mean() > 40  # the upper edge


def test_without_boxes_the_detector_of_opencv_looks_for_people():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    if not hasattr(cv2, "HOGDescriptor"):
        with pytest.raises(ValueError, match="opencv-python-headless<5"):
            FOOTAGE.people_detector()
        return
    detect = FOOTAGE.people_detector()
    for size in ((160, 120), (128, 64)):
        assert detect(np.full((*size, 3), 90, np.uint8)).shape == (0, 4)
    for height, width in ((127, 64), (128, 63), (1, 1), (100, 300)):  # some of these ended Python
        with pytest.raises(ValueError, match=f"frames of 64 x 128 pixels or more.*Received: {width} x {height}"):
            detect(np.full((height, width, 3), 90, np.uint8))


def test_the_page_merges_splits_searches_and_saves(results, browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((results[0] / "cameras.html").as_uri())
    bars = lambda: page.eval_on_selector_all(".person", "all => all.map(p => p.querySelectorAll('.bar').length)")  # noqa: E731
    before = bars()
    assert sum(before) == 4
    page.hover("[data-track='0']")
    assert page.is_visible("#card img")
    page.click("[data-track='0']")
    page.click("#search")
    assert page.locator(".hit").count() == 3
    if page.is_enabled("#split"):
        page.click("#split")
        assert len(bars()) == len(before) + 1
        page.click("[data-track='0']")
    page.click("[data-track='1']")
    assert page.is_disabled("#merge")  # both are in one camera at one time
    page.click("[data-track='1']")
    page.click("[data-track='3']")
    if page.is_enabled("#merge"):
        page.click("#merge")
    with page.expect_download() as saved:
        page.click("#save")
    found = json.loads(saved.value.path().read_text())
    assert set(found) == {"same", "different"}
    assert found["same"] or found["different"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not errors


def opened(browser, page, people):
    """A tab with the page of a run with 4 tracks, whose identities are `people`, all at other times; and its data."""
    data, page = data_of(page), page.read_text()
    for number, (row, identity) in enumerate(zip(data["tracks"], people, strict=True)):
        row |= {"identity": identity, "start": 9 * number, "end": 9 * number + 1}
    start = page.index(">", page.index('<script id="data"')) + 1
    tab = browser.new_page()
    tab.set_content(page[:start] + json.dumps(data) + page[page.index("</script>", start) :])
    return tab, data


def click(tab, clicks):
    """Clicks tracks and buttons, by their ids."""
    for each in clicks:
        tab.click(f"#{each}" if isinstance(each, str) else f"[data-track='{each}']")


def saved_by(browser, page, people, clicks):
    """The decisions that a page saves, and the people that it then shows."""
    tab, data = opened(browser, page, people)
    click(tab, clicks)
    with tab.expect_download() as saved:
        tab.click("#save")
    names = [f"{row['camera']}/{row['track']}" for row in data["tracks"]]
    found = json.loads(saved.value.path().read_text())
    pairs = {kind: [{names.index("/".join(key)) for key in pair} for pair in some] for kind, some in found.items()}
    return pairs, tab.evaluate("tracks.map((t) => t.identity)")


@pytest.mark.parametrize(
    ("people", "clicks", "same", "different", "shown"),
    [
        ([1, 1, 2, 3], [0, 2, "merge", 0, "split"], [{1, 2}], [{0, 1}, {0, 2}], [4, 1, 1, 3]),
        ([1, 1, 2, 2], [0, 2, "merge", 0, 2, "split"], [{0, 2}, {1, 3}], [{0, 1}, {0, 3}, {1, 2}, {2, 3}],
         [3, 1, 3, 1]),
        ([1, 1, 2, 3], [0, 2, 3, "merge", 0, "split", 1, "split"], [{2, 3}], [{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}],
         [4, 5, 1, 1]),
        ([1, 1, 1, 2], [0, "split"], [], [{0, 1}, {0, 2}], [3, 1, 1, 2]),
    ],
)  # fmt: skip
def test_a_split_keeps_what_a_merge_has_decided(results, browser, people, clicks, same, different, shown):
    pairs, identities = saved_by(browser, results[0] / "cameras.html", people, clicks)
    assert sorted(map(sorted, pairs["same"])) == sorted(map(sorted, same))
    assert sorted(map(sorted, pairs["different"])) == sorted(map(sorted, different))
    assert identities == shown


@pytest.mark.parametrize(
    ("people", "clicks", "same", "shown"),
    [
        ([1, 1, 2, 2], [0, 2, "merge"], [{0, 1}, {0, 2}, {0, 3}], [1, 1, 1, 1]),
        ([1, 2, 2, 3], [1, 3, "merge", 0, 3, "merge"], [{0, 1}, {0, 2}, {0, 3}], [1, 1, 1, 1]),
        ([1, 2, 3, 3], [0, 1, "merge"], [{0, 1}], [1, 1, 3, 3]),
    ],
)
def test_a_merge_decides_on_all_tracks_of_both_people(results, browser, people, clicks, same, shown):
    pairs, identities = saved_by(browser, results[0] / "cameras.html", people, clicks)
    assert sorted(map(sorted, pairs["same"])) == sorted(map(sorted, same))
    assert pairs["different"] == []
    assert identities == shown


def test_found_tracks_are_named_as_a_merge_has_decided(results, browser):
    tab, _ = opened(browser, results[0] / "cameras.html", [1, 1, 2, 3])
    shown = lambda: sorted(text.split(",")[0] for text in tab.locator(".hit").all_inner_texts())  # noqa: E731
    click(tab, [0, "search"])
    assert shown() == ["person 1", "person 2", "person 3"]
    click(tab, [2, "merge"])
    assert shown() == ["person 1", "person 1", "person 3"]
    click(tab, ["clear"])
    assert shown() == []


def test_a_search_orders_tracks_that_are_improbable_too(results, browser):
    tab, _ = opened(browser, results[0] / "cameras.html", [1, 2, 3, 4])
    tab.evaluate("odds[0].splice(0, 4, 0, -600, -700, -500)")  # .2 %, .1 % and .7 %
    click(tab, [0, "search"])
    texts = [text.replace("\xa0", " ") for text in tab.locator(".hit").all_inner_texts()]
    assert texts == ["person 4, 1 %", "person 2, 0 %", "person 3, 0 %"]


def test_the_page_warns_before_decisions_are_lost_until_they_are_saved(results, browser):
    tab, _ = opened(browser, results[0] / "cameras.html", [1, 1, 2, 3])
    warns = lambda: tab.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")  # noqa: E731
    assert not warns()
    click(tab, [0, 2, "merge"])
    assert warns()
    with tab.expect_download():
        tab.click("#save")
    assert not warns()
    click(tab, [0, "split"])
    assert warns()


def test_files_of_others_are_never_overwritten(scene, run_script, tmp_path):
    (tmp_path / "identities.csv").write_text("name,room\n")
    with pytest.raises(SystemExit, match=r"error: `output` must be another folder than that of the videos or other"):
        run(run_script, scene, tmp_path)
    assert (tmp_path / "identities.csv").read_text() == "name,room\n"
    assert not (tmp_path / "cameras.html").exists()


def test_footage_is_never_overwritten(scene, run_script, tmp_path):
    (tmp_path / "c1.mp4").write_bytes(b"a recording")
    with pytest.raises(SystemExit, match="error: `output` must be another folder than that of the videos"):
        run(run_script, scene, tmp_path, "--video-out")
    (tmp_path / "yard.mp4").write_bytes(b"another one")
    videos = f"yard={tmp_path / 'c1.mp4'}", f"gate={tmp_path / 'yard.mp4'}"
    with pytest.raises(SystemExit, match="error: `output` must be another folder than that of the videos"):
        run_script("recipes/cameras.py", *videos, "--output", tmp_path, "--video-out")
    assert (tmp_path / "c1.mp4").read_bytes() == b"a recording"


@pytest.mark.parametrize(("name", "options"), [("c1.mp4", ["--video-out"]), ("scores.json", ["--ground-truth"])])
@pytest.mark.parametrize("listed", [True, False])
def test_files_beside_earlier_results_are_kept(results, scene, run_script, tmp_path, name, options, listed):
    output = shutil.copytree(results[0], tmp_path / "out")
    if not listed:  # as the pages of earlier versions
        page = (output / "cameras.html").read_text()
        (output / "cameras.html").write_text(page.replace(', "files": ["identities.csv"]}', "}"))
        assert "files" not in data_of(output / "cameras.html")
    assert RESULTS.results_of(output / "cameras.html") == {"identities.csv"}
    (output / name).write_text("mine")
    options = [*options, *[scene / "ground_truth.csv"] * (name == "scores.json")]
    with pytest.raises(SystemExit, match=rf"or no result that cameras\.html lists: {name}"):
        run(run_script, scene, output, *options)
    assert (output / name).read_text() == "mine"
    (output / name).write_text('{\n  "idf1": 1')
    known = {"identities.csv", *["scores.json"] * (name == "scores.json" and not listed)}
    assert RESULTS.results_of(output / "cameras.html") == known


def test_results_of_earlier_runs_are_replaced(scene, run_script, tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV")
    results = {"identities.csv", "c1.mp4", "c2.mp4"}
    for options in ([], ["--video-out"], [], ["--video-out"]):
        run(run_script, scene, tmp_path, *options)
        known = RESULTS.results_of(tmp_path / "cameras.html")
        assert known == (results if (tmp_path / "c1.mp4").exists() else {"identities.csv"})
        assert {path.name for path in tmp_path.iterdir()} == {"cameras.html", *known}
    (tmp_path / "c1.mp4").unlink()
    assert RESULTS.results_of(tmp_path / "cameras.html") == results - {"c1.mp4"}


def test_an_image_to_find_is_read_before_the_gallery_is_changed(scene, run_script, tmp_path):
    options = ("--gallery", tmp_path / "people.db", *STARTS)
    with pytest.raises(SystemExit, match=r"error: .*missing\.jpg"):
        run(run_script, scene, tmp_path, *options, "--find", tmp_path / "missing.jpg")
    assert not (tmp_path / "identities.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fps", 0), "`fps` must be positive"),
        (("--fps", -5), "`fps` must be positive"),
        (("--match", "flat.json"), "`match` must be fitted on cosine distances, with a slope above 0"),
        (("--match", "euclidean.json"), "`match` must be fitted on cosine distances, with a slope above 0"),
    ],
)
def test_rates_and_probabilities_that_cannot_be_used_are_refused(scene, run_script, tmp_path, options, message):
    (tmp_path / "flat.json").write_text(json.dumps(MATCH | {"slope": 0.0}))
    (tmp_path / "euclidean.json").write_text(json.dumps(MATCH | {"metric": "euclidean"}))
    options = [tmp_path / option if str(option).endswith(".json") else option for option in options]
    with pytest.raises(SystemExit, match=f"error: {message}"):
        run(run_script, scene, tmp_path, *options)


def test_a_folder_without_images_is_no_camera(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty, which has no images"):
        FOOTAGE.Frames(tmp_path / "empty", fps=10)


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path):
    (tmp_path / "a=b.mp4").write_bytes(b"")
    assert FOOTAGE.sources([str(tmp_path / "a=b.mp4")]) == {"a=b": tmp_path / "a=b.mp4"}


def test_a_camera_with_an_equals_sign_in_its_name_may_have_a_time():
    assert RECIPE.seconds_of(("a=b=-2.5", "c=1"), "start", {"a=b": "a=b", "c": "c"}) == {"a=b": -2.5, "c": 1.0}
    file = "cafe\u0301"  # as some systems write the name of a file that is typed caf\u00e9
    assert RECIPE.seconds_of(("caf\u00e9=2",), "start", {file: file}) == {file: 2.0}
    for text, message in (("c", "must be NAME=VALUE"), ("c=", "must be NAME=VALUE"), ("c=x", "must be NAME=SECONDS")):
        with pytest.raises(ValueError, match=f"`start` {message}.* Received: {text}"):
            RECIPE.seconds_of((text,), "start", {"c": "c"})


def test_the_name_of_a_folder_may_have_dots(tmp_path):
    folders = {name: tmp_path / name for name in ("10.0.0.7", "10.0.0.8")}
    for folder in folders.values():
        folder.mkdir()
    assert FOOTAGE.sources(list(map(str, folders.values()))) == folders


def test_an_image_whose_feature_is_zero_resembles_nobody(capsys):
    track, match = SimpleNamespace(feature=np.array([0.6, 0.8])), MatchProbability(**MATCH)
    arguments = [track], match, 0.5, [("door", "1")], {("door", "1"): 4}
    (found,) = RECIPE.search([Path("black.jpg")], [np.zeros(2, "float32")], *arguments)
    assert found == {"name": "black.jpg", "order": [0], "percent": [0]}  # cosine 0: sigmoid(9 - 30) = 8e-10
    assert "black.jpg: person 4, probability 0.000, camera door" in capsys.readouterr().out
