"""recipes/people.py: what it prints and refuses. What it makes: tests/data/rendered."""

import pytest

from keras_osnet.data.rendered.dataset import FOLDER
from keras_osnet.files import locked


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--identities", 0), "`identities` must be a whole number of at least 1. Received: identities=0"),
        (("--parts", "missing.whl"), "missing.whl, which is not a file"),
    ],
)
def test_bad_input_is_one_line_without_a_traceback(run_script, tmp_path, capsys, arguments, expected):
    with pytest.raises(SystemExit) as end:
        run_script("recipes/people.py", "--output", tmp_path, *arguments)
    assert end.value.code
    printed = capsys.readouterr().err + (end.value.code if isinstance(end.value.code, str) else "")
    assert expected in " ".join(printed.replace("│", "").split())
    assert "Traceback" not in printed


def test_its_errors_and_exit_statuses_are_those_of_all_recipes(run_script, tmp_path, capsys):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").touch()
    with pytest.raises(SystemExit, match=r"^error: .* must be empty or hold rendered people"):
        run_script("recipes/people.py", "--output", tmp_path)
    with locked(tmp_path / FOLDER), pytest.raises(SystemExit, match=r"^138$"):  # another process renders there
        run_script("recipes/people.py", "--output", tmp_path)
    assert capsys.readouterr().err.startswith("error: ")


def test_weights_are_not_tested_on_other_rendered_people(run_script, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: `test` must be a test set of real images"):
        run_script("recipes/people_weights.py", "--output", tmp_path, "--test", "people", "--data-dir", tmp_path)
    assert not any(tmp_path.iterdir())
