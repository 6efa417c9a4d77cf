"""The file of known people; without a network."""

import errno
import io
import os
import socket
import stat
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import gallery as gallery_module
import numpy as np
import pytest
from gallery import Gallery

ROOT = Path(__file__).resolve().parents[2]
MODEL = "ab" * 32


def people(path, features=((1, 0, 0), (0, 1, 0), (1, 1, 0)), names=("Ann", "Ann", "Bob")):
    gallery = Gallery(path, MODEL)
    gallery.append(names, np.array(features, float))
    gallery.save()
    return gallery


def test_features_are_rounded_to_int8_with_the_scale_that_makes_their_length_1(tmp_path):
    features = np.random.default_rng(3).normal(size=(5, 7)) * [[1], [1e-3], [50], [1], [7]]
    gallery = people(tmp_path / "p.npz", features, "abcde")
    for row, feature in enumerate(features):
        largest = max(abs(value) for value in feature)
        expected = [round(127 * value / largest) for value in feature]
        np.testing.assert_array_equal(gallery.features[row], expected)
        assert gallery.scales[row] == pytest.approx(sum(value * value for value in expected) ** -0.5, rel=1e-6)


def test_the_search_returns_each_person_once_with_the_cosine_to_the_most_similar_feature(tmp_path):
    features = [(1, 0, 0), (0, 0, 5), (0, 3, 0), (-1, 0, 0), (2, 2, 0)]
    gallery = people(tmp_path / "p.npz", features, ["Ann", "Cid", "Ann", "Cid", "Bob"])
    found = gallery.search(np.array([0.0, 9, 0]), 3)
    assert [name for name, _ in found] == ["Ann", "Bob", "Cid"]
    np.testing.assert_allclose([cosine for _, cosine in found], [1, 2**-0.5, 0], atol=1e-6)
    assert [name for name, _ in gallery.search(np.array([-1.0, 0, 1]), 2)] == ["Cid", "Ann"]
    several = gallery.similarities([[0, 9, 0], [-1, 0, 0]])
    np.testing.assert_allclose(several, [[1, 2**-0.5, 0], [0, -(2**-0.5), 1]], atol=1e-6)


def test_a_gallery_of_several_blocks_is_searched_as_a_plain_loop_does(tmp_path):
    g = np.random.default_rng(5)
    features, query = g.normal(size=(9001, 8)), g.normal(size=8)
    names = [f"p{i % 700}" for i in range(len(features))]
    gallery = Gallery(tmp_path / "p.npz", MODEL)
    gallery.append(names, features)
    best = {}
    for name, feature in zip(names, features, strict=True):
        cosine = feature @ query / np.linalg.norm(feature) / np.linalg.norm(query)
        best[name] = max(cosine, best.get(name, -1))
    found = dict(gallery.search(query, 700))
    np.testing.assert_allclose([found[name] for name in best], list(best.values()), atol=0.02)
    with pytest.raises(ValueError, match=r"`k` must be 1 or more. Received: k=-1"):
        gallery.search(query, -1)


def test_a_saved_gallery_is_an_ordinary_npz_and_loads_as_it_was(tmp_path):
    path = tmp_path / "p.npz"
    people(path, names=("José", "Ann Lee", "José"))
    with np.load(path) as arrays:
        assert list(arrays["names"]) == ["Ann Lee", "José", "José"]
        np.testing.assert_array_equal(arrays["features"], [[0, 127, 0], [127, 0, 0], [127, 127, 0]])
        assert arrays["features"].dtype == np.int8
        assert str(arrays["model"]) == MODEL
    loaded = Gallery.load(path, MODEL)
    assert list(loaded.people) == ["Ann Lee", "José"]
    assert loaded.search(np.array([0.0, 1, 0]), 1) == [("Ann Lee", pytest.approx(1))]
    assert str(loaded) == f"{path}: 3 features of 2 people"


def test_adding_and_removing_change_that_person_only(tmp_path):
    gallery = people(tmp_path / "p.npz")
    assert gallery.append(["Zoe", "Ann", "Zoe"], np.eye(3)[[2, 0, 2]]) == 1  # Ann's is there, Zoe's comes twice
    assert gallery.remove("Ann") == 2
    gallery.save()
    loaded = Gallery.load(gallery.path, MODEL)
    assert list(loaded.names) == ["Bob", "Zoe"]
    np.testing.assert_array_equal(loaded.features, [[127, 127, 0], [0, 0, 127]])
    loaded.remove("Bob")
    loaded.remove("Zoe")
    loaded.save()
    with pytest.raises(ValueError, match="must hold people"):
        Gallery.load(gallery.path, MODEL).search(np.ones(3), 1)


