"""recipes/people.py: what it prints and refuses. What it makes: tests/data/rendered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "recipes" / "people.py", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--identities", 0), "`identities` must be at least 1. Received: identities=0"),
        (("--parts", "missing.whl"), "missing.whl, which is not a file"),
    ],
)
def test_bad_input_is_one_line_without_a_traceback(tmp_path, arguments, expected):
    done = run("--output", tmp_path, *arguments)
    assert done.returncode != 0
    assert expected in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr
