"""The gallery that remembers: in a file, and on a PostgreSQL server where the packages are installed."""

import importlib.util
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_osnet import files
from keras_osnet.identities import Gallery
from tests.scripts import ROOT, load

D = 24
NETWORK = {"network": "osnet_a", "fingerprint": "ab" * 32, "dimension": D}
OTHER = {"network": "osnet_b", "fingerprint": "cd" * 32, "dimension": D}
POSTGRESQL = [name for name in ("pgserver", "psycopg", "pgvector") if importlib.util.find_spec(name) is None]
PROGRAM = "tests/programs/kill_a_gallery.py"


@pytest.fixture
def phone():
    """The module of `tflite/run.py` that reads galleries."""
    return load("tflite/gallery.py")


@pytest.fixture(scope="module")
def server():
    if POSTGRESQL:
        pytest.skip(f"not installed: {', '.join(POSTGRESQL)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs: there is no folder for the programs of this user
        import pgserver
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # the path of a socket must be short
    running = pgserver.get_server(folder)
    yield running
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """Address of a gallery that does not exist yet."""
    if request.param == "sqlite":
        yield str(tmp_path / "gallery.db")
        return
    running = request.getfixturevalue("server")
    running.psql("DROP DATABASE IF EXISTS people (FORCE); ")
    running.psql("CREATE DATABASE people;")
    yield running.get_uri().replace("/postgres?", "/people?")


@pytest.fixture
def gallery(address):
    with Gallery.open(address, **NETWORK) as opened:
        yield opened


def rows(count, seed=0):
    """Arguments of `add`: 5 people, 3 cameras, one row a second, an image for two of three rows."""
    g = np.random.default_rng(seed)
    features = g.standard_normal((count, D)) * g.uniform(0.01, 50, (count, 1))
    people = [f"person {i % 5}" for i in range(count)]
    cameras = [f"camera {i % 3}" for i in range(count)]
    images = [None if i % 3 == 0 else g.bytes(3000) for i in range(count)]
    return features, people, cameras, [1000.0 + i for i in range(count)], images


def cosine_distance(a, b):
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def trace_of(feature):
    """Bytes of a feature as they are in the files: of its first numbers, at length 1."""
    return np.float32(feature / np.linalg.norm(feature)).tobytes()[:40]


def bytes_of(running_or_path):
    """The content of all files of a folder, one after the other, without PostgreSQL's log of writes."""
    files = sorted(path for path in Path(running_or_path).rglob("*") if path.is_file() and "pg_wal" not in path.parts)
    return b"".join(path.read_bytes() for path in files)


def folder_of(address, request):
    return Path(address).parent if "://" not in address else request.getfixturevalue("server").pgdata


def flush(address, request):
    if "://" in address:
        request.getfixturevalue("server").psql("CHECKPOINT;")


def wait_for_others(address):
    """A PostgreSQL server may still work on the last call of a client that was killed."""
    if "://" in address:
        import psycopg

        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'people' AND pid <> pg_backend_pid()"
        with psycopg.connect(address, autocommit=True) as database:
            while database.execute(others).fetchone()[0]:
                time.sleep(0.05)


@pytest.mark.parametrize(
    ("cameras", "after", "before"),
    [(None, None, None), (["camera 1"], None, None), (["camera 0", "camera 2"], 1010, 1031), (None, 1049, None)],
)
def test_the_search_finds_the_rows_that_a_plain_loop_finds(gallery, cameras, after, before):
    features, people, places, times, images = rows(60)
    ids = gallery.add(features, people, places, times, images)
    queries = np.random.default_rng(9).standard_normal((4, D))
    found = gallery.search(queries, 7, cameras=cameras, after=after, before=before)
    assert len(found) == 4
    for query, matches in zip(queries, found, strict=True):
        expected = []
        for i in range(60):
            if cameras is not None and places[i] not in cameras:
                continue
            if (after is None or after <= times[i]) and (before is None or times[i] < before):
                expected.append((cosine_distance(query, features[i]), ids[i], people[i], places[i], times[i]))
        expected = sorted(expected)[:7]
        assert [(m.id, m.identity, m.camera, m.time) for m in matches] == [row[1:] for row in expected]
        np.testing.assert_allclose([m.distance for m in matches], [row[0] for row in expected], atol=2e-6)


@pytest.mark.parametrize("address", ["mysql://host/people", "http://127.0.0.1/g.db", "postgresq://host/people"])
def test_an_address_of_no_known_kind_is_refused_and_makes_no_file(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`address` must be a path or start with postgresql:// or postgres://"):
        Gallery.open(address, **NETWORK)
    assert not list(tmp_path.iterdir())


def test_rows_stay_after_the_gallery_is_closed_with_their_images_and_new_ids(address):
    features, *labels, images = rows(9)
    with Gallery.open(address, **NETWORK) as first:
        ids = first.add(features, *labels, images)
        first.delete("person 3")  # the rows 3 and 8, so that the last id is free
    with Gallery.open(address, **NETWORK) as second:
        kept = [i for i in range(9) if i % 5 != 3]
        assert [second.image(ids[i]) for i in kept] == [images[i] for i in kept]
        assert [second.image(ids[i]) for i in (3, 8)] == [None, None]
        assert second.identities() == {"person 0": 2, "person 1": 2, "person 2": 2, "person 4": 1}
        assert not set(second.add(features, *labels)) & set(ids)


def test_a_closed_gallery_says_so(address, tmp_path):
    gallery = Gallery.open(address, **NETWORK)
    gallery.close()
    gallery.close()
    calls = (
        lambda: gallery.add(*rows(1)), lambda: gallery.search(np.ones((1, D))), gallery.identities,
        lambda: gallery.image(1), lambda: gallery.delete("a"), lambda: gallery.rename("a", "b"),
        lambda: gallery.assign([1], ["a"]), lambda: gallery.export_file(tmp_path / "g.npz"),
        lambda: gallery.transaction().__enter__(),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"^The gallery is closed\.$"):
            call()


def test_no_features_have_no_matches_and_an_empty_gallery_has_none(gallery):
    assert gallery.search(np.ones((2, D))) == [[], []]
    assert gallery.add(np.empty((0, D)), [], [], []) == []
    gallery.add(*rows(2))
    assert gallery.search(np.empty((0, D))) == []
    assert [len(matches) for matches in gallery.search(np.ones((1, D)), 10)] == [2]


def test_equal_features_are_found_in_the_order_in_which_they_were_added(tmp_path):
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        gallery.add(np.ones((9, D)), [f"p{8 - i}" for i in range(9)], ["c"] * 9, range(20, 11, -1))
        assert [m.identity for m in gallery.search(np.ones((1, D)), 4, after=0)[0]] == ["p8", "p7", "p6", "p5"]


def test_a_deleted_person_is_gone_from_every_file(address, request, gallery):
    features, people, cameras, times, images = rows(300)
    people[7] = people[299] = "Ann Other"  # within a page, and the last row of one
    ids = gallery.add(features, people, cameras, times, images)
    traces = {"feature": trace_of(features[7]), "image": images[7][100:164], "name": b"Ann Other"}
    traces |= {"last feature": trace_of(features[299]), "last image": images[299][100:164]}
    others = trace_of(features[8]), images[8][100:164]
    flush(address, request)
    before = bytes_of(folder_of(address, request))
    assert all(trace in before for trace in (*traces.values(), *others))  # the test can see them
    assert gallery.delete("Ann Other") == 2
    flush(address, request)
    after = bytes_of(folder_of(address, request))
    assert not [name for name, trace in traces.items() if trace in after]
    assert all(trace in after for trace in others)
    assert gallery.image(ids[7]) is None
    assert gallery.image(ids[8]) == images[8]
    with pytest.raises(ValueError, match=r"`identity` must be in the gallery. Received: 'Ann Other'"):
        gallery.delete("Ann Other")


def test_no_copies_stay_of_rows_that_moved_between_pages(tmp_path):
    """Long names make rows move. SQLite's `secure_delete` alone leaves copies of some of them in the file."""
    features = np.random.default_rng(1).standard_normal((3000, D))
    units = [np.float32(feature / np.linalg.norm(feature)).tobytes() for feature in features]
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        gallery.add(features, [f"p{i % 3}" for i in range(3000)], ["c"] * 3000, range(3000))
        for person in range(3):
            gallery.rename(f"p{person}", f"{person}" * 150)
        gallery.delete("0" * 150)
    content = bytes_of(tmp_path)
    parts = [slice(0, 16), slice(40, 56), slice(80, 96)]
    assert b"0" * 150 not in content
    for row in units[::3]:
        assert not any(row[part] in content for part in parts)
    assert all(row in content for row in units[1:60:3])


def test_what_a_killed_process_has_deleted_is_gone_once_the_gallery_is_opened(address, request):
    features, *labels, images = rows(12, seed=78)
    with Gallery.open(address, **NETWORK) as gallery:
        gallery.add(features, *labels, images)
    statements = "DELETE FROM sightings WHERE id = 12", "INSERT INTO gallery VALUES ('deleted', 'mark')"
    if "://" in address:
        import psycopg

        with psycopg.connect(address, options="-c search_path=keras_osnet,public") as database:
            for statement in statements:
                database.execute(statement)
    else:
        database = sqlite3.connect(address)
        with database:
            for statement in ("PRAGMA foreign_keys = ON", "PRAGMA secure_delete = OFF", *statements):
                database.execute(statement)
        database.close()
    for there in (True, False):
        flush(address, request)
        assert (trace_of(features[11]) in bytes_of(folder_of(address, request))) == there
        if there:
            Gallery.open(address, **NETWORK).close()


def test_the_log_of_postgresql_is_clean_after_the_commands_of_the_page(server):
    server.psql("DROP DATABASE IF EXISTS people (FORCE);")
    server.psql("CREATE DATABASE people;")
    features, *labels, images = rows(12, seed=77)  # no other test has these
    with Gallery.open(server.get_uri().replace("/postgres?", "/people?"), **NETWORK) as gallery:
        gallery.add(features, *labels, images)
        gallery.delete("person 2")
    commands = (ROOT / "docs/gallery.md").read_text().split("```sql\n")[-1].split("```")[0]
    for command in commands.splitlines():
        server.psql(command)
    everything = b"".join(path.read_bytes() for path in Path(server.pgdata).rglob("*") if path.is_file())
    assert [i for i in range(12) if trace_of(features[i]) in everything] == [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]
    assert images[2][100:164] not in everything


def test_rows_expire_before_a_time(gallery):
    gallery.add(*rows(20))
    assert gallery.expire(1000) == 0
    assert gallery.expire(1017) == 17
    assert gallery.identities() == {"person 2": 1, "person 3": 1, "person 4": 1}  # the rows 17, 18 and 19


def test_people_are_renamed_and_merged_and_names_have_one_unicode_form(gallery):
    gallery.add(*rows(10))
    gallery.rename("person 0", "Zoe\u0308")
    assert gallery.identities()["Zo\u00eb"] == 2
    gallery.merge("Zo\u00eb", "person 4")
    assert gallery.identities() == {"Zo\u00eb": 4, "person 1": 2, "person 2": 2, "person 3": 2}
    with pytest.raises(ValueError, match=r"`identity` must not be in the gallery. Received: 'person 1'"):
        gallery.rename("person 2", "person 1")
    for call in (gallery.rename, lambda old, new: gallery.merge(new, old)):
        with pytest.raises(ValueError, match=r"`identity` must be in the gallery. Received: 'nobody'"):
            call("nobody", "person 9")
    with pytest.raises(ValueError, match="must differ"):
        gallery.merge("person 1", "person 1")


def test_a_gallery_of_another_network_is_refused_and_both_are_named(address):
    Gallery.open(address, **NETWORK).close()
    for wanted in (OTHER, NETWORK | {"dimension": 7}):
        with pytest.raises(ValueError, match=rf"osnet_a \(SHA-256 ab.*24 features.*{wanted['network']} \(SHA-256"):
            Gallery.open(address, **wanted)
    Gallery.open(address, **NETWORK | {"network": "the same weights"}).close()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.ones((2, 5)), r"`features` must be \(N, 24\) numbers. Received: \(2, 5\) float64"),
        (0, np.array([[1.0] * D, [np.nan] * D]), "`features` must be finite and not all zero"),
        (0, np.array([[1.0] * D, [0.0] * D]), "`features` must be finite and not all zero"),
        (1, ["a"], r"`identities` must have one entry per row of `features` \(2\)"),
        (1, "ab", "`identities` must have one entry per row"),
        (1, ["a", "unknown"], "`identity` must be a printable string"),
        (1, ["a", "../b"], "`identity` must be a printable string"),
        (1, ["a", 3], "`identity` must be a printable string"),
        (2, ["a", ""], "`cameras` must be text that is not empty. Received: ''"),
        (2, ["a", "caf\udce9"], r"`cameras` must be text that is not empty. Received: 'caf\\udce9'"),  # not UTF-8
        (2, ["a", 3], "`cameras` must be text that is not empty. Received: 3"),
        (3, [1, math.inf], "`times` must be finite seconds in UTC. Received: inf"),
        (3, [1, "12:00"], "`times` must be finite seconds in UTC. Received: '12:00'"),
        (1, None, "`identities` must have one entry per row"),
        (2, 5, "`cameras` must have one entry per row"),
        (3, [1, 10**400], "`times` must be finite seconds in UTC"),
        (4, [None, "a.jpg"], "`images` must be bytes of encoded images, or None"),
        (4, [b"1"], r"`images` must have one entry per row of `features` \(2\)"),
        (4, [b"1" * 10**6], r"^`images` must have one entry .{,300}$"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_added(tmp_path, place, value, message):
    arguments = [np.ones((2, D)), ["a", "b"], ["c", "c"], [1, 2], [b"1", None]]
    arguments[place] = value
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        with pytest.raises(ValueError, match=message):
            gallery.add(*arguments)
        assert gallery.identities() == {}


def test_wrong_limits_of_a_search_are_refused(tmp_path):
    query = np.ones((1, D))
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        for options, message in (
            ({"k": 0}, "`k` must be an integer of at least 1"),
            ({"cameras": []}, "`cameras` must be a list of cameras that is not empty"),
            ({"cameras": "c"}, "`cameras` must be a list of cameras that is not empty"),
            ({"cameras": 5}, "`cameras` must be a list of cameras that is not empty"),
            ({"after": 10**400}, "`after` must be finite seconds"),
            ({"after": math.nan}, "`after` must be finite seconds"),
            ({"before": "now"}, "`before` must be finite seconds"),
        ):
            with pytest.raises(ValueError, match=message):
                gallery.search(query, **options)


def test_files_that_are_no_gallery_are_refused_and_stay_as_they_are(tmp_path):
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE a (b)").connection.close()
    (tmp_path / "text.db").write_text("no database at all\n" * 50)
    for name in ("other.db", "text.db"):
        content = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"`address` must be a gallery.*{name}"):
            Gallery.open(tmp_path / name, **NETWORK)
        assert (tmp_path / name).read_bytes() == content
    with pytest.raises(OSError, match=r"nowhere.g\.db cannot be read or written"):
        Gallery.open(tmp_path / "nowhere" / "g.db", **NETWORK)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM gallery WHERE key = 'fingerprint'",
        "UPDATE gallery SET value = CAST(X'FFFE' AS TEXT)",
        "UPDATE sightings SET feature = 'text'",
        "UPDATE sightings SET feature = 7",
        "UPDATE sightings SET feature = X'0000'",
        f"UPDATE sightings SET feature = zeroblob({4 * D})",
        f"UPDATE sightings SET feature = X'{'0000C07F' * D}'",  # NaN
        "UPDATE sightings SET identity = X'00'",
        "UPDATE sightings SET camera = X'00'",
        "UPDATE sightings SET time = 'noon'",
        "UPDATE sightings SET time = 9e999",
        "UPDATE images SET content = 1000000000",  # as the length of bytes: a gigabyte
        "DROP TABLE images",
    ],
)
def test_a_damaged_gallery_is_refused_by_its_name(tmp_path, damage):
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        gallery.add(np.eye(D)[:2], ["a", "b"], ["c", "c"], [1, 2], [b"1", b"2"])
    with sqlite3.connect(tmp_path / "g.db") as connection:
        connection.execute(damage)
    with pytest.raises((ValueError, OSError), match=r"g\.db"):
        read_all(tmp_path / "g.db")