def test_a_name_is_found_in_either_of_its_unicode_forms(tmp_path):
    gallery = people(tmp_path / "p.npz", names=("Jose\u0301", "Bob", "Bob"))
    assert gallery.remove("Jos\u00e9") == 1


def test_any_changed_byte_and_any_cut_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "p.npz"
    people(path)
    whole = path.read_bytes()
    changed = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
    cut = [whole[:i] for i in range(0, len(whole), 37)]
    for content in [*changed, *cut, whole + b"\0", b"no gallery"]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="changed or cut short"):
            Gallery.load(path, MODEL)
        assert path.read_bytes() == content


def test_a_gallery_of_another_model_is_refused(tmp_path):
    people(tmp_path / "p.npz")
    message = r"another model: another file \(SHA-256 abababababab\.\.\.\).* those of new.tflite \(SHA-256 cdcdcdcdcdcd"
    with pytest.raises(ValueError, match=message):
        Gallery.load(tmp_path / "p.npz", "cd" * 32, "new.tflite")
    with Gallery.changing(tmp_path / "q.npz", MODEL, "old.tflite", new=True) as gallery:
        gallery.append(["Ann"], np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"another model: old\.tflite .* those of new\.tflite"):
        Gallery.load(tmp_path / "q.npz", "cd" * 32, "new.tflite")
    with pytest.raises(FileNotFoundError, match=r"no gallery .*absent\.npz"):
        Gallery.load(tmp_path / "absent.npz", MODEL)


GOOD = {
    "format": 1,
    "model": MODEL,
    "names": np.array(["Ann", "Bob"]),
    "features": np.int8([[3, 4], [0, 1]]),
    "scales": np.float32([0.2, 1]),
}


def test_files_of_the_same_weights_share_a_gallery_and_others_do_not(tmp_path):
    path, weights = tmp_path / "p.npz", "cd" * 32
    gallery = Gallery(path, MODEL, "first.tflite", weights)
    gallery.append(["Ann"], [[1, 0, 0]])
    gallery.save()
    with Gallery.changing(path, "ef" * 32, "second.tflite", weights) as gallery:
        gallery.append(["Bob"], [[0, 1, 0]])
    for model in (MODEL, "ef" * 32):
        assert Gallery.load(path, model, "x.tflite", weights).names.tolist() == ["Ann", "Bob"]
    assert Gallery.load(path, MODEL).network in ("", "first.tflite")
    for other in ("99" * 32, ""):
        with pytest.raises(ValueError, match=r"of another model: first\.tflite"):
            Gallery.load(path, "ef" * 32, "second.tflite", other)


def test_files_of_two_input_sizes_of_the_same_weights_share_no_gallery(tmp_path):
    path, weights = tmp_path / "p.npz", "cd" * 32
    with Gallery.changing(path, MODEL, "large.tflite", weights, "256x128", new=True) as gallery:
        gallery.append(["Ann"], [[1, 0, 0]])
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"images of 256x128, .* those of small\.tflite, of images of 128x64\. It was"):
        Gallery.load(path, "ef" * 32, "small.tflite", weights, "128x64")
    with (
        pytest.raises(ValueError, match="cannot be compared"),
        Gallery.changing(path, "ef" * 32, "small.tflite", weights, "128x64"),
    ):
        pytest.fail("it was opened")
    assert path.read_bytes() == content
    for size in ("256x128", ""):  # a file that does not say its size
        with Gallery.changing(path, "ef" * 32, "other.tflite", weights, size):
            pass
        assert Gallery.load(path, MODEL, "large.tflite", weights, "256x128").size == "256x128"


def test_a_gallery_without_a_size_fits_every_size_and_stays_so(tmp_path):
    path, weights = tmp_path / "p.npz", "cd" * 32
    Gallery(path, MODEL, "first.tflite", weights).save()
    for size in ("256x128", "128x64"):
        with Gallery.changing(path, "ef" * 32, "second.tflite", weights, size) as gallery:
            gallery.append([size], [[1, 0, 0] if size == "128x64" else [0, 1, 0]])
    assert Gallery.load(path, MODEL).names.tolist() == ["128x64", "256x128"]


