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
from keras_osnet.report import panels
from keras_osnet.report.charts import chart
from keras_osnet.report.report import write_report
from keras_osnet.report.thumbnails import read_picture, thumbnails

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
    """A report with everything in it, a lost picture, and a file name that is out for trouble."""
    folder = tmp_path_factory.mktemp("report")
    settings = synthetic.SyntheticSettings(train_identities=1, test_identities=7, distractors=5, width=24, height=48)
    splits = synthetic.load(folder, settings)
    (folder / HOSTILE[0]).mkdir()
    moved = folder.joinpath(*HOSTILE)
    shutil.copy(splits.query[0].path, moved)
    lost = replace(splits.query[1], path=str(folder / "lost" / "picture.jpg"))
    query = (replace(splits.query[0], path=str(moved)), lost, *splits.query[2:])
    splits = replace(splits, query=query)
    features = np.split(features_of(splits.query + splits.gallery, 0.7), [len(query)])
    labels = np.arange(len(query) * 3).reshape(-1, 3) % 2
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, HISTORY)))
    seconds = {}
    page = write_report(
        folder,
        network(),
        splits,
        dataset="tiny & small",
        features=features,
        compare=network("osnet_t1"),
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
        assert not re.findall(r"url\(|@import|https?://(?!www.w3.org)", text)


def test_every_picture_is_in_the_page_once_and_small(made):
    page, splits, _, _ = made
    pictures = data_of(page)["pictures"]
    assert len({row[0] for row in pictures.values()}) == len(pictures) == len(splits.query + splits.gallery)
    sizes = {Image.open(BytesIO(base64.b64decode(row[4]))).size for row in pictures.values() if row[4]}
    assert sizes == {(24, 48)}


def test_a_file_name_cannot_become_part_of_the_page(made):
    page = made[0]
    assert data_of(page)["pictures"]["0"][0] == "/".join(HOSTILE)
    text = text_of(page)
    assert text.count("</script>") == 2
    assert "<img src=x" not in text
    assert "<b>wears red" not in text
    assert "<h1>osnet_x0_25 on tiny &amp; small</h1>" in text


def test_lost_pictures_are_counted_and_named(made):
    page, splits, _, _ = made
    shown = len(splits.query) + len(splits.gallery)
    assert f"1 of the {shown} pictures shown here could not be opened" in text_of(page)
    assert data_of(page)["pictures"]["1"][::4] == ["lost/picture.jpg", None]


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
    assert "Test side during training over 3 epochs; at the end Rank-1 0.3." in drawn
    assert "osnet_t1_x0_25" in text


def test_every_figure_is_a_png_of_its_own(made, bare):
    names = {path.stem for path in (made[0].parent / "report").glob("*.png")}
    assert names == {"activations", "attributes", "cmc", "distances", "exponents", "features", "gates", "ranking",
                     "roc", "training", "triplets"}  # fmt: skip
    assert {path.stem for path in (bare.parent / "report").glob("*.png")} == {"activations", "features", "ranking"}
    assert all(Image.open(path).width > 100 for path in (made[0].parent / "report").glob("*.png"))


def test_the_time_of_each_part_is_told(made):
    assert {"features", "scores", "gates", "figures"} <= set(made[3])
    assert all(seconds >= 0 for seconds in made[3].values())


@pytest.mark.parametrize(
    "words",
    [
        "The streams of osnet_t1_x0_25 are not weighed by gates that depend on the picture.",
        "No query has a match that the camera rule leaves in the gallery, so that nothing can be scored.",
        "No query has both a match and an impostor",
        "The network gives features, no attributes; the dataset has none either.",
        "Cameras are not known for all pictures: where they are not, the same-camera rule is off",
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
        ({"attributes": (NAMES, *np.ones((2, 4, 2)))}, r"`attributes` must .*= \(4, 3\)\. Received: \(4, 2\) and"),
        ({"metric": "manhattan"}, "`metric` must be one of"),
        ({"protocol": "duke"}, "`protocol` must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_an_error_and_leaves_no_page(tmp_path, untrained, options, words):
    splits = Splits((), *(tuple(Record(f"{part}{i}.jpg", i, 1) for i in range(4)) for part in ("query", "gallery")))
    options = {"features": (np.eye(4, 8), np.eye(4, 8)), **options}
    with pytest.raises(ValueError, match=words):
        write_report(tmp_path, untrained, splits, **options)
    assert not list(tmp_path.iterdir())


def subject(identities, queries):
    records = tuple(Record(f"{i}.jpg", int(identity), None) for i, identity in enumerate(identities))
    features = np.random.default_rng(0).normal(size=(len(records), 6)).astype(np.float32)
    return panels.Subject(records, features, np.asarray(identities), np.arange(len(records)), queries, "cosine")


def test_of_many_queries_the_worst_and_a_spread_of_the_others_are_listed():
    count = 46
    order = np.random.default_rng(1).permutation(count)
    precision = order / count
    precision[order == count - 1] = np.nan
    top = np.zeros((count, 1), int)
    ranking = panels.Ranking(top, top.astype(np.float32), top.astype(np.int8), precision, top[:, 0])
    rows = [row for row, *_ in panels.ranked(ranking, subject(range(2 * count), count), limit=10)]
    # Query i is number order[i] from the worst; the one without a match comes last.
    assert [int(order[row]) for row in rows] == [0, 1, 2, 3, 4, 5, 15, 25, 35, 45]


def test_the_map_takes_whole_people_first():
    people = np.repeat([4, 5, 6, 7], 6)
    identities = np.concatenate([people, np.zeros(30, int)])
    rows, points = panels.mapped(subject(identities, 24), limit=15)
    shown = identities[rows]
    assert points.shape == (15, 2)
    assert [np.sum(shown == person) for person in np.unique(shown)] == [3, 6, 6]


@pytest.mark.parametrize(
    ("valid", "expected"),
    [(9, [[0, 1, 2], [3, 4, 5], [8, 7, 6]]), (4, [[0, 1], [2, 3], []]), (1, [[0], [], []])],
)
def test_pictures_for_the_maps_are_worst_middle_and_best_without_repeats(valid, expected):
    precision = np.append(np.arange(valid) / 10, np.nan)
    empty = np.zeros((valid + 1, 1))
    groups = panels.middle_and_ends(panels.Ranking(empty, empty, empty, precision, empty), each=3)
    assert [rows.tolist() for rows in groups.values()] == expected


@pytest.mark.parametrize(
    ("x", "log", "places", "ticks"),
    [
        ([0, 5, 20], False, [46, 46 + 302 / 4, 348], ["0", "5", "10", "15", "20"]),
        ([0.01, 0.1, 1], True, [46, 46 + 151, 348], ["0.01", "0.1", "1"]),
        ([3, 3, 3], False, [46 + 151] * 3, ["3"]),
    ],
)
def test_curves_lie_where_their_numbers_say(x, log, places, ticks):
    # Of the drawing's 360 x 236 the left 46, right 12, top 12 and bottom 40 are margins: 302 x 184 are left.
    drawn = chart("A", {"line": (np.array(x), np.array([0, 1, 4]))}, labels=("", ""), alt="", log_x=log, whole_x=True)
    points = [tuple(map(float, point.split(","))) for point in drawn.lines[0][1].split()]
    heights = [196, 196 - 184 / 4, 12]
    np.testing.assert_allclose(points, list(zip(places, heights, strict=True)), atol=0.06)
    assert [text for _, text in drawn.x_ticks] == ticks
    assert drawn.x_ticks[0][0] == pytest.approx(places[0])


def test_pictures_are_shown_upright_and_broken_ones_left_out(tmp_path):
    picture = np.zeros((40, 90, 3), np.uint8)
    picture[:, :45, 0] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise: left goes up
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    small, *others = thumbnails([tmp_path / name for name in ("turned.jpg", "broken.jpg", "text.jpg", "none.jpg")], 60)
    decoded = np.asarray(Image.open(BytesIO(base64.b64decode(small))))
    assert decoded.shape == (60, 27, 3)
    assert decoded[:25, :, 0].min() > 200 > 60 > decoded[35:, :, 0].max()
    assert others == [None, None, None]
    assert read_picture(tmp_path / "turned.jpg", (12, 7)).shape == (12, 7, 3)


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


def test_scrolling_through_the_page_shows_every_picture_and_asks_for_nothing(window, made):
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
    assert page.locator(".gone", has_text="lost/picture.jpg").count() >= 1
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
    assert page.get_by_text("No query is like that.").is_visible()


def test_pointing_at_the_map_shows_picture_and_file_name(window, made):
    page, data = window, data_of(made[0])
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    # The points fill the canvas but for 18 pixels at every side. The one farthest from all others cannot be mistaken.
    places = np.array([[18 + x * (box["width"] - 36), 18 + y * (box["height"] - 36)] for _, x, y in data["map"]])
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(places))
    alone = int(np.argmax(gaps.min(axis=1) * [data["pictures"][str(row)][4] is not None for row, *_ in data["map"]]))
    page.mouse.move(*(places[alone] + [box["x"], box["y"]]))
    card = page.locator("#map-pop")
    card.wait_for(state="visible")
    name, person, camera, *_ = data["pictures"][str(data["map"][alone][0])]
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


def test_the_page_is_dark_where_the_system_is_unless_told_otherwise(window):
    page = window

    def lightness():
        colours = page.evaluate(
            "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
        )
        return [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]

    light = lightness()
    page.emulate_media(color_scheme="dark")
    dark = lightness()
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
