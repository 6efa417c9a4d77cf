"""The demo: what it answers, how fast, whom it answers, what it refuses, what it leaves behind, and its page."""

import base64
import dataclasses
import io
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.data import images
from keras_osnet.data.drawn.synthetic import render
from keras_osnet.identities import Gallery as Remembered
from keras_osnet.identities import fingerprint_of
from keras_osnet.models.attribute_head import AttributeHead
from tests.recipes.pages import FOREIGN, ask, served
from tests.scripts import ROOT, load

SCRIPT = ROOT / "recipes" / "demo.py"
RECIPE = load("recipes/demo.py")

TINY = {"width": 0.0625, "variant": "osnet_t1", "input_shape": (32, 16, 3), "depths": (1, 1, 1)}
HOSTILE = "<img src=x onerror='window.broken=1'>&.png"
LINUX = sys.platform == "linux"


def drawn(folder, people=4, shots=3):
    folder.mkdir()
    for person in range(1, people + 1):
        for shot in range(shots):
            render(person, shot + 1, 0).save(folder / f"{person:04d}_{shot}.png")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Network and gallery of 12 people's images and two odd ones, and the extractor that computes their features."""
    folder = tmp_path_factory.mktemp("demo")
    model = OSNet(0.25)  # at 256 x 128, for the time that it takes
    model.save(folder / "model.keras")
    gallery = drawn(folder / "gallery")
    Image.new("RGB", (10_000, 10), "red").save(gallery / "wide.png")
    render(2, 4, 2).save(gallery / HOSTILE)
    return *RECIPE.prepare(RECIPE.Demo(folder / "model.keras", gallery)), FeatureExtractor(model)


def slow_ranking(extractor, paths, image):
    features = extractor([*paths, image])
    return sorted((math.dist(feature.tolist(), features[-1].tolist()), i) for i, feature in enumerate(features[:-1]))


def test_the_answer_is_the_ranking_of_a_plain_loop(prepared, tmp_path):
    network, gallery, extractor = prepared
    path = tmp_path / "query.png"
    render(2, 4, 1).save(path)
    result = RECIPE.answer(network, gallery, images.read(path))
    want = slow_ranking(extractor, gallery.paths, path)[:10]
    assert result.indices.tolist() == [i for _, i in want]
    np.testing.assert_allclose(result.distances, [distance for distance, _ in want], rtol=1e-3)
    assert result.heat.shape == result.image.shape == (128, 64, 3)
    assert result.exponents.sum() == pytest.approx(1)


def test_the_query_is_normalised_as_the_gallery(prepared, tmp_path):
    """Also where the network was trained with another normalisation than ImageNet's."""
    own = {"mean": (0, 0, 0), "std": (1, 1, 1), "scale": 255}
    small = {"input_shape": (32, 16, 3), "depths": (1, 1, 1), "feature_dim": 24, "preprocessing": own}
    OSNet(0.0625, "osnet_t1", **small).save(tmp_path / "own.keras")
    folder = prepared[1].paths[0].parent
    network, gallery = RECIPE.prepare(RECIPE.Demo(str(tmp_path / "own.keras"), folder))
    answer = RECIPE.answer(network, gallery, images.read(gallery.paths[7]))
    assert answer.indices[0] == 7
    assert answer.distances[0] == pytest.approx(0, abs=1e-3)


def test_an_image_of_the_gallery_is_left_out_of_its_own_ranking(prepared):
    network, gallery, extractor = prepared
    image = images.read(gallery.paths[7])
    assert RECIPE.answer(network, gallery, image).indices[0] == 7
    want = [i for _, i in slow_ranking(extractor, gallery.paths, gallery.paths[7]) if i != 7][:10]
    assert RECIPE.answer(network, gallery, image, left_out=7).indices.tolist() == want


def size_of(address):
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,")))).size


def test_an_answer_names_images_distances_and_exponents(prepared):
    network, gallery, _ = prepared
    result = RECIPE.answer(network, gallery, images.read(gallery.paths[0]))
    said = RECIPE.described(result, gallery)
    assert [(name, distance) for name, distance, _ in said["nearest"]] == [
        (gallery.paths[i].name, f"{d:.3g}") for i, d in zip(result.indices, result.distances, strict=True)
    ]
    assert [size_of(address) for address in said["seen"]] == [(64, 128), (64, 128)]
    np.testing.assert_allclose(said["streams"], list(zip(result.exponents, gallery.exponents, strict=True)))
    assert said["metric"] == "Euclidean distance"


