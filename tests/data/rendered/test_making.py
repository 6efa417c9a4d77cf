"""Sets of rendered people, made in processes of their own."""

import csv
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data import load
from keras_osnet.data.rendered import jobs, making, workers
from keras_osnet.data.rendered.dataset import FOLDER, PARTS, RECORDS, TRAIN, PeopleSettings, shots
from keras_osnet.data.rendered.making import make
from keras_osnet.files import locked

SETTINGS = PeopleSettings(
    seed=11,
    identities=2,
    images=3,
    cameras=4,
    validation_identities=1,
    validation_cameras=3,
    distractors=1,
    changes=0.5,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    root = tmp_path_factory.mktemp("made")
    make(SETTINGS, root, cache=cache, processes=2)
    return root


def interrupted(made, root):
    """A copy of the set that is not marked as complete. Returns its folder."""
    folder = root / FOLDER
    shutil.copytree(made / FOLDER, folder)
    settings = (folder / "settings.json").read_text()
    (folder / "settings.json").write_text(settings.replace('"complete": true', '"complete": false'))
    return folder


def files_of(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted((root / FOLDER).rglob("*")) if p.is_file()}


def test_one_process_gives_the_same_bytes_as_two(made, cache, tmp_path):
    make(SETTINGS, tmp_path, cache=cache, processes=1)
    assert files_of(tmp_path) == files_of(made)


def test_another_seed_gives_other_images(made, cache, tmp_path):
    make(replace(SETTINGS, seed=12), tmp_path, cache=cache, processes=2)
    both = [{content for name, content in files_of(root).items() if name.endswith(".jpg")} for root in (made, tmp_path)]
    assert both[0].isdisjoint(both[1])


def test_images_have_the_size_of_the_settings_and_show_something(made):
    splits = load("people", made)
    assert [len(part) for part in (splits.train, splits.query, splits.gallery)] == [6, 3, 10]
    for record in (*splits.train, *splits.query, *splits.gallery):
        image = Image.open(record.path)
        assert (image.size, image.mode) == ((64, 128), "RGB")
        assert np.asarray(image).std() > 8


def test_labels_name_the_box_of_the_body_and_how_much_of_it_is_seen(made):
    lines = (made / FOLDER / "labels.csv").read_text().splitlines()
    header = lines[0].split(",")
    for line in lines[1:]:
        row = dict(zip(header, line.split(","), strict=True))
        left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
        assert right - left > 5
        assert bottom - top > 60
        assert 0.2 < float(row["visible"]) <= 1


def test_card_licence_and_identities_lie_beside_the_images(made):
    folder = made / FOLDER
    assert "CC0 1.0" in (folder / "LICENSE").read_text()
    card = (folder / "README.md").read_text()
    assert "19 images of 4 people who do not exist" in card
    assert "| female |" in card or "| male |" in card
    assert len((folder / "identities.csv").read_text().splitlines()) == 1 + 4


def test_a_complete_set_is_not_made_again(made, cache):
    before = {p: p.stat().st_mtime_ns for p in (made / FOLDER).rglob("*")}
    make(SETTINGS, made, cache=cache)
    assert {p: p.stat().st_mtime_ns for p in (made / FOLDER).rglob("*")} == before


@pytest.mark.parametrize("damage", ["missing record", "missing image", "half an image"])
def test_an_interrupted_set_goes_on_with_what_is_missing(made, cache, tmp_path, damage):
    folder = interrupted(made, tmp_path)
    (folder / ".settings.json.123.tmp").touch()  # of the write in which it was killed
    image = folder / shots(SETTINGS, TRAIN, 1)[0].file
    if damage == "missing record":
        (folder / RECORDS / jobs.person_record(TRAIN, 1)).unlink()
    elif damage == "missing image":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:100])
    done = []
    make(SETTINGS, tmp_path, cache=cache, report=lambda *counts: done.append(counts))
    assert done == [(1, 1, 3)]
    (folder / ".settings.json.123.tmp").unlink()
    assert files_of(tmp_path) == files_of(made)


def test_a_first_write_that_was_killed_is_no_foreign_file(made, cache, tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".settings.json.123.tmp").touch()
    assert not making.refuse_other(tmp_path / FOLDER, SETTINGS)


def test_a_complete_set_that_has_lost_an_image_is_completed(made, cache, tmp_path):
    shutil.copytree(made / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / shots(SETTINGS, TRAIN, 1)[0].file).unlink()
    make(SETTINGS, tmp_path, cache=cache)
    assert files_of(tmp_path) == files_of(made)
    shutil.rmtree(tmp_path / FOLDER / RECORDS)  # of a copy without hidden files
    make(SETTINGS, tmp_path, cache=cache, report=lambda *_: pytest.fail("it is complete"))


@pytest.mark.parametrize("table", ["labels.csv", "identities.csv"])
def test_a_complete_set_that_has_lost_a_table_gets_it_again_without_rendering(made, cache, tmp_path, table):
    shutil.copytree(made / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / table).unlink()
    make(SETTINGS, tmp_path, parts="none.whl", report=lambda *_: pytest.fail("no image is missing"))
    assert files_of(tmp_path) == files_of(made)