def read_all(path):
    with Gallery.open(path, **NETWORK) as gallery:
        gallery.search(np.ones((1, D)), 2)
        gallery.image(1)


def test_the_image_of_an_id_that_no_row_can_have_is_refused(tmp_path):
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        for id in (None, "1", 1.5, 0, 2**63):
            with pytest.raises(ValueError, match="`id` must be an integer"):
                gallery.image(id)


@pytest.mark.parametrize("address", [None, 5, "", ":memory:", b"g.db", []])
def test_an_address_that_is_no_path_makes_no_file(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`address` must be a path or the URL of a database"):
        Gallery.open(address, **NETWORK)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_stays_that_of_the_folder_in_which_it_was_opened(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with Gallery.open("data/g.db", **NETWORK) as gallery:
        monkeypatch.chdir(tmp_path / "other")
        gallery.add(np.ones((1, D)), ["a"], ["c"], [1])
        gallery.delete("a")
    assert not list((tmp_path / "other").iterdir())  # no lock that other writers do not wait for


def test_another_thread_is_told_to_open_the_gallery_itself(tmp_path):
    errors = []

    def read():
        try:
            gallery.identities()
        except ValueError as error:
            errors.append(str(error))

    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert [error.partition(" (")[0] for error in errors] == ["A gallery must be used by the thread that opened it"]


def test_a_writer_waits_for_the_lock_of_the_file(tmp_path):
    path = tmp_path / "g.db"
    with Gallery.open(path, **NETWORK) as gallery:
        held, released = threading.Event(), []

        def hold():
            with files.locked(path):
                held.set()
                time.sleep(0.3)
                released.append(True)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        gallery.add(*rows(3))
        assert released
        thread.join()


def test_others_read_while_one_writes(address):
    """A search sees all rows of a call, or none."""
    counts, errors, done = [], [], threading.Event()

    def read():
        try:
            with Gallery.open(address, **NETWORK) as mine:
                while not done.is_set():
                    counts.append(len(mine.search(np.ones((1, D)), 10_000)[0]))
        except Exception as error:
            errors.append(error)

    with Gallery.open(address, **NETWORK) as gallery:
        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for seed in range(15):
            gallery.add(*rows(11, seed))
        done.set()
        for reader in readers:
            reader.join()
    assert not errors
    assert counts
    assert all(count % 11 == 0 for count in counts)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the program forks")
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there_after_50_kills(address, request):
    program = load(PROGRAM)
    with Gallery.open(address, **program.NETWORK):
        pass
    kills = 50 if "://" not in address else 10  # of clients: the server is not ours to kill
    command = [sys.executable, ROOT / PROGRAM, address]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "add", str(kills), "0.15"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    wait_for_others(address)
    returned = [int(line) for line in done.stdout.split()]
    assert len(returned) == kills
    assert sum(returned) > kills // 2  # the kills came while rows were added
    with Gallery.open(address, **program.NETWORK) as gallery:
        people = gallery.identities()
        assert set(people.values()) == {program.ROWS}
        for child, count in enumerate(returned):
            there = [person for person in range(child * 1000, child * 1000 + count + 2) if str(person) in people]
            assert there in [list(range(child * 1000, child * 1000 + count + more)) for more in (0, 1)]
        added = sorted(map(int, people))
        matches = gallery.search(np.concatenate([program.features(person) for person in added]), 1)
        for (match,), person in zip(matches, np.repeat(added, program.ROWS).tolist(), strict=True):
            assert match.identity == str(person)
            assert gallery.image(match.id) == program.image(person)
    # Then kills while people are deleted: who is not there is in no file, once the gallery has been opened.
    done = subprocess.run(
        [*command, "delete", str(kills // 5 + 1), "0.2"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    wait_for_others(address)
    with Gallery.open(address, **program.NETWORK) as gallery:
        left = gallery.identities()
    flush(address, request)
    content = bytes_of(folder_of(address, request))
    assert set(left.values()) == {program.ROWS}
    for person in people:
        traces = [trace_of(feature) for feature in program.features(int(person))]
        assert [trace in content for trace in traces] == [person in left] * program.ROWS
        assert (program.image(int(person))[100:164] in content) == (person in left)


def test_the_phone_reads_what_the_gallery_exports(gallery, tmp_path, phone):
    features, people, *rest = rows(12)
    gallery.add(features, people, *rest)
    gallery.add(features[:3], people[:3], *(each[:3] for each in rest))  # the same images again
    gallery.export_file(tmp_path / "people.npz")
    read = phone.Gallery.load(tmp_path / "people.npz", "of the .tflite file", "x.tflite", NETWORK["fingerprint"])
    assert read.names.tolist() == sorted(people)
    best = {}
    for feature, person in zip(features, people, strict=True):
        best[person] = max(best.get(person, -1), 1 - cosine_distance(features[4], feature))
    found = read.search(features[4], 5)
    assert [name for name, _ in found] == sorted(best, key=lambda name: -best[name])
    np.testing.assert_allclose([cosine for _, cosine in found], sorted(best.values(), reverse=True), atol=0.01)
    with pytest.raises(ValueError, match="osnet_a"):
        phone.Gallery.load(tmp_path / "people.npz", "of the .tflite file", "x.tflite", OTHER["fingerprint"])


def test_the_gallery_reads_what_the_phone_writes(gallery, tmp_path, phone):
    features, people, *_ = rows(12)
    theirs = phone.Gallery(tmp_path / "people.npz", "m" * 64, "x.tflite", NETWORK["fingerprint"])
    theirs.append(people, features)
    theirs.save()
    assert gallery.import_file(tmp_path / "people.npz", camera="door", time=5) == 12
    assert gallery.identities() == {"person 0": 3, "person 1": 3, "person 2": 2, "person 3": 2, "person 4": 2}
    for person, (match,) in zip(people, gallery.search(features, 1), strict=True):
        assert (match.identity, match.camera, match.time) == (person, "door", 5)
        assert match.distance < 1e-3
    other = phone.Gallery(tmp_path / "other.npz", "m" * 64, "y.tflite", OTHER["fingerprint"])
    other.append(people, features)
    other.save()
    with pytest.raises(ValueError, match=r"other.npz holds features of y.tflite \(SHA-256 cdcd.* of osnet_a \(SHA-256"):
        gallery.import_file(tmp_path / "other.npz", camera="door", time=5)
    content = bytearray((tmp_path / "people.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "people.npz").write_bytes(content)
    with pytest.raises(ValueError, match="its SHA-256 does not fit"):
        gallery.import_file(tmp_path / "people.npz", camera="door", time=5)


def test_a_gallery_of_one_input_size_refuses_the_features_of_another(tmp_path, phone):
    path, file, features = tmp_path / "g.db", tmp_path / "people.npz", rows(2)[0]
    with Gallery.open(path, **NETWORK, size=(256, 128)) as gallery:
        gallery.add(features, ["Anna", "Ben"], ["door"] * 2, [1, 2])
        gallery.export_file(file)
    with pytest.raises(ValueError, match=r"of osnet_a \(SHA.* images of 256x128\)\. They .* images of 128x64\)"):
        Gallery.open(path, **NETWORK, size=(128, 64))
    for size in (None, (256, 128), np.array([256, 128])):
        Gallery.open(path, **NETWORK, size=size).close()
    owner = ("of the .tflite file", "x.tflite", NETWORK["fingerprint"])
    for size in ("256x128", ""):
        assert list(phone.Gallery.load(file, *owner, size).people) == ["Anna", "Ben"]
    with pytest.raises(ValueError, match=r"of images of 256x128, .* those of x\.tflite, of images of 128x64"):
        phone.Gallery.load(file, *owner, "128x64")
    with Gallery.open(tmp_path / "small.db", **NETWORK, size=(128, 64)) as small:
        with pytest.raises(ValueError, match=r"people\.npz holds features of osnet_a .* images of 256x128\)"):
            small.import_file(file, camera="door", time=5)
        assert small.identities() == {}


def test_a_gallery_without_a_size_as_earlier_versions_made_it_fits_every_size(tmp_path, phone):
    theirs = phone.Gallery(tmp_path / "people.npz", "m" * 64, "x.tflite", NETWORK["fingerprint"])
    theirs.append(["Anna", "Ben"], rows(2)[0])
    theirs.save()
    Gallery.open(tmp_path / "g.db", **NETWORK).close()
    for size in ((256, 128), (128, 64)):
        with Gallery.open(tmp_path / "g.db", **NETWORK, size=size) as gallery:
            gallery.import_file(tmp_path / "people.npz", camera="door", time=5)
            gallery.export_file(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as arrays:
        assert "size" not in arrays  # it holds features of both
    for size in ("256", 256, (256,), (256, 0), (256.0, 128)):
        with pytest.raises(ValueError, match="`size` must be"):
            Gallery.open(tmp_path / "new.db", **NETWORK, size=size)


def test_an_export_replaces_an_earlier_one_and_no_other_file(tmp_path):
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery:
        for name in ("Anna", "Ben"):
            gallery.add(rows(1)[0], [name], ["door"], [1])
            gallery.export_file(tmp_path / "people.npz")
        (tmp_path / "photo.jpg").write_bytes(b"mine")
        for name in ("g.db", "photo.jpg"):
            content = (tmp_path / name).read_bytes()
            with pytest.raises(ValueError, match=rf"{name} must be new, or written by this command before"):
                gallery.export_file(tmp_path / name)
            assert (tmp_path / name).read_bytes() == content
        assert gallery.identities() == {"Anna": 1, "Ben": 1}
    with np.load(tmp_path / "people.npz") as arrays:
        assert arrays["names"].tolist() == ["Anna", "Ben"]


@pytest.mark.parametrize("path", [None, 3, b"people.npz"])
def test_a_file_to_export_or_import_is_named_by_a_path(tmp_path, path):
    with Gallery.open(tmp_path / "people.db", **NETWORK) as gallery:
        gallery.add(np.eye(1, D), ["Anna"], ["door"], [1])
        for call in (lambda: gallery.export_file(path), lambda: gallery.import_file(path, camera="door", time=1)):
            with pytest.raises(ValueError, match=r"`path` must be that of a file\. Received: path="):
                call()
        assert gallery.identities() == {"Anna": 1}


def test_an_empty_gallery_is_not_exported(tmp_path):
    with Gallery.open(tmp_path / "g.db", **NETWORK) as gallery, pytest.raises(ValueError, match="It is empty"):
        gallery.export_file(tmp_path / "people.npz")


@pytest.mark.skipif("psycopg" not in POSTGRESQL, reason="psycopg is installed")
def test_without_psycopg_the_extra_is_named():
    with pytest.raises(ImportError, match=r"pip install 'keras-osnet\[postgresql\]'"):
        Gallery.open("postgresql://localhost/people", **NETWORK)


def test_calls_in_a_transaction_are_kept_together_or_not_at_all(gallery):
    features = rows(3)[0]
    gallery.add(features[:1], ["Anna"], ["door"], [1])

    def change(then):
        with gallery.transaction():
            gallery.rename("Anna", "Ben")
            gallery.add(features[1:2], ["Cem"], ["door"], [2])
            then()

    for error in (ZeroDivisionError(), KeyError("name"), TypeError("no number"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            change(lambda error=error: fail(error))
        assert caught.value is error
        assert gallery.identities() == {"Anna": 1}
    change(lambda: None)
    assert gallery.identities() == {"Ben": 1, "Cem": 1}


def fail(error):
    raise error


def test_a_call_that_fails_within_a_transaction_changes_nothing(gallery):
    ids = gallery.add(rows(3)[0], ["Anna", "Ben", "Cem"], ["door"] * 3, [1, 2, 3])
    with gallery.transaction():
        with pytest.raises(ValueError, match="`ids` must be in the gallery"):
            gallery.assign([ids[0], 999], ["Zoe", "Zoe"])
        gallery.rename("Ben", "Dan")
    assert gallery.identities() == {"Anna": 1, "Cem": 1, "Dan": 1}


def test_a_writer_waits_for_another_one_not_for_ever(address, monkeypatch):
    monkeypatch.setattr("keras_osnet.identities.stores.SECONDS", 0.5)
    with Gallery.open(address, **NETWORK) as first, Gallery.open(address, **NETWORK) as second:
        first.add(rows(1)[0], ["Anna"], ["door"], [1])
        with first.transaction():
            first.rename("Anna", "Ben")
            with pytest.raises(TimeoutError, match="locked by another process"):
                second.add(rows(1, 1)[0], ["Cem"], ["door"], [2])
        assert second.identities() == {"Ben": 1}


def test_a_search_sees_one_state_while_another_process_deletes(address, monkeypatch):
    if "://" not in address:
        pytest.skip("SQLite's file is locked meanwhile")
    with Gallery.open(address, **NETWORK) as first, Gallery.open(address, **NETWORK) as second:
        ids = first.add(rows(4)[0], ["Anna", "Ben", "Anna", "Cem"], ["door"] * 4, [1, 2, 3, 4])
        nearest = first._store.nearest

        def delete_then(*arguments):
            found = nearest(*arguments)
            with second._store.writing():
                second._store.run("DELETE FROM sightings WHERE identity = 'Anna'")
            return found

        monkeypatch.setattr(first._store, "nearest", delete_then)
        (found,) = first.search(rows(4)[0][:1], 4)
        assert sorted(match.id for match in found) == ids
        assert first.identities() == {"Ben": 1, "Cem": 1}


def test_errors_of_a_server_are_those_of_python(address, request):
    if "://" not in address:
        pytest.skip("there is no server")
    with pytest.raises(ValueError, match="`address` must be one that PostgreSQL understands"):
        Gallery.open(address + "&nonsense=1", **NETWORK)
    with Gallery.open(address, **NETWORK) as opened:
        request.getfixturevalue("server").psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'people';"
        )
        with pytest.raises(ConnectionError, match="The server of the gallery has ended the connection"):
            opened.identities()


def test_the_first_of_equal_rows_are_found(gallery):
    feature = rows(1)[0]
    ids = gallery.add(np.repeat(feature, 40, 0), ["Anna"] * 40, ["door"] * 40, range(40))
    with gallery.transaction():
        gallery.assign(ids[:20], ["Ben"] * 20)  # PostgreSQL writes changed rows behind the others
    (found,) = gallery.search(feature, 5)
    assert [match.id for match in found] == ids[:5]


def test_nothing_is_deleted_within_a_transaction(gallery):
    features = rows(3)[0]
    gallery.add(features[:1], ["Anna"], ["door"], [1])
    for call in (lambda: gallery.delete("Anna"), lambda: gallery.expire(5), lambda: gallery.transaction().__enter__()):
        with pytest.raises(ValueError, match="must not be called within `transaction`"), gallery.transaction():
            call()
    assert gallery.delete("Anna") == 1


def test_rows_are_given_to_people(gallery):
    features = rows(3)[0]
    first, second, third = gallery.add(features[:3], ["Anna"] * 3, ["door"] * 3, [1, 2, 3])
    gallery.assign([third, first], ["Ben", "Cem"])
    assert gallery.identities() == {"Anna": 1, "Ben": 1, "Cem": 1}
    (found,) = gallery.search(features[2:3], 1)
    assert (found[0].id, found[0].identity) == (third, "Ben")
    with pytest.raises(ValueError, match=r"`ids` must be in the gallery. Received: 99"):
        gallery.assign([second, 99], ["Dan", "Dan"])
    wrong = ([second], []), ([second], "D"), ([second], ["unknown"]), ([0], ["Dan"]), (second, ["Dan"]), (second, "Dan")
    for ids, names in wrong:
        with pytest.raises(ValueError, match="must"):
            gallery.assign(ids, names)
    assert gallery.identities() == {"Anna": 1, "Ben": 1, "Cem": 1}