def test_an_image_that_is_lost_after_the_start_or_of_odd_sides_breaks_no_ranking(prepared, tmp_path):
    wide = next(path for path in prepared[1].paths if path.name == "wide.png")
    gallery = RECIPE.Gallery([tmp_path / "lost.png", wide], np.ones((2, 512), "float32"), np.empty(0), "cosine")
    nothing = np.empty(0)
    answer = RECIPE.Answer(*np.zeros((2, 8, 4, 3), "uint8"), np.array([0, 1]), np.ones(2), nothing, nothing)
    lost, odd = RECIPE.described(answer, gallery)["nearest"]
    assert lost == ("lost.png", "1", None)
    assert size_of(odd[2]) == (192, 1)


def test_a_name_that_is_not_utf8_is_shown_as_text(prepared):
    odd = Path(os.fsdecode(b"caf\xe9.jpg"))
    gallery = RECIPE.Gallery([odd], np.ones((1, 512), "float32"), np.empty(0), "cosine")
    answer = RECIPE.Answer(*np.zeros((2, 8, 4, 3), "uint8"), np.array([0]), np.ones(1), np.empty(0), np.empty(0))
    assert json.dumps(RECIPE.described(answer, gallery), ensure_ascii=False).encode()
    assert RECIPE.name_of(odd) == "caf\N{REPLACEMENT CHARACTER}.jpg"


def test_people_of_a_gallery_that_remembers_are_shown_with_their_nearest_row(prepared, tmp_path):
    network, gallery, extractor = prepared
    features, facts = extractor(gallery.paths[:6]), {"network": "x", "dimension": 512}
    address, fingerprint = tmp_path / "people.db", fingerprint_of(extractor.network)
    with Remembered.open(address, fingerprint=fingerprint, **facts) as people:
        people.add(features, ["Anna"] * 3 + ["Ben"] * 2 + ["Cleo"], ["door"] * 6, range(6))
    settings = RECIPE.Demo(tmp_path / "model.keras", tmp_path, people=str(address))
    named = dataclasses.replace(gallery, people=RECIPE.opener(settings, extractor))
    result = RECIPE.answer(network, named, images.read(gallery.paths[4]))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = 1 - unit @ unit[4]
    assert result.people[0].identity == "Ben"
    best = {"Anna": distances[:3].min(), "Ben": distances[3:5].min(), "Cleo": distances[5]}
    assert [(row.identity, pytest.approx(row.distance, abs=1e-4)) for row in result.people] == sorted(
        best.items(), key=lambda item: item[1]
    )
    name, distance, camera, time = RECIPE.described(result, named)["people"][0]
    assert (name, camera, time) == ("Ben", "door", 4.0)
    assert float(distance) < 1e-4
    with Remembered.open(address, fingerprint=fingerprint, **facts) as people:
        people.delete("Ben")
    assert "Ben" not in [row.identity for row in RECIPE.answer(network, named, images.read(gallery.paths[4])).people]
    assert RECIPE.described(RECIPE.answer(network, gallery, images.read(gallery.paths[4])), gallery)["people"] is None


def test_a_person_with_many_rows_hides_nobody(tmp_path):
    facts = {"network": "x", "fingerprint": "f", "dimension": 3}
    near = [[1, 0.001 * number, 0] for number in range(300)]
    with Remembered.open(tmp_path / "people.db", **facts) as people:
        people.add([*near, [1, 1, 0], [0, 1, 0]], ["Anna"] * 300 + ["Ben", "Cleo"], ["door"] * 302, range(302))
    gallery = SimpleNamespace(people=lambda: Remembered.open(tmp_path / "people.db", **facts))
    found = RECIPE.most_similar(gallery, np.array([[1.0, 0, 0]]))
    assert [(row.identity, row.time) for row in found] == [("Anna", 0), ("Ben", 300), ("Cleo", 301)]
    assert RECIPE.most_similar(gallery, np.zeros((1, 3))) == ()  # resembles nobody, and ends no ranking
    with Remembered.open(tmp_path / "people.db", **facts) as people:
        for name in ("Anna", "Ben", "Cleo"):
            people.delete(name)
    assert RECIPE.most_similar(gallery, np.array([[1.0, 0, 0]])) == ()