def test_a_process_that_dies_at_once_is_named_and_the_others_are_closed(tmp_path, monkeypatch):
    (tmp_path / "dies.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(workers, "SCRIPT", tmp_path / "dies.py")
    started, init = [], workers.Worker.__init__

    def start(worker):
        init(worker)
        worker.process.wait()
        started.append(worker)

    monkeypatch.setattr(workers.Worker, "__init__", start)
    with pytest.raises(OSError, match="A rendering process ended with code 3"):
        workers.run({}, [{}] * 3, processes=3, report=None)
    assert all(worker.process.stdin.closed for worker in started)


def test_ctrl_c_in_a_terminal_does_not_reach_the_rendering_processes():
    """A terminal sends it to the whole process group, and each of them would print a traceback."""
    worker = workers.Worker()
    try:
        assert os.getpgid(worker.process.pid) != os.getpgrp()
    finally:
        worker.close()


def test_a_folder_with_another_seeds_images_is_refused_by_name(made, cache):
    with pytest.raises(ValueError, match=r"It differs in seed: 11 there, 12 asked for\. Name another output folder"):
        make(replace(SETTINGS, seed=12), made, cache=cache)


def test_a_folder_with_other_files_is_refused(cache, tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="must be empty or hold rendered people"):
        make(SETTINGS, tmp_path, cache=cache)
    assert [p.name for p in (tmp_path / FOLDER).iterdir()] == ["mine.txt"]


def test_a_folder_that_another_process_renders_into_is_refused(cache, tmp_path):
    with locked(tmp_path / FOLDER), pytest.raises(TimeoutError, match="locked by another process"):
        make(SETTINGS, tmp_path, cache=cache)


def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_complete_people(made, cache, tmp_path):
    folder = interrupted(made, tmp_path)
    (folder / RECORDS / jobs.person_record(TRAIN, 1)).unlink()
    full = folder / shots(SETTINGS, TRAIN, 1)[2].file
    full.unlink()
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"{full.name} cannot be written.*run the same command again"):
        make(SETTINGS, tmp_path, cache=cache)
    assert not jobs.complete(folder, jobs.person_record(TRAIN, 1))
    assert jobs.complete(folder, jobs.person_record(TRAIN, 0))
    full.unlink(missing_ok=True)
    make(SETTINGS, tmp_path, cache=cache)
    assert files_of(tmp_path) == files_of(made)


def test_a_machine_without_egl_is_told_the_packages(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere.json")
    with pytest.raises(OSError, match="apt-get install libegl1 libgl1-mesa-dri"):
        make(SETTINGS, tmp_path, cache=cache)


def test_without_moderngl_the_extra_is_named(cache, tmp_path, monkeypatch):
    (tmp_path / "moderngl.py").write_text("raise ModuleNotFoundError('none', name='moderngl')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ImportError, match=r"pip install 'keras-osnet\[people\]'"):
        make(SETTINGS, tmp_path, cache=cache)


def test_no_processes_are_refused(cache, tmp_path):
    with pytest.raises(ValueError, match=r"`processes` must be positive\. Received: processes=0"):
        make(SETTINGS, tmp_path, cache=cache, processes=0)


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "null", "[" * 100_000, '{"bytes": []}', '{"bytes": {"a.jpg": 1}}', '{"bytes": {}}']
)
def test_a_damaged_record_is_not_complete(tmp_path, record):
    (tmp_path / RECORDS).mkdir()
    (tmp_path / RECORDS / "0-000000.json").write_text(record)
    assert not jobs.complete(tmp_path, "0-000000.json")
    (tmp_path / RECORDS / "0-000000.json").write_text('{"bytes": {}, "rows": []}')
    assert jobs.complete(tmp_path, "0-000000.json")


@pytest.mark.parametrize("part", PARTS)
def test_a_set_without_a_part_shows_the_same_people_otherwise(part, cache, tmp_path):
    settings = replace(SETTINGS, identities=1, images=8)  # two images of each camera
    for name, without in (("whole", ()), ("less", (part,))):
        make(replace(settings, without=without), tmp_path / name, cache=cache, processes=2)
    whole, less = (
        {name: content for name, content in files_of(tmp_path / root).items() if name.endswith(".jpg")}
        for root in ("whole", "less")
    )
    assert whole.keys() == less.keys()
    # The first three cameras are in one place anyway.
    expected = {name for name in whole if part != "scenes" or "_c004" in name}
    assert {name for name in whole if whole[name] != less[name]} == expected
    assert expected
    if part == "clothes":
        with open(tmp_path / "less" / FOLDER / "labels.csv", newline="") as file:
            worn = [
                row[name] for row in csv.DictReader(file) for name in ("upper_pattern", "upper_print", "coat", "bag")
            ]
        assert set(worn) == {"0"}
