"""The page that asks whether two images show one person: what it asks, what it stores, whom it answers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from keras_osnet.adaptation.answers import read_answers, write_answers, write_pairs
from keras_osnet.data.drawn.synthetic import render
from tests.recipes.pages import FOREIGN, ask, served
from tests.scripts import ROOT, load

pytest.importorskip("sklearn", reason="adaptation needs scikit-learn")
pytest.importorskip("starlette", reason="needs Starlette, of the extra demo")
pytest.importorskip("uvicorn", reason="needs uvicorn, of the extra demo")

RECIPE = load("recipes/label.py")
HOSTILE = "<img src=x onerror='window.broken=1'>&.png"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Images of three people under two cameras, one with a name that is markup."""
    folder = tmp_path_factory.mktemp("people")
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png", HOSTILE)):
        render(number % 3 + 1, number % 4 + 1, 0).save(folder / name)
    return folder


@pytest.fixture
def work_dir(people, tmp_path):
    """Three pairs of round 2, and older ones of round 1."""
    for number, pairs in ((1, ["cd"]), (2, ["ab", "bc", "ca"])):
        (tmp_path / f"rounds/{number:02d}").mkdir(parents=True)
        names = [[{"path": str(people / f"{x}.png"), "camera": f"c{x}"} for x in pair] for pair in pairs]
        write_pairs(tmp_path / f"rounds/{number:02d}", names)
    return tmp_path


def answers_of(work_dir):
    return [(a[-5], b[-5], same) for a, b, same in read_answers(work_dir / "answers.csv")]


def test_a_pair_is_asked_until_it_is_answered_or_its_answer_follows(work_dir):
    first = RECIPE.question(work_dir)
    assert (first["round"], first["row"], first["done"], first["total"]) == (2, 0, 0, 3)
    assert [image["camera"] for image in first["images"]] == ["ca", "cb"]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in first["images"])
    second = RECIPE.answer(work_dir, 2, 0, "yes")
    assert (second["row"], second["done"]) == (1, 1)
    last = RECIPE.answer(work_dir, 2, 1, "no")
    assert (last["done"], "row" in last) == (3, False)  # a = b and b != c: c != a follows
    assert answers_of(work_dir) == [("a", "b", True), ("b", "c", False)]


def test_an_unsure_answer_is_stored_and_not_asked_again_and_undo_asks_it_again(work_dir):
    assert RECIPE.answer(work_dir, 2, 0, "unsure")["row"] == 1
    assert RECIPE.answer(work_dir, 2, 1, "no")["row"] == 2
    assert RECIPE.undo(work_dir)["row"] == 1
    assert answers_of(work_dir) == [("a", "b", None)]
    assert RECIPE.undo(work_dir)["row"] == 0
    assert answers_of(work_dir) == []
    assert RECIPE.undo(work_dir)["row"] == 0


def test_an_answer_about_an_older_round_is_dropped_and_the_newest_pair_is_asked(work_dir):
    assert RECIPE.answer(work_dir, 1, 0, "yes")["round"] == 2
    assert RECIPE.answer(work_dir, 2, 3, "yes")["done"] == 0  # there is no such pair
    assert not (work_dir / "answers.csv").exists()


def test_an_answer_against_the_earlier_ones_is_refused_and_nothing_is_written(work_dir, people):
    a, b, c = (str(people / f"{name}.png") for name in "abc")
    write_answers(work_dir / "answers.csv", [(a, b, True), (b, c, True)])
    with pytest.raises(ValueError, match=r"by which .*c\.png and .*a\.png show one person\. Received: no"):
        RECIPE.answer(work_dir, 2, 2, "no")
    assert answers_of(work_dir) == [("a", "b", True), ("b", "c", True)]


def test_an_answer_of_a_second_tab_about_an_answered_pair_is_not_written_and_undo_asks_the_pair_again(work_dir):
    for same in ("yes", "yes", "unsure"):
        assert RECIPE.answer(work_dir, 2, 0, same)["row"] == 1
    assert answers_of(work_dir) == [("a", "b", True)]
    assert RECIPE.answer(work_dir, 2, 1, "no")["done"] == 3
    assert RECIPE.answer(work_dir, 2, 2, "no")["done"] == 3  # c != a follows
    assert answers_of(work_dir) == [("a", "b", True), ("b", "c", False)]
    assert RECIPE.undo(work_dir)["row"] == 1
    assert RECIPE.undo(work_dir)["row"] == 0
    assert answers_of(work_dir) == []


def test_an_image_that_is_gone_is_asked_about_without_it(work_dir):
    write_pairs(work_dir / "rounds/02", [[{"path": "gone/x.png", "camera": None}, {"path": "gone/y.png", "camera": 3}]])
    images = RECIPE.question(work_dir)["images"]
    assert images == [
        {"name": "gone/x.png", "camera": None, "src": None},
        {"name": "gone/y.png", "camera": 3, "src": None},
    ]


