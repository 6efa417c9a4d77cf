"""Every reader of the fuzzing table, with a few changes: the script runs it with 500."""

import importlib.util

import pytest

from tests.fuzz.formats import HEAVY, NEEDS, READERS
from tests.fuzz.readers import run


def installed(names):
    return [name for name in names if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]


@pytest.mark.parametrize(
    "names", [*([name] for name in installed(READERS) if name not in HEAVY), installed(HEAVY)], ids=", ".join
)
def test_a_changed_file_is_read_or_raises_value_error_or_os_error(names):
    outcomes, failure = run(names, changes=20)
    assert failure is None
    assert list(outcomes) == names
