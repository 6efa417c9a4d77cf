"""The files of pairs and answers: read, written, and refused."""

import json

import pytest

pytest.importorskip("sklearn", reason="adaptation needs scikit-learn")

from keras_osnet.adaptation.answers import newest_pairs, read_answers, unanswered, write_answers, write_pairs

HEADER = "first,second,same\n"


def test_answers_are_read_as_they_were_written_with_any_name(tmp_path):
    answers = [("a,b.jpg", 'the "door"/é.png', True), ("a,b.jpg", "x\ny.jpg", False), ("x", "y", None)]
    write_answers(tmp_path / "answers.csv", answers)
    assert read_answers(tmp_path / "answers.csv") == answers
    assert (tmp_path / "answers.csv").read_text().startswith(HEADER)


def test_no_file_has_no_answers_and_a_spreadsheet_s_file_is_read(tmp_path):
    assert read_answers(tmp_path / "answers.csv") == []
    (tmp_path / "answers.csv").write_bytes(b"\xef\xbb\xbffirst,second,same\r\na,b,yes\r\n\r\nb,c,no\r\n")
    assert read_answers(tmp_path / "answers.csv", ["a", "b", "c"]) == [("a", "b", True), ("b", "c", False)]


def test_an_image_is_known_by_its_path_below_the_folder_that_holds_all_and_may_have_moved(tmp_path):
    now = ["/new/people/door/1.jpg", "/new/people/door/a/1.jpg", "/new/people/yard/1.jpg"]
    lines = ["/old/door/1.jpg,/old/door/a/1.jpg,yes", "/new/people/door/1.jpg,yard/1.jpg,no"]
    (tmp_path / "answers.csv").write_text(HEADER + "\n".join(lines))
    assert read_answers(tmp_path / "answers.csv", now) == [(now[0], now[1], True), (now[0], now[2], False)]
    for strange in ("/old/roof/1.jpg", "1.jpg", "/new/people/door/2.jpg", ""):
        (tmp_path / "answers.csv").write_text(f"{HEADER}{now[0]},{strange},yes\n")
        with pytest.raises(ValueError, match=f"an image must be one that is adapted to. Received: {strange}$"):
            read_answers(tmp_path / "answers.csv", now)


def test_images_may_be_relative_and_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.csv").write_text(f"{HEADER}/old/door/1.jpg,/old/yard/2.jpg,yes\n")
    now = ["people/door/1.jpg", f"{tmp_path}/people/yard/2.jpg"]
    assert read_answers(tmp_path / "answers.csv", now) == [(*now, True)]


BAD = {
    "another header": ("a,b,yes\n", 1, "the header must be first,second,same. Received: a,b,yes"),
    "half a line": (HEADER + "a,b,yes\nb,c", 3, "a line must have 3 values. Received: b,c"),
    "half a word": (HEADER + "a,b,ye", 2, r"`same` must be one of \['yes', 'no', 'unsure'\]. Received: 'ye'"),
    "more values": (HEADER + "a,b,yes,no\n", 2, "a line must have 3 values"),
    "an unknown image": (HEADER + "a,b,yes\na,z,no\n", 3, "an image must be one that is adapted to. Received: z"),
    "one image twice": (HEADER + "a,a,yes\n", 2, "`first` and `second` must be two images"),
    "a contradiction": (HEADER + "a,b,yes\nb,c,yes\nc,a,no\n", 4, "by which c and a show one person. Received: no"),
    "an open quote": (HEADER + '"a,b,yes\n', 1, "unexpected end of data"),
    "another encoding": (b"first,second,same\n\xff,b,yes\n", 1, "can't decode byte 0xff"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_with_its_file(tmp_path, name):
    content, line, message = BAD[name]
    path = tmp_path / "answers.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"answers\.csv, line {line}: .*{message}"):
        read_answers(path, ["a", "b", "c"])


def pair(first, second):
    return [{"path": first, "camera": "door"}, {"path": second, "camera": None}]


def test_the_newest_pairs_are_those_of_the_last_round_that_wrote_them(tmp_path):
    assert newest_pairs(tmp_path) == (None, [])
    for number in ("09", "10", "100", "notes"):
        (tmp_path / "rounds" / number).mkdir(parents=True)
    write_pairs(tmp_path / "rounds/09", [pair("a", "b")])
    write_pairs(tmp_path / "rounds/10", [pair("c", "d")])
    write_pairs(tmp_path / "rounds/notes", [pair("e", "f")])
    assert newest_pairs(tmp_path) == (10, [pair("c", "d")])


@pytest.mark.parametrize("content", ["{", "{}", "[[]]", '[["a", "b"]]', '[[{"path": 1, "camera": null}, {}]]'])
def test_a_damaged_file_of_pairs_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "rounds/01").mkdir(parents=True)
    (tmp_path / "rounds/01/pairs.json").write_text(content)
    with pytest.raises(ValueError, match=r"pairs\.json must be a"):
        newest_pairs(tmp_path)


def test_a_pair_is_unanswered_until_an_answer_or_what_follows_from_answers_is_about_it():
    pairs = [pair("a", "b"), pair("b", "c"), pair("c", "a"), pair("d", "a")]
    assert unanswered(pairs, []) == [0, 1, 2, 3]
    assert unanswered(pairs, [("b", "a", True)]) == [1, 2, 3]
    assert unanswered(pairs, [("a", "b", True), ("c", "b", False)]) == [3]
    assert unanswered(pairs, [("a", "d", None)]) == [0, 1, 2]
    assert json.loads(json.dumps(pairs)) == pairs
