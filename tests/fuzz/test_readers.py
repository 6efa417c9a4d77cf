"""Every reader of the fuzzing table, with a few changes: the script runs it with 500."""

import pytest

from tests.fuzz.readers import READERS, run


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_raises_value_error_or_os_error(name):
    assert run(name, changes=20) is None
