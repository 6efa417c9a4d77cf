"""The report: what its page holds, what it says where something is missing, and how it behaves in a browser."""

import base64
import json
import re
import shutil
from dataclasses import replace
from io import BytesIO

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.data import Record, Splits
from keras_osnet.data.drawn import synthetic
from keras_osnet.report import write_report
from keras_osnet.report.page import _about, _map
from keras_osnet.report.report import _test_set

SIZE = (64, 32, 3)
# A file name that would end the script and start another, were it not escaped. Of a path the last two parts are shown.
HOSTILE = ("<", "script><img src=x onerror='window.broken=1'>&amp;.jpg")
NAMES = ("has a bag", "<b>wears red</b>", "has long hair")
HISTORY = [{"epoch": epoch, "loss": 5 / epoch, "learning_rate": 0.065, "rank1": 0.1 * epoch} for epoch in (1, 2, 3)]


def network(variant="osnet"):
    keras.utils.set_random_seed(3)
    return OSNet(0.25, variant, SIZE)


@pytest.fixture(scope="module")
def untrained():
    return network()


def features_of(records, spread):
    """Near each other for one person, with so much of a spread that some are nearer to somebody else."""
    rng = np.random.default_rng(5)
    people = {identity: rng.normal(size=8) for identity in sorted({r.identity for r in records})}
    return np.array([people[r.identity] + spread * rng.normal(size=8) for r in records], np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with everything in it, a lost image, and a file name that is out for trouble."""
    folder = tmp_path_factory.mktemp("report")
    settings = synthetic.SyntheticSettings(train_identities=1, test_identities=7, distractors=5, width=24, height=48)
    splits = synthetic.load(folder, settings)
    (folder / HOSTILE[0]).mkdir()
    moved = folder.joinpath(*HOSTILE)
    shutil.copy(splits.query[0].path, moved)
    lost = replace(splits.query[1], path=str(folder / "lost" / "image.jpg"))
    query = (replace(splits.query[0], path=str(moved)), lost, *splits.query[2:])
    splits = replace(splits, query=query)
    features = np.split(features_of(splits.query + splits.gallery, 0.7), [len(query)])
    labels = np.arange(len(query) * 3).reshape(-1, 3) % 2
    lines = [*map(json.dumps, HISTORY), '{"another": "program"}', '{"epoch": 4, "loss": NaN}', '{"epoch": 5, "lo']
    (folder / "metrics.jsonl").write_text("\n".join(lines))  # the last ones are left out
    seconds = {}
    page = write_report(
        folder,
        network(),
        splits,
        dataset="tiny & small",
        features=features,
        compare=network("osnet_t1"),
        names=("osnet_x0_25", "of <one> stream"),
        attributes=(NAMES, np.full((len(query), 3), 0.75), labels),
        progress=seconds.__setitem__,
    )
    return page, splits, features, seconds


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A report of almost nothing: no cameras, no gates, no match, no attributes, no training; features as they come."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "report").mkdir()
    (folder / "report" / "gates.png").write_text("of an earlier report")
    (folder / "report.html").write_text('<a href="#top">To the report</a>')
    records = []
    for identity in (1, 2, 3, 4):
        path = folder / f"{identity}.png"
        Image.fromarray(np.full((20, 11, 3), 50 * identity, np.uint8)).save(path)
        records.append(Record(str(path), identity, None))
    return write_report(folder, network("osnet_t1"), Splits((), tuple(records[:2]), tuple(records[2:])), layer="conv3")


def text_of(page):
    return page.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text_of(page), re.S)[1])


def slow_ranking(splits, features):
    """[(average precision, rank of the first match, [(gallery row, kind), ...]), ...] of each query, in plain loops."""
    found = []
    for record, feature in zip(splits.query, features[0], strict=True):
        distances = [float(((feature.astype(float) - other) ** 2).sum()) for other in features[1]]
        order, hits, rank, precisions = sorted(range(len(distances)), key=distances.__getitem__), [], 0, []
        first = 0
        for row in order:
            other = splits.gallery[row]
            if other.identity == record.identity and other.camera == record.camera:
                hits.append((row, 2))
                continue
            rank += 1
            hits.append((row, int(other.identity != record.identity)))
            if other.identity == record.identity:
                first = first or rank
                precisions.append((len(precisions) + 1) / rank)
        found.append((sum(precisions) / len(precisions), first, hits[:10]))
    return found


def test_the_page_lists_the_queries_from_the_worst_with_their_hits(made):
    page, splits, features, _ = made
    entries, expected = data_of(page)["ranking"], slow_ranking(splits, features)
    assert sorted(row for row, *_ in entries) == list(range(len(splits.query)))
    assert [precision for _, precision, *_ in entries] == sorted(round(ap, 4) for ap, *_ in expected)
    for row, precision, first, hits in entries:
        assert precision == pytest.approx(expected[row][0], abs=1e-4)
        assert first == expected[row][1]
        assert [(hit - len(splits.query), kind) for hit, kind, _ in hits] == expected[row][2]
    assert {kind for *_, hits in entries for _, kind, _ in hits} == {0, 1, 2}


def test_the_page_loads_nothing(made, bare):
    for page in (made[0], bare):
        text = text_of(page)
        assert {link for link in re.findall(r'(?:src|href)="([^"]*)"', text) if link[0] != "#"} == {"data:,"}
        assert not re.findall(r"url\((?!#)|@import|https?://(?!www.w3.org)", text)


def test_every_image_is_in_the_page_once_and_small(made):
    page, splits, _, _ = made
    images = data_of(page)["images"]
    assert len({row[0] for row in images.values()}) == len(images) == len(splits.query + splits.gallery)
    sizes = {Image.open(BytesIO(base64.b64decode(row[4]))).size for row in images.values() if row[4]}
    assert sizes == {(24, 48)}


def test_a_file_name_cannot_become_part_of_the_page(made):
    page = made[0]
    assert data_of(page)["images"]["0"][0] == "/".join(HOSTILE)
    text = text_of(page)
    assert text.count("</script>") == 2
    assert "<img src=x" not in text
    assert "<b>wears red" not in text
    assert "<h1>osnet_x0_25 on tiny &amp; small</h1>" in text


def test_lost_images_are_counted_and_named(made):
    page, splits, _, _ = made
    shown = len(splits.query) + len(splits.gallery)
    assert f"1 of the {shown} images on this page cannot be read" in text_of(page)
    assert data_of(page)["images"]["1"][::4] == ["lost/image.jpg", None]


def test_scores_attributes_and_training_are_in_the_page(made):
    page, splits, features, _ = made
    text, expected = text_of(page), slow_ranking(splits, features)
    tiles = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", text))
    assert tiles["mAP"] == f"{100 * np.mean([ap for ap, *_ in expected]):.2f} %"
    assert tiles["Rank-1"] == f"{100 * np.mean([first == 1 for _, first, _ in expected]):.2f} %"
    # 75 % for everything: right where the label is 1, wrong where it is 0.
    labels = (np.arange(len(splits.query) * 3) % 2)[: 3 * 12]
    assert text.count("✓ has") + text.count("✓ &lt;b&gt;") == labels.sum()
    assert text.count("✗ has") + text.count("✗ &lt;b&gt;") == (1 - labels).sum()
    drawn = set(re.findall(r'aria-label="(.*?)"', text))
    assert "Loss over 3 epochs; at the end loss 1.667." in drawn
    assert "Scores, % over 3 epochs; at the end rank1 0.3." in drawn
    assert text.count("<svg") == 6
    assert "Beside each map is the one of of &lt;one&gt; stream." in text


def test_every_figure_is_a_png_of_its_own(made, bare):
    names = {path.stem for path in (made[0].parent / "report").glob("*.png")}
    assert names == {"activations", "attributes", "cmc", "distances", "exponents", "features", "gates", "ranking",
                     "roc", "training", "triplets"}  # fmt: skip
    assert {path.stem for path in (bare.parent / "report").glob("*.png")} == {"activations", "features", "ranking"}
    assert all(Image.open(path).width > 100 for path in (made[0].parent / "report").glob("*.png"))


def test_the_time_of_each_part_is_reported(made):
    assert {"features", "distances", "activation maps and gates", "figures"} <= set(made[3])
    assert all(seconds >= 0 for seconds in made[3].values())


@pytest.mark.parametrize(
    "words",
    [
        "osnet_t1_x0_25 has no gates that depend on the image.",
        "No query has a match under another camera, so there is nothing to score.",
        "No query has both a match and an impostor",
        "The network outputs features, no attributes; the dataset has none either.",
        "Cameras are not known for all images. An image of unknown camera counts as one under another camera",
        "There is no metrics.jsonl beside these weights",
    ],
)
def test_the_page_says_what_is_not_there(bare, words):
    assert words in re.sub(r"\s+", " ", text_of(bare))


def test_without_cameras_there_is_nothing_to_choose_by_camera(made, bare):
    for control in ("ranking-camera", "map-colour"):
        assert f'<select id="{control}"' in text_of(made[0])
        assert f'<select id="{control}"' not in text_of(bare)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "conv9"}, r"`layer` must be .*conv4.*conv5.*Received: layer='conv9'"),
        ({"block": "conv9_1"}, r"`block` must be .*conv2_1, .*conv4_2.*Received: block='conv9_1'"),
        ({"features": (np.ones((3, 8)), np.ones((2, 8)))}, "`features` must be of query .*Received: 3 and 2 for 4 "),
        ({"features": (np.ones((4, 8)), np.ones((4, 7)))}, "must have the same number of columns"),
        ({"features": (np.ones((4, 8)), [["a"] * 8] * 4)}, "`gallery_features` must be a 2-D array of real numbers"),
        ({"attributes": (NAMES, *np.ones((2, 4, 2)))}, r"`attributes` must .*= \(4, 3\)\. Received: \(4, 2\) and"),
        ({"attributes": lambda: (NAMES, *np.ones((2, 4, 2)))}, r"`attributes` must .*= \(4, 3\)\. Received: \(4, 2\) "),
        ({"attributes": lambda: 3}, "`attributes` must be names, probabilities and labels. Received: 3"),
        ({"attributes": (NAMES, *np.full((2, 4, 3), 7.5))}, r"`probabilities` must lie in 0 \.\. 1"),
        ({"attributes": (NAMES, *np.full((2, 4, 3), 0.5))}, "`labels` must be 0 or 1"),
        ({"attributes": ("abc", *np.ones((2, 4, 3)))}, "`names` must be a list"),
        ({"features": np.ones((99, 9))}, r"`features` must be .* Received: [^I]{,100} for 4 and 4 images"),
        ({"layer": None}, "`layer` must be one whose output is maps: .* Received: layer='None'"),
        ({"metric": "manhattan"}, "`metric` must be one of"),
        ({"groups": 3}, "`splits` must be ranked against the whole gallery"),
        ({"protocol": "duke"}, "`protocol` must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_an_error_and_leaves_no_page(tmp_path, untrained, options, words):
    splits = too_little()
    if "groups" in options:
        group = options.pop("groups")
        sides = {side: tuple(replace(r, group=group) for r in getattr(splits, side)) for side in ("query", "gallery")}
        splits = replace(splits, **sides)
    options = {"features": (np.eye(4, 8), np.eye(4, 8)), **options}
    with pytest.raises(ValueError, match=words):
        write_report(tmp_path, untrained, splits, **options)
    assert not list(tmp_path.iterdir())


def test_a_block_of_a_network_without_gates_is_refused(tmp_path):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1))
    with pytest.raises(ValueError, match=r"`block` must be None, as the network has no gates\. Received"):
        write_report(tmp_path, network, too_little(), features=(np.eye(4, 8), np.eye(4, 8)), block="conv2_1")
    assert not list(tmp_path.iterdir())


def too_little():
    """Four queries and four gallery images that are not there."""
    return Splits((), *(tuple(Record(f"{part}{i}.jpg", i, 1) for i in range(4)) for part in ("query", "gallery")))


@pytest.mark.parametrize("blocked", ["report.html", "report", "out"])
def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_computed(tmp_path, untrained, blocked):
    work_dir, seconds = tmp_path / "out", {}
    if blocked == "report.html":
        (work_dir / blocked).mkdir(parents=True)  # a folder where the page is to be
    elif blocked == "report":
        work_dir.mkdir()
        (work_dir / blocked).write_text("a file where the folder of the figures is to be")
    else:
        work_dir.write_text("a file where the folder is to be")
    with pytest.raises(OSError, match="cannot be written"):
        write_report(work_dir, untrained, too_little(), progress=seconds.__setitem__)
    assert not seconds


def test_a_page_of_somebody_else_is_left_as_it_is(tmp_path, untrained):
    (tmp_path / "report.html").write_text("<!doctype html><title>My thesis</title>")
    with pytest.raises(ValueError, match=r"report\.html must be new, or written by this command before"):
        write_report(tmp_path, untrained, too_little())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["<!doctype html><title>My thesis</title>"]


def test_figures_of_somebody_else_are_left_as_they_are(tmp_path, untrained):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "training.png").write_text("my thesis")
    with pytest.raises(ValueError, match=r"must not hold a report/training\.png without a report\.html"):
        write_report(tmp_path, untrained, too_little())
    assert (tmp_path / "report" / "training.png").read_text() == "my thesis"


def test_a_report_that_was_killed_while_figures_were_written_is_made_again(tmp_path, monkeypatch):
    settings = synthetic.SyntheticSettings(train_identities=1, test_identities=2, distractors=0, width=24, height=48)
    splits, model = synthetic.load(tmp_path, settings), network("osnet_t1")
    with monkeypatch.context() as patch:
        patch.setattr("keras_osnet.report.report.save_map", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(tmp_path, model, splits)
    assert list((tmp_path / "report").glob("*.png"))
    page = write_report(tmp_path, model, splits).read_text()
    assert "Not complete" not in page
    assert page.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("query", "gallery", "distractors"),
    [
        ((5, 7), (5, 6, 7), [False] * 5),  # the first person is one
        ((5, 7), (5, 0, 7), [False, False, False, True, False]),
        ((0, 7), (0, 6, 7), [False] * 5),  # the first person of VIPeR
    ],
)
def test_distractors_are_those_of_identity_0_that_nobody_asks_for(query, gallery, distractors):
    sides = (tuple(Record(f"{i}.jpg", identity, 1) for i, identity in enumerate(side)) for side in (query, gallery))
    tests = _test_set(Splits((), *sides), (np.ones((2, 4)), np.ones((3, 4))), "euclidean")
    assert tests.distractors.tolist() == distractors
    shown = _map(np.arange(5), tests, [_about(row, tests) for row in range(5)])["people"]
    assert shown == [f"person {i}" for i in sorted({*query, *gallery} - ({0} if any(distractors) else set()))]


def test_networks_of_one_name_are_told_apart(tmp_path):
    splits = synthetic.load(tmp_path, synthetic.SyntheticSettings(train_identities=1, test_identities=2, distractors=0))
    tiny = [OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1)) for _ in range(2)]
    features = np.split(features_of(splits.query + splits.gallery, 0.5), [len(splits.query)])
    text = text_of(write_report(tmp_path, tiny[0], splits, features=features, compare=tiny[1]))
    assert "Beside each map is the one of osnet_t1_x0_0625 (compared)." in text
    assert text.count("<figcaption>osnet_t1_x0_0625</figcaption>") == 4
    assert text.count("<figcaption>osnet_t1_x0_0625 (compared)</figcaption>") == 4


def test_a_history_without_anything_to_draw_is_left_out(tmp_path):
    splits = synthetic.load(tmp_path, synthetic.SyntheticSettings(train_identities=1, test_identities=2, distractors=0))
    features = np.split(features_of(splits.query + splits.gallery, 0.5), [len(splits.query)])
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 2.5}')
    tiny = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1))
    assert "so the training is not shown" in text_of(write_report(tmp_path, tiny, splits, features=features))
    assert not (tmp_path / "report" / "training.png").exists()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=[390, 1440])
def window(browser, made, request):
    context = browser.new_context(viewport={"width": request.param, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.trouble, page.requests = [], []
    page.on("console", lambda message: page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda sent: page.requests.append(sent.url))
    page.goto(made[0].as_uri())
    yield page
    context.close()


def test_scrolling_through_the_page_shows_every_image_and_asks_for_nothing(window, made):
    page, splits = window, made[1]
    assert page.locator("#ranking-list > li:empty").count() > 3
    page.evaluate(
        """async () => {
             for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
               scrollTo({top: y, behavior: "instant"});
               // Two frames: what came near is told of after the first.
               await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
             }
           }"""
    )
    page.wait_for_function(
        "[...document.querySelectorAll('main img')].every((i) => i.complete && i.naturalWidth > 0 && i.alt)"
    )
    assert page.locator("#ranking-list > li .hits").count() == len(splits.query)
    assert page.locator(".gone", has_text="lost/image.jpg").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert page.evaluate("window.broken") is None
    assert page.trouble == []
    assert page.requests == [made[0].as_uri()]


def test_the_contents_lead_to_their_sections(window):
    sections = window.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
    assert len(sections) == 8
    for section in sections[::-1]:
        window.click(f"nav a[href='#{section}']")
        window.wait_for_timeout(300)
        top, bottom = window.evaluate(
            f"(() => {{ const b = document.getElementById('{section}').getBoundingClientRect();"
            " return [b.top, b.bottom]; })()"
        )
        at_end = window.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert at_end or abs(top) < 100, section  # the last ones are too short to come to the top
        assert bottom > 0


def test_filters_change_what_is_shown_and_the_count(window, made):
    page, (_, splits, features, _) = window, made
    expected = slow_ranking(splits, features)
    cameras = [record.camera for record in splits.query]
    chosen = next(c for c, (_, first, _) in zip(cameras, expected, strict=True) if first != 1)
    wrong = sum(first != 1 for _, first, _ in expected)
    both = sum(first != 1 and camera == chosen for camera, (_, first, _) in zip(cameras, expected, strict=True))
    assert 0 < both < wrong < len(expected)

    def shown():
        return page.locator("#ranking-list > li:not([hidden])").count(), page.inner_text("#ranking-count")

    assert shown() == (len(expected), f"{len(expected)} of {len(expected)} queries shown")
    page.get_by_label("Outcome").select_option("wrong")
    assert shown() == (wrong, f"{wrong} of {len(expected)} queries shown")
    page.get_by_label("Camera of the query").select_option(f"{chosen}")
    assert shown() == (both, f"{both} of {len(expected)} queries shown")
    page.get_by_label("Outcome").select_option("none")
    assert shown() == (0, f"0 of {len(expected)} queries shown")
    assert page.get_by_text("There is no such query.").is_visible()


def test_a_query_without_a_match_among_the_first_ten_is_one_whose_first_match_has_a_later_rank(browser, made):
    text, data = text_of(made[0]), data_of(made[0])
    for entry, first in zip(data["ranking"], (10, 11), strict=False):  # none of the ten images counts
        entry[2:] = first, [[row, 2, distance] for row, _, distance in entry[3]]
    lost = sum(first > 10 for _, _, first, _ in data["ranking"])
    page = browser.new_page()
    text = text.replace(re.search(r'id="data">(.*?)</script>', text, re.S)[1], json.dumps(data).replace("<", "\\u003c"))
    page.set_content(text)
    page.get_by_label("Outcome").select_option("lost")
    assert page.inner_text("#ranking-count") == f"{lost} of {len(data['ranking'])} queries shown"
    page.close()


def test_pointing_at_the_map_shows_image_and_file_name(window, made):
    page, data = window, data_of(made[0])
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    # The points fill the canvas but for 18 pixels at every side. The one farthest from all others cannot be mistaken.
    places = np.array([[18 + x * (box["width"] - 36), 18 + y * (box["height"] - 36)] for _, x, y in data["map"]])
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(places))
    alone = int(np.argmax(gaps.min(axis=1) * [data["images"][str(row)][4] is not None for row, *_ in data["map"]]))
    page.mouse.move(*(places[alone] + [box["x"], box["y"]]))
    card = page.locator("#map-pop")
    card.wait_for(state="visible")
    name, person, camera, *_ = data["images"][str(data["map"][alone][0])]
    assert name in card.inner_text()
    assert f"{person}, camera {camera}" in card.inner_text()
    page.wait_for_function("document.querySelector('#map-pop img').naturalWidth > 0")
    page.mouse.move(1, 1)
    card.wait_for(state="hidden")


def test_the_keyboard_reaches_the_filters_and_walks_the_map(window):
    page, reached = window, []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.hash"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "map":
            break
    wanted = ["theme", "#ranking", "ranking-camera", "ranking-outcome", "map-colour", "map-person", "map"]
    assert [name for name in reached if name in wanted] == wanted
    card = page.locator("#map-pop")
    first = card.inner_text()
    assert "person" in first or "distractor" in first
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert card.inner_text() != first
    page.keyboard.press("Escape")
    assert card.is_hidden()
    page.keyboard.press("ArrowLeft")  # begins anew
    assert card.inner_text() == first


def test_the_page_is_dark_where_the_system_is_unless_told_otherwise(window):
    page = window

    def lightness():
        colours = page.evaluate(
            "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
        )
        return [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]

    def ink_of_a_curve():
        return page.evaluate("getComputedStyle(document.querySelector('.chart text')).fill")

    light, ink = lightness(), ink_of_a_curve()
    page.emulate_media(color_scheme="dark")
    dark = lightness()
    assert ink_of_a_curve() != ink
    assert ink_of_a_curve() == page.evaluate("getComputedStyle(document.body).color")
    assert light[0] > 200 > 60 > light[1]
    assert dark[0] < 60 < 200 < dark[1]
    page.get_by_label("Colours").select_option("light")
    assert lightness() == light


def test_the_page_of_almost_nothing_opens_without_trouble(browser, bare):
    page, trouble = browser.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(bare.as_uri())
    assert page.inner_text("#ranking-count") == "2 of 2 queries shown"
    page.get_by_label("Outcome").select_option("none")
    assert page.inner_text("#ranking-count") == "2 of 2 queries shown"
    assert trouble == []
    page.close()
