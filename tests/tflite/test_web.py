"""The page for a phone's browser: equal features, galleries shared with Python, nothing sent, no network needed."""

import base64
import hashlib
import http.client
import io
import itertools
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import PIL
import pytest
import web
from gallery import Gallery
from network import Network, read, weights_of
from PIL import Image
from thresholds import DEFAULT, proposed

from keras_osnet import OSNet
from keras_osnet.data.drawn.synthetic import render
from keras_osnet.export import to_tflite
from tests.scripts import ROOT

RUN = [sys.executable, ROOT / "tflite" / "run.py"]
FLAGS = {
    "wasm": [],
    "webgpu": ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A TFLite file of one size that takes uint8 images, of the weights that the package carries."""
    path = tmp_path_factory.mktemp("web") / "people.tflite"
    to_tflite(OSNet.from_preset("osnet_x0_25_people"), path, input_type="uint8")
    return path


@pytest.fixture(scope="module")
def found(file):
    if not web.runtime_folder().is_dir():
        pytest.skip(f"needs LiteRT.js in {web.runtime_folder()}, which the first run of tflite/web.py fetches")
    return web.contents(file, web.runtime_folder())


@pytest.fixture
def serving(found):
    with web.server(found, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


SIZES = [(64, 128), (189, 570), (50, 97)]
PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "market1501.tar.xz"


def photographed():
    """Three images of real people at their own size, and one of them enlarged."""
    if not PHOTOGRAPHS.is_file():
        pytest.skip(f"needs the research data in {PHOTOGRAPHS}")
    with tarfile.open(PHOTOGRAPHS) as archive:
        files = (archive.extractfile(member) for member in archive if "/query/" in member.name and member.isfile())
        people = [Image.open(file).convert("RGB") for file in itertools.islice(files, 0, 9, 3)]
    return people, people[0].resize((220, 440))


@pytest.fixture(scope="module")
def images(tmp_path_factory, request):
    """Images of three people, and one of them in a camera. Parameter "real": photographs."""
    folder = tmp_path_factory.mktemp("images")
    if getattr(request, "param", "drawn") == "real":
        people, seen = photographed()
    else:
        people = [render(i, 1, 0).resize(size) for i, size in enumerate(SIZES, start=1)]
        seen = render(1, 1, 0).resize((220, 440))
    for i, person in enumerate(people, start=1):
        person.save(folder / f"{i}.png")
    frame = Image.new("RGB", (640, 480), (96, 128, 112))
    frame.paste(seen, (210, 20))
    frame.save(folder / "frame.mjpeg", "JPEG", quality=95)  # a video of one frame
    return folder


@pytest.fixture
def launch(images):
    """Opens the page on an accelerator; at the end, it must have asked this machine only and logged no error."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    complaints, asked = [], []
    with driver.sync_playwright() as playwright:

        def opened(serving, accelerator="wasm", camera=True):
            flags = ["--no-sandbox", *FLAGS[accelerator]]
            if camera:
                flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
                flags += [f"--use-file-for-fake-video-capture={images / 'frame.mjpeg'}"]
            tab = playwright.chromium.launch(executable_path=chromium, args=flags).new_page(
                viewport={"width": 390, "height": 844}
            )
            tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.context.on("request", lambda request: asked.append(request.url))
            tab.goto(f"http://127.0.0.1:{serving.server_port}/?accelerator={accelerator}")
            if accelerator == "webgpu" and not tab.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
                pytest.skip("needs a WebGPU adapter")
            tab.get_by_text("Ready on the").wait_for(timeout=60_000)
            return tab

        yield opened
    assert not complaints
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:"))] == []


def chosen(tab, photos):
    """Gives the page photos, and waits for the answer of the first one."""
    tab.set_input_files("#photos", photos)
    tab.locator("#result").wait_for()


def enrol(tab, name):
    tab.fill("#who", name)
    tab.get_by_role("button", name="Add to the gallery").click()
    tab.get_by_role("button", name=f"Delete {name}").wait_for()


def exported(tab, path):
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Export").click()
    download.value.save_as(path)
    return path


def owner(file):
    content = file.read_bytes()
    return hashlib.sha256(content).hexdigest(), file.name, weights_of(content)


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


CROP = "document.getElementById('crop').toDataURL()"
EMBED = """async ([accelerator, width, height, encoded]) => {
    const { loadNetwork, resize } = await import("/network.js");
    const image = { width, height, data: Uint8ClampedArray.from(atob(encoded), (one) => one.charCodeAt()) };
    window.network ??= await loadNetwork(accelerator);
    const { facts } = window.network;
    return [Array.from(resize(image, facts.width, facts.height)), Array.from(await window.network.embed(image))]; }"""


@pytest.mark.parametrize("accelerator", FLAGS)
@pytest.mark.parametrize("images", ["drawn", "real"], indirect=True)
def test_pixels_equal_pillows_and_features_pythons_for_photos_and_the_camera(
    serving, launch, images, file, accelerator
):
    tab, network = launch(serving, accelerator), Network(file)
    crops = [read(images / f"{i}.png").convert("RGBA") for i in (1, 2, 3)]
    tab.get_by_role("button", name="Camera", exact=True).click()
    tab.locator("#result").wait_for(timeout=30_000)
    crops.append(Image.open(io.BytesIO(base64.b64decode(tab.evaluate(CROP).partition(",")[2]))).convert("RGBA"))
    assert crops[-1].size == (216, 432)  # of a frame of 640 x 480
    assert np.std(crops[-1]) > 10
    for crop in crops:
        pixels, feature = tab.evaluate(EMBED, [accelerator, *crop.size, base64.b64encode(crop.tobytes()).decode()])
        prepared = network.prepare(crop.convert("RGB"))
        difference = np.abs(np.reshape(pixels, prepared.shape).astype(int) - prepared)
        # Pillow 13 resizes along the height first where that shrinks most, the page along the width, as Pillow 12.
        assert difference.max() <= (1 if int(PIL.__version__.partition(".")[0]) > 12 else 0)
        assert cosine(feature, network.run(prepared)) > 0.9999


def shown_crop(tab):
    """RGB pixels of the box that the page computed the shown answer of."""
    tab.locator("#result").wait_for()
    content = base64.b64decode(tab.evaluate(CROP).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def saved_transparent(folder):
    """The same noise in transparent files of several kinds: one half fully, the other partly, or a colour of them."""
    g = np.random.default_rng(0)
    pixels, alpha = g.integers(0, 256, (90, 40, 3), dtype="uint8"), g.integers(0, 256, (90, 40), dtype="uint8")
    alpha[:, :20] = 0
    pixels[:9, :9] = 10, 200, 30
    plain, mask = Image.fromarray(pixels), Image.fromarray(alpha)
    full, grey, few = plain.copy(), plain.convert("L"), plain.quantize(200)
    for image in (full, grey):
        image.putalpha(mask)
    full.save(folder / "full.png")
    full.save(folder / "full.webp", lossless=True, exact=True)
    full.save(folder / "lossy.webp")
    grey.save(folder / "grey.png")
    few.save(folder / "few.png", transparency=bytes(alpha[0]))
    few.save(folder / "few.gif", transparency=7)
    plain.save(folder / "one.png", transparency=(10, 200, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    full.save(folder / "lying.png", exif=exif)
    return folder


NO_WEBGL = """() => {
    const get = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...given) {
        return kind === "webgl" ? null : get.call(this, kind, ...given); }; }"""


NO_CAMERA = """() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotAllowedError")); }"""


def test_transparency_is_ignored_as_python_does_or_refused_in_words(serving, launch, tmp_path):
    tab, folder = launch(serving), saved_transparent(tmp_path)
    for name in ("full.png", "full.webp", "lossy.webp", "grey.png", "few.png", "one.png"):
        tab.set_input_files("#photos", folder / name)
        np.testing.assert_array_equal(shown_crop(tab), read(folder / name), err_msg=name)
    for name in ("few.gif", "lying.png", "full.png"):
        if name == "full.png":
            tab.evaluate(NO_WEBGL)
        tab.set_input_files("#photos", folder / name)
        tab.get_by_text(f"{name} is transparent, and this browser cannot read its colours there. Save it").wait_for()


def test_a_photo_that_is_shown_again_can_be_tapped_and_dragged(serving, launch, images, tmp_path):
    def click(name):
        tab.get_by_role("button", name=name, exact=True).click()

    def touch():
        tab.locator("#result").wait_for(state="hidden")
        tab.locator("#stage").click()
        tapped = shown_crop(tab)
        edges = tab.locator("#stage").bounding_box()
        tab.mouse.move(edges["x"] + 20, edges["y"] + 20)
        tab.mouse.down()
        tab.mouse.move(edges["x"] + 100, edges["y"] + 150, steps=3)
        tab.mouse.up()
        return tapped.shape, shown_crop(tab).shape

    tab = launch(serving)
    Image.open(images / "frame.mjpeg").save(tmp_path / "wide.png")
    (tmp_path / "none.jpg").write_text("no image")
    chosen(tab, tmp_path / "wide.png")
    click("Camera")
    tab.locator("#video").wait_for()
    click("Stop")
    whole, dragged = touch()
    assert whole == (432, 216, 3)  # as the first box of this photo
    assert dragged[0] < whole[0]
    tab.set_input_files("#photos", tmp_path / "none.jpg")
    assert touch() == (whole, dragged)
    tab.evaluate(NO_CAMERA)
    click("Camera")
    tab.get_by_text("The camera was refused.").wait_for()
    assert touch() == (whole, dragged)


def test_the_answer_is_about_the_image_that_is_shown_however_quickly_another_was_chosen(serving, launch, images):
    tab = launch(serving)
    chosen(tab, [images / "1.png", images / "2.png"])
    enrol(tab, "Anna")
    # The second choice comes while the first one is computed.
    tab.evaluate("() => { const [one, two] = document.querySelectorAll('#strip button'); two.click(); one.click(); }")
    tab.locator("#result").wait_for()
    tab.wait_for_timeout(1000)
    assert tab.locator("#name").inner_text() == "Anna"
    assert tab.locator("#score").inner_text() == "cosine 1.000"


COUNTED_PHOTOS = """() => {
    const decode = createImageBitmap;
    window.made = [];
    window.createImageBitmap = async (...given) => {
        const bitmap = await decode(...given);
        made.push(bitmap);
        return bitmap; }; }"""


def test_photos_do_not_stay_decoded(serving, launch, images):
    tab = launch(serving)
    tab.evaluate(COUNTED_PHOTOS)
    chosen(tab, [images / f"{i}.png" for i in (1, 2, 3)])
    tab.locator("#strip button").nth(2).click()
    tab.locator("#strip button").nth(2).and_(tab.locator("[aria-pressed=true]")).wait_for()
    assert tab.evaluate("made.map((bitmap) => bitmap.width)") == [0] * 5  # each for its thumbnail, and two to be shown


SLOW_PHOTOS = """() => {
    const decode = createImageBitmap;
    window.createImageBitmap = async (...given) => {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        return decode(...given); }; }"""


def test_photos_that_are_still_read_do_not_stop_a_camera_that_was_started_meanwhile(serving, launch, images):
    tab = launch(serving)
    tab.evaluate(SLOW_PHOTOS)
    tab.set_input_files("#photos", [images / "1.png"])
    tab.get_by_role("button", name="Camera", exact=True).click()
    tab.locator("#video").wait_for()
    tab.wait_for_timeout(3000)  # until the photo is read
    assert tab.locator("#video").is_visible()
    assert tab.locator("#picture").is_hidden()


def test_galleries_go_to_python_and_come_back(serving, launch, images, file, tmp_path):
    tab = launch(serving)
    for i, name in ((1, "Zoë"), (2, "Anna <b>")):
        chosen(tab, images / f"{i}.png")
        enrol(tab, name)
    path = exported(tab, tmp_path / "people.npz")
    network, gallery = Network(file), Gallery.load(path, *owner(file))
    assert (gallery.names.tolist(), gallery.size) == (["Anna <b>", "Zoë"], "128x64")
    for i, name in ((1, "Zoë"), (2, "Anna <b>")):
        (best, near), _ = gallery.search(network.run(network.prepare(read(images / f"{i}.png"))), 2)
        assert best == name
        assert near > 0.9999
    people = tmp_path / "people"
    people.mkdir()
    shutil.copy(images / "3.png", people / "Bo 𝔹.png")
    command = [*RUN, file, "--gallery", path, "--add", people]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Delete Zoë").click()
    tab.get_by_text("People: 1, features: 1").wait_for()
    tab.set_input_files("#import", path)
    tab.get_by_text("People: 3, features: 3").wait_for()
    assert Gallery.load(exported(tab, path), *owner(file)).names.tolist() == ["Anna <b>", "Bo 𝔹", "Zoë"]


RENAMED = """([from, to]) => new Promise((resolve) => {
    const request = indexedDB.open("keras_osnet", 1);
    request.onsuccess = () => {
        const base = request.result, work = base.transaction("galleries", "readwrite");
        const store = work.objectStore("galleries");
        const moved = store.get(from), keys = store.getAllKeys();
        moved.onsuccess = () => { if (to) { store.put(moved.result, to); store.delete(from); } };
        work.oncomplete = () => { base.close(); resolve(keys.result); }; }; })"""


def test_a_gallery_that_an_earlier_version_stored_without_the_size_is_kept_and_then_stored_with_it(
    serving, launch, images, file
):
    tab, weights = launch(serving), weights_of(file.read_bytes())
    chosen(tab, images / "1.png")
    enrol(tab, "Anna")
    assert tab.evaluate(RENAMED, [f"{weights} 128x64", weights]) == [f"{weights} 128x64"]
    tab.reload()
    tab.get_by_text("People: 1, features: 1").wait_for(timeout=60_000)
    chosen(tab, images / "2.png")
    enrol(tab, "Bo")
    assert tab.evaluate(RENAMED, [weights, None]) == [f"{weights} 128x64"]


def test_a_person_is_added_under_the_name_that_stood_there_when_the_button_was_pressed(serving, launch, images):
    tab = launch(serving)
    chosen(tab, images / "1.png")
    tab.fill("#who", "Anna")
    tab.evaluate("""() => {
        const form = document.getElementById("enrol"); // pressed twice; then somebody writes on
        form.requestSubmit();
        form.requestSubmit();
        document.getElementById("who").value = "Bo"; }""")
    tab.get_by_text("People: 1, features: 1").wait_for()
    tab.wait_for_timeout(1000)
    assert tab.locator("#people li span").all_inner_texts() == ["Anna"]
    assert tab.locator("#message").is_hidden()


def test_an_export_holds_people_whom_another_tab_has_added(serving, launch, images, file, tmp_path):
    tab = launch(serving)
    for i, name in ((1, "Anna"), (2, "Bo")):
        chosen(tab, images / f"{i}.png")
        enrol(tab, name)
        if i == 1:
            with tab.expect_popup() as popup:
                tab.evaluate("open(location)")
            other = popup.value
            other.get_by_text("Ready on the").wait_for(timeout=60_000)
    other.get_by_text("People: 2, features: 2").wait_for()
    assert Gallery.load(exported(other, tmp_path / "people.npz"), *owner(file)).names.tolist() == ["Anna", "Bo"]


SECONDS = """async () => {
    const { proposed } = await import("/thresholds.js"), count = 200, size = 512;
    const entries = Array.from({ length: count }, (_, i) => ({ name: `p${i >> 1}`, scale: 1 / 1700,
        values: Int8Array.from({ length: size }, () => 255 * Math.random() - 127) }));
    const timed = (action) => { const began = performance.now(); action(); return performance.now() - began; };
    const products = () => {
        let sum = 0;
        for (const { values: a } of entries) for (const { values: b } of entries)
            for (let i = 0; i < size; i += 1) sum += a[i] * b[i];
        window.sum = sum; };
    const least = (action) => Math.min(...Array.from({ length: 3 }, () => timed(action)));
    return [least(() => proposed(entries)), least(products)]; }"""


def test_the_threshold_takes_about_the_time_of_the_products_of_all_pairs(serving, launch):
    took, products = launch(serving).evaluate(SECONDS)
    assert took < 5 * products


PROPOSED = """async () => {
    const { changing } = await import("/gallery.js"), { proposed } = await import("/thresholds.js");
    return proposed((await changing(await (await fetch("model.json")).json())).entries); }"""


@pytest.mark.parametrize("shots", [(3, 3, 3, 3), (1, 1, 1), (4, 1, 2), (2, 2)])
def test_the_threshold_is_proposed_from_the_gallery_as_python_does(serving, launch, file, tmp_path, shots):
    tab, network = launch(serving), Network(file)
    gallery = Gallery(tmp_path / "people.npz", *owner(file))
    for i, count in enumerate(shots, start=1):
        features = [network.run(network.prepare(render(i, camera, 0))) for camera in range(1, count + 1)]
        gallery.append([f"p{i}"] * count, np.stack(features))
    gallery.save()
    tab.set_input_files("#import", tmp_path / "people.npz")
    tab.get_by_text(f"People: {len(shots)}, features: {sum(shots)}").wait_for()
    expected = proposed(gallery)
    assert tab.evaluate(PROPOSED) == pytest.approx(expected, abs=1e-6)
    shown = f"{DEFAULT if expected is None else expected:.2f}"
    assert tab.locator("#value").inner_text() == shown
    tab.locator("#threshold").fill("0.9")
    assert tab.evaluate("Object.keys(localStorage)") == [f"threshold {owner(file)[2]} 128x64"]  # of these weights
    assert tab.locator("#value").inner_text() == "0.90"
    assert not tab.locator("#proposed").is_checked()
    tab.reload()
    tab.get_by_text("Ready on the CPU").wait_for(timeout=60_000)
    assert tab.locator("#value").inner_text() == "0.90"
    tab.locator("#proposed").check()
    assert tab.locator("#value").inner_text() == shown


def test_the_page_opens_and_answers_without_its_server(serving, launch, images):
    tab = launch(serving)
    chosen(tab, images / "1.png")
    enrol(tab, "Anna")
    serving.shutdown()
    serving.server_close()
    began = time.perf_counter()
    tab.reload()
    tab.get_by_text("Ready on the CPU").wait_for(timeout=30_000)
    tab.set_input_files("#photos", images / "1.png")
    tab.locator("#name.known").wait_for()
    assert time.perf_counter() - began < 10  # 2 on a quiet machine
    assert tab.locator("#name").inner_text() == "Anna"


def test_what_cannot_be_used_is_refused_in_words(serving, launch, images, file, tmp_path):
    tab = launch(serving, camera=False)
    tab.get_by_role("button", name="Camera", exact=True).click()
    tab.get_by_text("Choose photos instead").or_(tab.get_by_text("or choose photos.").nth(1)).wait_for()
    (tmp_path / "holiday.jpg").write_text("no image")
    tab.set_input_files("#photos", tmp_path / "holiday.jpg")
    tab.get_by_text("holiday.jpg cannot be read as an image.").wait_for()
    other = Gallery(tmp_path / "other.npz", "0" * 64, "other.tflite", "1" * 64)
    other.append(["Anna"], np.ones((1, 512), np.float32))
    other.save()
    tab.set_input_files("#import", tmp_path / "other.npz")
    tab.get_by_text("other.npz holds features of another network, other.tflite, which cannot be compared").wait_for()
    large = Gallery(tmp_path / "large.npz", *owner(file), "256x128")
    large.append(["Anna"], np.ones((1, 512), np.float32))
    large.save()
    tab.set_input_files("#import", tmp_path / "large.npz")
    tab.get_by_text("large.npz holds features of images of 256x128, which cannot be compared").wait_for()
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:-1])
    tab.set_input_files("#import", tmp_path / "cut.npz")
    tab.get_by_text("cut.npz is no gallery, or was changed or cut short").wait_for()


def test_an_error_stays_while_the_camera_runs_and_a_long_name_widens_nothing(serving, launch, tmp_path):
    tab = launch(serving)
    tab.get_by_role("button", name="Camera", exact=True).click()
    tab.locator("#result").wait_for()
    enrol(tab, "a name that is much too long for the width of a phone")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    (tmp_path / "none.npz").write_text("no gallery")
    tab.set_input_files("#import", tmp_path / "none.npz")
    tab.get_by_text("none.npz is no gallery").wait_for()
    tab.wait_for_timeout(1000)  # several answers
    assert "none.npz is no gallery" in tab.locator("#message").inner_text()


def test_without_its_server_the_page_is_as_it_was_last_served(found, launch, monkeypatch):
    served = dict(found)
    with web.server(served, 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        tab = launch(serving)  # at an address with a search
        served["/"] = found["/"][0], found["/"][1].replace(b"<h1>Known people</h1>", b"<h1>People of today</h1>")
        tab.reload()
        tab.get_by_text("Ready on the CPU").wait_for(timeout=60_000)
        # A connection that is open would outlive `shutdown`.
        monkeypatch.setattr(serving.RequestHandlerClass, "do_GET", lambda own: setattr(own, "close_connection", True))
        tab.reload()
        tab.get_by_text("Ready on the CPU").wait_for(timeout=60_000)
        assert tab.locator("h1").inner_text() == "People of today"
        serving.shutdown()


FIRST_WORD = """async () => { const late = AbortSignal.timeout(20_000);
    const reader = (await fetch("/words", { signal: late })).body.getReader();
    return new TextDecoder().decode((await reader.read()).value); }"""
KEPT = """async () => { const cache = await caches.open("keras_osnet"), home = await fetch("/");
    return [await home.text(), await (await cache.match("/")).text(), Boolean(await cache.match("/words"))]; }"""


def test_answers_of_another_server_at_the_same_address_later_are_not_kept_and_not_held_back(
    serving, launch, monkeypatch
):
    def do_GET(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"first")
        if handler.path == "/words":
            ended.wait(60)

    tab, ended = launch(serving), threading.Event()
    monkeypatch.setattr(serving.RequestHandlerClass, "do_GET", do_GET)
    try:
        assert tab.evaluate(FIRST_WORD) == "first"
    finally:
        ended.set()
    home, kept, words = tab.evaluate(KEPT)
    assert home == "first"
    assert "Known people" in kept
    assert not words


TURNED_CAMERA = """() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
    const pen = canvas.getContext("2d");
    setInterval(() => { pen.fillStyle = `hsl(${Math.random() * 360} 80% 50%)`; pen.fillRect(0, 0, 640, 640); }, 50);
    window.turn = () => { [canvas.width, canvas.height] = [canvas.height, canvas.width]; };
    navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(); }"""
SHARES = """() => {
    const [box, stage, crop, video] = ["box", "stage", "crop", "video"].map((id) => document.getElementById(id));
    const shown = stage.clientWidth / stage.clientHeight, { videoWidth, videoHeight } = video;
    return [shown, box.offsetWidth / stage.clientWidth, crop.width / videoWidth, box.offsetHeight / stage.clientHeight,
        crop.height / videoHeight]; }"""


def test_a_turned_phone_has_the_box_in_the_middle_of_the_turned_image(serving, launch):
    tab = launch(serving)
    tab.evaluate(TURNED_CAMERA)
    tab.get_by_role("button", name="Camera", exact=True).click()
    for width, height in ((640, 480), (480, 640)):
        tab.locator("#result").wait_for()
        tab.wait_for_function("height => document.getElementById('crop').height === height", arg=0.9 * height)
        wide = 0.45 * height / width  # half the height, as a part of the width
        assert tab.evaluate(SHARES) == pytest.approx([width / height, wide, wide, 0.9, 0.9], abs=0.01)
        tab.evaluate("turn()")


def test_other_hosts_are_refused_and_only_own_files_may_be_loaded(serving):
    def ask(host, path="/"):
        connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=10)
        connection.request("GET", path, headers={"Host": host.format(serving.server_port)})
        answer = connection.getresponse()
        answer.read()
        return answer

    assert ask("evil.example:{}").status == 403
    assert ask("127.0.0.1").status == 403
    assert ask("localhost:{}", "/../web.py").status == 404
    answer = ask("127.0.0.1:{}")
    assert answer.status == 200
    assert "default-src 'self'; script-src 'self' 'wasm-unsafe-eval';" in answer.headers["Content-Security-Policy"]


def test_files_that_the_page_cannot_run_are_refused_in_words(tmp_path):
    (tmp_path / "none.tflite").write_text("no network")
    with pytest.raises(ValueError, match=r"none.tflite is not a TFLite file"):
        web.facts(tmp_path / "none.tflite")
    tiny = OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1))
    for name, options in {"float.tflite": {}, "pipeline.tflite": {"pipeline": True}}.items():
        to_tflite(tiny, tmp_path / name, **options)
        with pytest.raises(ValueError, match=r"must take uint8 images of one size. `convert.py --input uint8` writes"):
            web.facts(tmp_path / name)
    classifier = OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1), classes=3)
    to_tflite(classifier, tmp_path / "classes.tflite", input_type="uint8")
    with pytest.raises(ValueError, match=r"classes.tflite must return features. It returns logits"):
        web.facts(tmp_path / "classes.tflite")