def test_a_gallery_that_is_not_there_or_of_another_network_is_refused(prepared, tmp_path):
    extractor = prepared[2]
    with pytest.raises(ValueError, match="`people` must be a gallery"):
        RECIPE.opener(RECIPE.Demo(Path("w"), tmp_path, people=str(tmp_path / "no.db")), extractor)
    assert not (tmp_path / "no.db").exists()
    Remembered.open(tmp_path / "other.db", network="another", fingerprint="0" * 64).close()
    with pytest.raises(ValueError, match="holds features of another"):
        RECIPE.opener(RECIPE.Demo(Path("w"), tmp_path, people=str(tmp_path / "other.db")), extractor)
    own = fingerprint_of(extractor.network)
    Remembered.open(tmp_path / "size.db", network="w", fingerprint=own, size=(3, 2)).close()
    with pytest.raises(ValueError, match="images of 3x2"):
        RECIPE.opener(RECIPE.Demo(Path("w"), tmp_path, people=str(tmp_path / "size.db")), extractor)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn"), r"'uvicorn'\. The page needs .*\[demo\]'$"),
        (ImportError("a gallery needs psycopg: pip install x", name="psycopg"), "^error: a .* psycopg: pip install x$"),
    ],
)
def test_what_must_be_installed_is_named_in_one_line(monkeypatch, error, line):
    def main(settings):
        raise error

    monkeypatch.setattr(sys, "argv", ["demo.py", "--weights", "w", "--gallery", "g"])
    with pytest.raises(SystemExit, match=line):
        load("recipes/local_page.py").run(main, RECIPE.Demo, "")


def test_attributes_are_shown_where_the_network_predicts_them(tmp_path):
    network = OSNet(**TINY)
    head = AttributeHead(("hat", "<bag>"), name="attributes")
    both = keras.Model(network.input, {"features": network.output, "attributes": head(network.output)})
    head.set_weights([np.zeros((512, 2)), np.log([1 / 3, 4])])  # probabilities of 1/4 and 4/5 for every image
    both.save(tmp_path / "model.keras")
    network, gallery = RECIPE.prepare(RECIPE.Demo(tmp_path / "model.keras", drawn(tmp_path / "gallery", people=2)))
    said = RECIPE.described(RECIPE.answer(network, gallery, images.read(gallery.paths[0])), gallery)
    names, probabilities = zip(*said["attributes"], strict=True)
    assert names == ("<bag>", "hat")  # the most probable first
    np.testing.assert_allclose(probabilities, [0.8, 0.25], rtol=1e-5)
    assert said["streams"] == []  # of a network without gates


def test_an_answer_takes_less_than_a_second(prepared):
    # .4 to .6 s on two cores that several trainings share. Keras has traced the network by now.
    network, gallery, _ = prepared
    image, seconds = images.read(gallery.paths[3]), []
    for _ in range(3):
        began = time.perf_counter()
        RECIPE.described(RECIPE.answer(network, gallery, image), gallery)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1


def empty(folder):
    (folder / "gallery").mkdir()


def text_as_image(folder):
    (drawn(folder / "gallery", 1, 1) / "text.jpg").write_text("no image")


def no_weights(folder):
    drawn(folder / "gallery", 1, 1)
    (folder / "model.keras").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, r"must be a folder"),
        (empty, r"must hold images "),
        (text_as_image, r"text\.jpg"),
        (no_weights, r"There is no weights file"),
    ],
    ids=["no folder", "empty folder", "text as image", "no weights"],
)
def test_what_cannot_be_shown_is_an_error_of_one_line(tmp_path, spoil, message):
    OSNet(**TINY).save(tmp_path / "model.keras")
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        RECIPE.main(RECIPE.Demo(tmp_path / "model.keras", tmp_path / "gallery", port=0, open=False))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("port", ["taken", 70_000])
def test_a_port_that_cannot_be_used_is_an_error_before_anything_is_computed(tmp_path, port):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if port == "taken" else port
        with pytest.raises(ValueError, match=rf"`port` must be a free port\. Received: port={port}"):
            RECIPE.main(RECIPE.Demo(tmp_path / "none.keras", tmp_path / "none", port=port, open=False))


@pytest.fixture(scope="module")
def port(prepared):
    """The port of a running demo."""
    with served(lambda listening: RECIPE.server(*prepared[:2], listening)) as port:
        yield port


def file_of(width, height, suffix="PNG", mode="RGB", **options):
    file = io.BytesIO()
    small = np.random.default_rng(0).integers(0, 256, (24, 32, len(mode)), np.uint8)
    Image.fromarray(small.squeeze(), mode).resize((width, height)).save(file, suffix, **options)
    return file.getvalue()