def test_a_folder_without_rounds_has_nothing_to_ask_and_no_folder_is_an_error(tmp_path):
    assert RECIPE.question(tmp_path) == {"round": None, "total": 0, "done": 0, "answers": 0}
    with pytest.raises(ValueError, match=r"`work_dir` must be the folder of an adaptation\. Received: .*none"):
        RECIPE.main(RECIPE.Label(tmp_path / "none", open=False))
    (tmp_path / "answers.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"answers\.csv, line 1: the header must be first,second,same"):
        RECIPE.main(RECIPE.Label(tmp_path, open=False))


@pytest.fixture
def port(work_dir):
    with served(lambda listening: RECIPE.server_of(RECIPE.application(work_dir), listening)) as port:
        yield port


def test_only_the_page_itself_may_ask_or_answer(port, work_dir):
    for path in ("/question", "/undo", "/answer/2/0/yes"):
        for case in FOREIGN.values():
            headers = {key: value and value.format(port=port) for key, value in case.items()}
            status, _, body = ask(port, "POST", path, **headers)
            assert status in (400, 403)
            assert b"data:image" not in body
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            assert ask(port, method, path)[0] == 405
    assert ask(port, "GET", "/", Host=f"evil.example:{port}")[0] == 403
    status, headers, _ = ask(port, "GET", "/", Origin=None)
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert not (work_dir / "answers.csv").exists()


@pytest.mark.parametrize("path", ["/answer/2/0/maybe", "/answer/2/-1/yes", "/answer/2/x/yes", "/answers.csv", "/../x"])
def test_another_address_is_not_found(port, path):
    assert ask(port, "POST", path)[0] == 404


def test_a_damaged_file_is_a_message_of_one_line(port, work_dir):
    (work_dir / "answers.csv").write_text("first,second,same\na,b")
    status, _, body = ask(port, "POST", "/question")
    assert (status, body.decode().count("\n")) == (422, 0)
    assert "answers.csv, line 2: a line must have 3 values" in body.decode()


def test_the_page_asks_by_keys_and_buttons_undoes_and_says_when_all_is_answered(port, work_dir, browser, people):
    pairs = [[{"path": str(people / HOSTILE), "camera": HOSTILE}, {"path": str(people / "d.png"), "camera": None}]]
    old = json.loads((work_dir / "rounds/02/pairs.json").read_text())
    write_pairs(work_dir / "rounds/02", [old[0], old[1], *pairs])
    tab, complaints, asked = browser.new_page(viewport={"width": 390, "height": 800}), [], []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    address = f"http://127.0.0.1:{port}/"
    tab.goto(address)

    def shown(text):
        tab.locator("#count", has_text=text).wait_for(timeout=60_000)
        tab.locator("#pair:not([aria-busy])").wait_for(timeout=60_000)

    shown("round 2: 0 of 3 answered")
    assert tab.locator("#pair img").count() == 2
    for image in tab.locator("#pair img").all():
        assert image.bounding_box()["height"] >= 300
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("document.documentElement.scrollHeight <= innerHeight")
    tab.keyboard.press("y")
    shown("1 of 3")
    tab.get_by_role("button", name="No", exact=False).first.click()
    shown("2 of 3")
    assert answers_of(work_dir) == [("a", "b", True), ("b", "c", False)]
    tab.keyboard.press("u")
    shown("1 of 3")
    tab.keyboard.press("N")
    shown("2 of 3")
    tab.keyboard.press("?")
    shown("3 of 3")
    tab.get_by_text("All pairs are answered.").wait_for()
    assert tab.get_by_role("button", name=re.compile("^Yes")).is_disabled()
    assert [answer[2] for answer in answers_of(work_dir)] == [True, False, None]
    tab.keyboard.press("y")  # there is no pair
    assert len(answers_of(work_dir)) == 3
    shutil.copytree(work_dir / "rounds/01", work_dir / "rounds/03")
    shown("round 3: 0 of 1 answered")  # without a reload
    assert tab.evaluate("window.broken") is None  # names are text
    assert not complaints
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert {path.name for path in work_dir.iterdir()} - {".answers.csv.lock"} == {"answers.csv", "rounds"}


def test_the_second_click_of_a_double_one_answers_nothing(port, work_dir, browser):
    tab = browser.new_page()
    tab.goto(f"http://127.0.0.1:{port}/")
    for done in (0, 1):
        tab.locator("#count", has_text=f"round 2: {done} of 3 answered").wait_for(timeout=60_000)
        tab.get_by_role("button", name=re.compile("^Unsure")).click()
    tab.locator("#count", has_text="2 of 3").wait_for(timeout=60_000)
    tab.mouse.down(click_count=2)
    tab.mouse.up(click_count=2)
    tab.wait_for_timeout(1000)
    assert len(answers_of(work_dir)) == 2
    assert tab.locator("#count").inner_text() == "round 2: 2 of 3 answered"


@pytest.mark.parametrize("page", ["label", "demo"])
def test_a_page_without_its_server_says_so(page, browser):
    content = (ROOT / "recipes" / f"{page}.html").read_text()
    tab = browser.new_page()
    tab.route("http://127.0.0.1:1/*", lambda route: route.fulfill(body=content, content_type="text/html"), times=1)
    tab.goto("http://127.0.0.1:1/")  # nothing answers there
    tab.get_by_text(f"{page}.py is no longer running.").wait_for()


def test_the_command_serves_until_it_is_ended(work_dir):
    command = [sys.executable, ROOT / "recipes/label.py", work_dir, "--port", "0", "--no-open"]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    port = int(process.stdout.readline().split(":")[2].split()[0])
    assert json.loads(ask(port, "POST", "/question")[2])["row"] == 0
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