def test_where_there_is_no_home_folder_another_one_is_asked_for(monkeypatch):
    def fail(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KERAS_OSNET_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", fail)
    with pytest.raises(OSError, match=r"\$KERAS_OSNET_CACHE must name a folder, as there is no home folder"):
        web.cache()


def test_a_port_that_is_taken_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "fetch_runtime", lambda folder: pytest.fail("the work has begun"))
    with web.server({}, 0) as taken:
        monkeypatch.setattr(sys, "argv", ["web.py", "--port", str(taken.server_port)])
        with pytest.raises(ValueError, match=r"`port` must be a free port"):
            web.main()


NPM = """#!/bin/sh
mkdir -p node_modules/@litertjs
echo own > node_modules/@litertjs/core.js
if [ -n "$MEANWHILE" ]; then
    mkdir "$MEANWHILE"
    echo other > "$MEANWHILE/core.js"
fi
"""


@pytest.mark.parametrize("meanwhile", [False, True])
def test_the_runtime_is_fetched_once_also_if_another_process_has_fetched_it_meanwhile(meanwhile, tmp_path, monkeypatch):
    (tmp_path / "npm").write_text(NPM)
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    folder = tmp_path / "cache" / "litertjs"
    if meanwhile:
        monkeypatch.setenv("MEANWHILE", str(folder))
    web.fetch_runtime(folder)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [
        ("core.js", "other\n" if meanwhile else "own\n")
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["litertjs"]


def test_without_npm_the_error_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"LiteRT.js is fetched by npm, which is not installed"):
        web.fetch_runtime(tmp_path / "litertjs")