def black_png(width, height):
    """A PNG file of one bit a pixel, made without making the image."""
    rows = zlib.compress(bytes(height * (1 + -(-width // 8))), 9)
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def animation(frames):
    file = io.BytesIO()
    first, *rest = [Image.new("RGB", (300, 600), (6 * i, 90, 200 - 5 * i)) for i in range(frames)]
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


PART = b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nx\r\n'
UPLOADS = {
    "60,000 x 2": (lambda: black_png(60_000, 2), 422, "60,000 x 2 pixels"),
    "13,000 x 13,000": (lambda: black_png(13_000, 13_000), 422, "13,000 x 13,000 pixels"),
    "1 x 10,000": (lambda: black_png(1, 10_000), 200, ""),
    "a photograph of 12 megapixels": (lambda: file_of(4000, 3000, "JPEG", progressive=True, subsampling=0), 200, ""),
    "as many pixels as may be, with alpha": (lambda: file_of(4096, 4096, mode="RGBA", compress_level=1), 200, ""),
    "as many pixels as may be, in WebP": (lambda: file_of(4096, 4096, "WEBP", method=0), 200, ""),
    "10,000 x 10": (lambda: file_of(10_000, 10), 200, ""),
    "an animation": (lambda: animation(40), 200, ""),
    "a form of thousands of parts": (lambda: PART * 20_000, 422, "cannot be read"),
    "empty": (lambda: b"", 422, "cannot be read"),
    "text": (lambda: b"holiday", 422, "cannot be read"),
    "cut short": (lambda: file_of(90, 60, "JPEG")[:500], 422, "cannot be read"),
    "too many bytes": (lambda: bytes(2**25 + 1), 413, "larger than 33,554,432 bytes"),
}


def memory(key):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) / 1024


@pytest.mark.parametrize("name", UPLOADS)
def test_any_upload_is_answered_or_refused_within_5_seconds_and_300_megabytes(port, name):
    make, status, words = UPLOADS[name]
    body = make()
    if LINUX:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        before = memory("VmRSS")
    began = time.perf_counter()
    answer = ask(port, "POST", "/rank", body)
    assert time.perf_counter() - began < 5
    assert not LINUX or memory("VmHWM") - before < 300
    assert (answer[0], words in answer[2].decode()) == (status, True)
    if status == 200:
        assert len(json.loads(answer[2])["nearest"]) == 10
        assert len(answer[2]) < 500_000


def test_files_that_come_at_once_are_held_in_memory_a_few_at_a_time(port):
    body, statuses = bytes(2**25), []
    if LINUX:
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
    threads = [threading.Thread(target=lambda: statuses.append(ask(port, "POST", "/rank", body)[0])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [422] * 12
    assert not LINUX or memory("VmHWM") - before < 300


def test_a_file_that_does_not_arrive_is_refused_within_5_seconds(port):
    began = time.perf_counter()
    status, _, body = ask(port, "POST", "/rank", b"\xff\xd8", length=1000)
    assert (status, body) == (408, b"the file took more than 3 s to arrive")
    assert time.perf_counter() - began < 5


def test_a_dropped_file_of_the_gallery_comes_first_and_a_chosen_one_is_left_out(prepared, port):
    gallery = prepared[1]
    status, _, body = ask(port, "POST", "/rank", gallery.paths[7].read_bytes())
    assert (status, json.loads(body)["nearest"][0][0]) == (200, gallery.paths[7].name)
    status, _, body = ask(port, "POST", "/rank/7")
    assert status == 200
    assert gallery.paths[7].name not in [name for name, *_ in json.loads(body)["nearest"]]


@pytest.mark.parametrize("path", ["/rank/0", "/examples/0", "/rank"])
@pytest.mark.parametrize("name", FOREIGN)
def test_only_the_page_itself_may_ask_and_others_are_refused_before_their_file_is_read(port, name, path):
    headers = {key: value and value.format(port=port) for key, value in FOREIGN[name].items()}
    status, answered, body = ask(port, "POST", path, length=10**9, **headers)
    assert status in (400, 403)
    assert b"data:image" not in body
    assert "access-control-allow-origin" not in answered


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_other_methods_show_no_image_and_other_hosts_not_even_the_page(port, method):
    for path in ("/", "/rank/0", "/examples/0"):
        status, answered, body = ask(port, method, path, Origin=None)
        assert (status == 200) == ((method, path) == ("GET", "/"))
        assert b"data:image" not in body
        assert "access-control-allow-origin" not in answered
    assert ask(port, method, "/", Host=f"evil.example:{port}")[0] == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_both_names_of_this_machine_are_its_own_and_nothing_may_be_kept(port, name):
    own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
    for method, path in (("GET", "/"), ("POST", "/examples/0"), ("POST", "/rank/1")):
        status, answered, _ = ask(port, method, path, **own)
        assert (status, answered["cache-control"]) == (200, "no-store")
        assert "default-src 'none'" in answered["content-security-policy"]
        assert "frame-ancestors 'none'" in answered["content-security-policy"]
        assert "access-control-allow-origin" not in answered


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_no_image_stays_behind_however_the_demo_ends(tmp_path):
    pytest.importorskip("uvicorn", reason="needs uvicorn, of the extra demo")
    OSNet(**TINY).save(tmp_path / "model.keras")
    drawn(tmp_path / "gallery", people=1)
    running = []
    for number in (signal.SIGINT, signal.SIGTERM):
        home = tmp_path / number.name
        home.mkdir()
        words = [sys.executable, SCRIPT, "--weights", tmp_path / "model.keras", "--gallery", tmp_path / "gallery"]
        # In a folder of its own, with every folder for temporary files, caches and settings in it.
        places = {name: str(home) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}
        environment = os.environ | places | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        running.append((number, home, subprocess.Popen(
            [*words, "--port", "0", "--no-open"], env=environment, cwd=home, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )))  # fmt: skip
    content = file_of(700, 1400, "JPEG")
    for number, home, process in running:
        line = next(line for line in process.stdout if "http://127.0.0.1:" in line)
        port = int(line.split(":")[2].split()[0])
        assert ask(port, "POST", "/rank", content)[0] == 200
        assert ask(port, "POST", "/rank", black_png(13_000, 13_000))[0] == 422
        assert not images_below(home)  # so that none stays if the process is killed
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors
        assert "Warning" not in errors
        assert not images_below(home)


def images_below(folder):
    """Names of the files that hold a JPEG file, whatever they are called."""
    return [path for path in folder.rglob("*") if path.is_file() and b"\xff\xd8\xff" in path.read_bytes()]


def test_the_page_ranks_what_is_picked_or_dropped_and_refuses_a_file_that_is_no_image(port, browser, tmp_path):
    tab, complaints, asked = browser.new_page(viewport={"width": 390, "height": 800}), [], []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    address = f"http://127.0.0.1:{port}/"
    tab.goto(address)
    tab.locator("#examples button").nth(2).click(timeout=60_000)
    tab.locator("#result li").nth(9).wait_for(timeout=60_000)
    assert tab.locator("#result li").count() == 10
    assert tab.locator("#result .seen img").count() == 2
    assert tab.locator("#result .bars i").count() == 8  # four streams, of the image and of the gallery
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    render(3, 4, 1).save(tmp_path / "query.png")
    first = tab.locator("#result .seen img").first.get_attribute("src")
    tab.set_input_files("input[type=file]", tmp_path / "query.png")
    tab.wait_for_function("old => document.querySelector('#result .seen img')?.src !== old", arg=first, timeout=60_000)
    assert tab.evaluate("window.broken") is None  # the name of a gallery file is text
    assert not complaints
    (tmp_path / "holiday.jpg").write_text("no image")
    tab.set_input_files("input[type=file]", tmp_path / "holiday.jpg", timeout=60_000)
    tab.get_by_text("holiday.jpg: the file cannot be read as an image").wait_for(timeout=60_000)
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


LATE = """() => {
    const ask = fetch, released = new Promise((resolve) => { window.release = resolve; });
    window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        if (path === "rank") await released;
        return answer; }; }"""


def test_the_ranking_is_that_of_the_image_that_was_chosen_last(port, browser, tmp_path):
    def ready():
        tab.locator("#result:not([aria-busy]) .seen").wait_for(timeout=60_000)
        return tab.locator("#result .seen img").first.get_attribute("src")

    tab, pressed = browser.new_page(), "#examples button[aria-pressed=true]"
    tab.goto(f"http://127.0.0.1:{port}/")
    tab.locator("#examples button").nth(2).click(timeout=60_000)
    chosen = ready()
    assert tab.locator(pressed).count() == 1
    render(3, 4, 1).save(tmp_path / "query.png")
    tab.set_input_files("input[type=file]", tmp_path / "query.png")
    assert tab.locator(pressed).count() == 0
    assert ready() != chosen
    tab.evaluate(LATE)
    tab.set_input_files("input[type=file]", tmp_path / "query.png")
    tab.locator("#examples button").nth(2).click()
    assert ready() == chosen
    tab.evaluate("release()")
    tab.wait_for_timeout(500)
    assert ready() == chosen