def test_a_gallery_that_does_not_say_its_weights_is_of_its_file_alone(tmp_path):
    people(tmp_path / "p.npz")
    assert Gallery.load(tmp_path / "p.npz", MODEL, "first.tflite", "cd" * 32).names.tolist() == ["Ann", "Ann", "Bob"]
    for weights in ("", "cd" * 32):
        with pytest.raises(ValueError, match="of another model"):
            Gallery.load(tmp_path / "p.npz", "ef" * 32, "second.tflite", weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"format": 2}, "must be of format 1. It is of 2"),
        ({"names": np.array(["Ann"])}, "must hold names"),
        ({"names": np.array(["Bob", "Ann"])}, "names in order"),
        ({"features": np.float32([[3, 4], [0, 1]])}, "must hold names"),
        ({"scales": np.float32([0.2, 1.1])}, "length 1"),
        ({"names": np.array(["Ann", None])}, "is no gallery: Object arrays"),
        ({"scales": None}, "is no gallery"),
        ({"scales": np.float32([0.2, np.nan])}, "length 1"),
        ({"names": np.array(["Ann", "Bob\nCid"])}, r"p.npz: `name` must be printable.*'Bob\\nCid'"),
        ({"names": np.array(["../Ann", "Bob"])}, r"p.npz: `name` must .* no path.*'\.\./Ann'"),
        ({"names": np.array(["Ann", "C:\\Bob"])}, "p.npz: `name` must .* no path"),
        ({"names": np.array(["..", "Bob"])}, "p.npz: `name` must .* no path"),
        ({"names": np.array(["Ann", "B" * 256])}, "p.npz: `name` must .* at most 255 characters"),
        ({"names": np.array(["Ann", "unknown"])}, "p.npz: `name` must .* not 'unknown'"),
        ({"names": np.array(["Ann", "Jose\u0301"])}, "Unicode's composed form"),
        (
            {"names": np.array(["Ann", "Ann"]), "features": np.int8([[3, 4]] * 2), "scales": np.float32([0.2] * 2)},
            "each feature of a person once",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_though_the_hash_does(tmp_path, change, message):
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value for key, value in (GOOD | change).items() if value is not None})
    with zipfile.ZipFile(buffer, "a") as container:
        container.comment = b"0" * 64
    body = buffer.getvalue()[:-64]
    path = tmp_path / "p.npz"
    path.write_bytes(body + sha256(body).hexdigest().encode())
    if message is None:
        return Gallery.load(path, MODEL).check()
    with pytest.raises(ValueError, match=message):
        Gallery.load(path, MODEL)


def test_a_compressed_gallery_is_refused_before_it_is_unpacked(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **GOOD | {"features": np.zeros((10**6, 100), np.int8)})
    with zipfile.ZipFile(buffer, "a") as container:
        container.comment = b"0" * 64
    body = buffer.getvalue()[:-64]
    (tmp_path / "p.npz").write_bytes(body + sha256(body).hexdigest().encode())
    with pytest.raises(ValueError, match=r"p\.npz is no gallery: it is compressed"):
        Gallery.load(tmp_path / "p.npz", MODEL)


def test_a_gallery_that_nobody_could_read_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "p.npz"
    people(path)
    content = path.read_bytes()
    monkeypatch.setattr(gallery_module, "LARGEST", len(content))
    with Gallery.changing(path, MODEL) as gallery:
        pass
    assert path.read_bytes() == content
    message = rf"p\.npz must not have more than {len(content):,} bytes"
    with pytest.raises(ValueError, match=message), Gallery.changing(path, MODEL) as gallery:
        gallery.append([f"p{i}" for i in range(99)], [[127, i, 1] for i in range(99)])
    assert path.read_bytes() == content
    assert Gallery.load(path, MODEL).names.tolist() == ["Ann", "Ann", "Bob"]


def added_at_once(path, processes, count):
    """Names in the gallery after several processes have each added `count` people."""
    program = ROOT / "tests" / "programs" / "add_to_a_gallery.py"
    running = [
        subprocess.Popen([sys.executable, program, path, letter, str(count)]) for letter in "abcdefgh"[:processes]
    ]
    assert [process.wait() for process in running] == [0] * processes
    return list(Gallery.load(path, MODEL).names)


def test_people_whom_several_processes_add_at_once_are_all_there(tmp_path):
    expected = sorted(f"{letter}{i}" for letter in "abc" for i in range(5))
    assert added_at_once(tmp_path / "p.npz", 3, 5) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [".p.npz.lock", "p.npz"]


def test_temporary_files_of_killed_programs_are_removed_by_the_next_writer(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, ours, theirs = socket.gethostname(), os.getpid(), ended.pid
    names = {f".p.npz.{host}.{process}.abcd.tmp": kept for process, kept in ((ours, True), (theirs, False))}
    names |= {".p.npz.elsewhere.1.abcd.tmp": True, ".p.npz.elsewhere.1.old.tmp": False, "p.npz.tmp": True}
    names |= {f".p.npz.{host}.{ours}.old.tmp": True}  # of a camera that has run for more than a day
    for name in names:
        (tmp_path / name).touch()
        if ".old." in name:
            os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    people(tmp_path / "p.npz")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_one_image_under_two_names_is_refused_by_both_names(tmp_path):
    gallery = people(tmp_path / "p.npz")
    for names, features in ((["Zoe"], [(0, 2, 0)]), (["Zoe", "Yan"], [(5, 5, 1), (5, 5, 1)])):
        with pytest.raises(ValueError, match=r"one image of (Zoe and Ann|Yan and Zoe)"):
            gallery.append(names, np.array(features, float))
    assert gallery.append(["Ann"], np.array([(0, 2.0, 0)])) == 0


@pytest.mark.parametrize(
    ("function", "error"), [("fsync", OSError(errno.ENOSPC, "No space left")), ("replace", KeyboardInterrupt())]
)
def test_nothing_is_lost_where_writing_fails(tmp_path, monkeypatch, function, error):
    gallery = people(tmp_path / "p.npz")
    before = gallery.path.read_bytes()
    gallery.remove("Ann")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        gallery.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".p.npz.lock", "p.npz"]
    assert gallery.path.read_bytes() == before
    monkeypatch.undo()
    gallery.save()  # and the change is not lost either
    assert list(Gallery.load(gallery.path, MODEL).names) == ["Bob"]


def test_what_another_program_wrote_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "p.npz"
    people(path)
    ours, theirs = Gallery.load(path, MODEL), Gallery.load(path, MODEL)
    theirs.remove("Ann")
    theirs.save()
    ours.remove("Bob")
    with pytest.raises(ValueError, match="another program"):
        ours.save()
    with pytest.raises(ValueError, match="another program"):
        people(path)  # a new one, where there is one
    assert list(Gallery.load(path, MODEL).names) == ["Bob"]


def test_a_gallery_may_have_as_long_a_name_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("ä" * 125 + "a.npz")  # 255 bytes
    people(path)
    left = [file for file in tmp_path.iterdir() if file != path]
    assert [file.suffix for file in left] == [".lock"]
    assert list(Gallery.load(path, MODEL).names) == ["Ann", "Ann", "Bob"]


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_file_that_only_its_owner_may_read_stays_so(tmp_path):
    gallery = people(tmp_path / "p.npz")
    gallery.path.chmod(0o600)
    gallery.remove("Bob")
    gallery.save()
    assert stat.S_IMODE(gallery.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "nul\0", "\udcff", "unknown", "a/b", "..", "x" * 256])
def test_a_name_that_cannot_stand_in_a_line_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"`name` must be printable.*Received: name="):
        Gallery(tmp_path / "p.npz", MODEL).append([name], np.ones((1, 3)))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 3)), "not all zero"),
        ([[1, np.nan, 0]], "finite"),
        ([[1, np.inf, 0]], "finite"),
        (np.ones(3), r"must be \(N, D\)"),
        (np.ones((1, 4)), r"must be \(1, 3\)"),
        (np.ones((2, 3)), r"must be \(1, 3\)"),
    ],
)
def test_features_that_have_no_direction_or_another_shape_are_refused(tmp_path, features, message):
    gallery = people(tmp_path / "p.npz")
    with pytest.raises(ValueError, match=message):
        gallery.append(["Zoe"], features)
    assert len(gallery.names) == 3


def test_a_folder_names_people_by_files_and_by_folders(tmp_path):
    for name in ("Ann/1.jpg", "Ann/2.PNG", "Ann/notes.txt", "Ann/._1.jpg", "Bob.jpg", "._Bob.jpg", "list.csv",
                 ".trash/x.jpg", "Nobody/x.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Ann" / "3.jpg").mkdir()
    (tmp_path / "Empty").mkdir()
    found, others = gallery_module.named_images(tmp_path, {".jpg", ".png"})
    assert [(name, str(path.relative_to(tmp_path))) for name, path in found] == [
        ("Ann", "Ann/1.jpg"),
        ("Ann", "Ann/2.PNG"),
        ("Bob", "Bob.jpg"),
    ]
    assert sorted(str(path.relative_to(tmp_path)) for path in others) == [
        "Ann/3.jpg", "Ann/notes.txt", "Empty", "Nobody/x.txt", "list.csv"
    ]  # fmt: skip
