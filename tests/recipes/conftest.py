"""Each recipe, trained once for all tests."""

import pytest

from tests.recipes.tiny import RECIPES, command


@pytest.fixture(scope="session")
def trained(tmp_path_factory, run_script):
    """Function of a recipe's name that returns a folder with its dataset and, in `run`, a trained network."""
    folders = {}

    def of(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            RECIPES[name].make(folders[name])
            run_script(*command(name, folders[name], folders[name] / "run"))
        return folders[name]

    return of
