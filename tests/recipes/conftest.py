"""Each recipe, trained once for all tests, and a browser."""

import shutil

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


@pytest.fixture
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
