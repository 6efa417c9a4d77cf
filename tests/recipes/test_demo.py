"""The demo: what it answers, how fast, and its page in a browser."""

import importlib.util
import math
import shutil
import socket
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.data.drawn.synthetic import render
from keras_osnet.models.attribute_head import AttributeHead

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "demo.py"
SPEC = importlib.util.spec_from_file_location("demo", SCRIPT)
RECIPE = importlib.util.module_from_spec(SPEC)
sys.modules["demo"] = RECIPE  # dataclasses look their module up
SPEC.loader.exec_module(RECIPE)


def rendered(folder, people=4, shots=3):
    folder.mkdir()
    for person in range(1, people + 1):
        for shot in range(shots):
            render(person, shot + 1, 0).save(folder / f"{person:04d}_{shot}.png")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Network and gallery of 12 pictures, and the extractor that gives their features by itself."""
    folder = tmp_path_factory.mktemp("demo")
    model = OSNet(0.25)  # at 256 x 128, for the time that it takes
    model.save(folder / "model.keras")
    settings = RECIPE.Demo(folder / "model.keras", rendered(folder / "gallery"))
    return *RECIPE.prepare(settings), FeatureExtractor(model)


def slow_ranking(extractor, paths, picture):
    features = extractor([*paths, picture])
    return sorted((math.dist(feature.tolist(), features[-1].tolist()), i) for i, feature in enumerate(features[:-1]))


def test_the_answer_is_the_ranking_of_a_plain_loop(prepared, tmp_path):
    network, gallery, extractor = prepared
    path = tmp_path / "query.png"
    render(2, 4, 1).save(path)
    result = RECIPE.answer(network, gallery, RECIPE.read(path))
    want = slow_ranking(extractor, gallery.paths, path)[:10]
    assert result.found.tolist() == [i for _, i in want]
    np.testing.assert_allclose(result.distances, [distance for distance, _ in want], rtol=1e-3)
    assert result.heat.shape == result.picture.shape == (128, 64, 3)
    assert result.exponents.sum() == pytest.approx(1)


def test_a_picture_of_the_gallery_is_left_out_of_its_own_ranking(prepared):
    network, gallery, extractor = prepared
    picture = RECIPE.read(gallery.paths[7])
    assert RECIPE.answer(network, gallery, picture).found[0] == 7
    want = [i for _, i in slow_ranking(extractor, gallery.paths, gallery.paths[7]) if i != 7][:10]
    assert RECIPE.answer(network, gallery, picture, left_out=7).found.tolist() == want


def test_what_is_shown_of_an_answer_names_pictures_distances_and_exponents(prepared):
    network, gallery, _ = prepared
    result = RECIPE.answer(network, gallery, RECIPE.read(gallery.paths[0]))
    shown = RECIPE.ranking(result, gallery)
    assert shown.count("<img") == 10
    for index, distance in zip(result.found, result.distances, strict=True):
        assert f"{distance:.3g}<br>{gallery.paths[index].name}" in shown
    bars = RECIPE.gates(result, gallery)
    for own, mean in zip(result.exponents, gallery.exponents, strict=True):
        assert f"width:{100 * own:.1f}%" in bars
        assert f"width:{100 * mean:.1f}%" in bars


def test_attributes_are_shown_where_the_network_gives_them(tmp_path):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1))
    head = AttributeHead(("hat", "<bag>"), name="attributes")
    both = keras.Model(network.input, {"features": network.output, "attributes": head(network.output)})
    head.set_weights([np.zeros((512, 2)), np.log([1 / 3, 4])])  # probabilities of 1/4 and 4/5, whatever the picture
    both.save(tmp_path / "model.keras")
    settings = RECIPE.Demo(tmp_path / "model.keras", rendered(tmp_path / "gallery", people=2))
    network, gallery = RECIPE.prepare(settings)
    result = RECIPE.answer(network, gallery, RECIPE.read(gallery.paths[0]))
    np.testing.assert_allclose(result.attributes, [0.25, 0.8], rtol=1e-5)
    shown = RECIPE.attributes(result, gallery)
    assert "80 %" in shown.partition("hat")[0]  # the most probable first
    assert "25 %" in shown.partition("hat")[2]
    assert "<bag>" not in shown


def test_an_answer_takes_less_than_a_second(prepared):
    # .4 to .6 s on two cores that several trainings share. Keras has traced the network by now.
    network, gallery, _ = prepared
    picture, seconds = RECIPE.read(gallery.paths[3]), []
    for _ in range(3):
        began = time.perf_counter()
        result = RECIPE.answer(network, gallery, picture)
        [part(result, gallery) for part in RECIPE.PARTS]
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1


def test_a_network_without_gates_says_so():
    network = RECIPE.watched(OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1)))
    picture = np.zeros((40, 20, 3), np.uint8)
    gallery = RECIPE.Gallery([Path("a.png")], np.ones((1, 512), "float32"), np.empty(0), "cosine")
    result = RECIPE.answer(network, gallery, picture)
    assert result.exponents.shape == (0,)
    assert "no gates that depend on the picture" in RECIPE.gates(result, gallery)


def test_names_of_files_are_no_markup(tmp_path):
    path = tmp_path / "<b>&.png"
    render(1, 1, 0).save(path)
    gallery = RECIPE.Gallery([path], np.ones((1, 2)), np.empty(0), "euclidean")
    result = RECIPE.Answer(None, None, np.array([0]), np.array([1.0]), np.empty(0), np.empty(0))
    assert "&lt;b&gt;&amp;.png" in RECIPE.ranking(result, gallery)


def empty(folder):
    (folder / "gallery").mkdir()


def text_as_picture(folder):
    (rendered(folder / "gallery", 1, 1) / "text.jpg").write_text("no picture")


def no_weights(folder):
    rendered(folder / "gallery", 1, 1)
    (folder / "model.keras").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, r"`folder` must be a folder"),
        (empty, r"`folder` must hold pictures"),
        (text_as_picture, r"1 of 2 images cannot be read: .*text\.jpg"),
        (no_weights, r"There is no weights file"),
    ],
    ids=["no folder", "empty folder", "text as picture", "no weights"],
)
def test_what_cannot_be_shown_is_an_error_of_one_line(tmp_path, spoil, message):
    OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1)).save(tmp_path / "model.keras")
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        RECIPE.main(RECIPE.Demo(tmp_path / "model.keras", tmp_path / "gallery", open=False))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"^holiday\.jpg is no picture that can be read$"):
        RECIPE.read(tmp_path / "a.jpg", "holiday.jpg")


@pytest.fixture
def address(prepared, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="needs Gradio, an optional extra")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    network, gallery, _ = prepared
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = RECIPE.page_of(network, gallery)
    RECIPE.serve(page, RECIPE.Demo(Path(), Path(), port=port, open=False), prevent_thread_lock=True)
    yield f"http://127.0.0.1:{port}"
    page.close(verbose=False)


@pytest.fixture
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_ranks_a_picture_that_is_picked_and_refuses_a_file_that_is_none(address, browser, tmp_path):
    tab, complaints, asked = browser.new_page(viewport={"width": 390, "height": 800}), [], []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.locator("#examples button").nth(2).click(timeout=60_000)
    tab.locator("#result li").nth(9).wait_for(timeout=60_000)
    assert tab.locator("#result li").count() == 10
    assert tab.locator("#result .seen img").count() == 2
    assert tab.locator("#result .gates div").count() == 8  # four streams, the picture's and the gallery's
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    render(3, 4, 1).save(tmp_path / "query.png")
    first = tab.locator("#result .seen img").first.get_attribute("src")
    tab.set_input_files("input[type=file]", tmp_path / "query.png")
    tab.wait_for_function("old => document.querySelector('#result .seen img')?.src !== old", arg=first, timeout=60_000)
    assert not complaints
    tab.reload()
    complaints.clear()  # of what the reload broke off
    (tmp_path / "holiday.jpg").write_text("no picture")
    tab.set_input_files("input[type=file]", tmp_path / "holiday.jpg", timeout=60_000)
    tab.get_by_text("holiday.jpg is no picture that can be read").first.wait_for(timeout=60_000)
    assert not complaints
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
