"""The image of people of the documentation is drawn from a whole set only."""

import pytest
from PIL import Image

from tests.scripts import load


def test_people_of_a_folder_that_lacks_one_are_not_drawn(tmp_path, monkeypatch):
    script = load("docs/people.py")
    monkeypatch.setattr(script, "PEOPLE", (5, 9))
    folder = tmp_path / "bounding_box_train"
    folder.mkdir()
    for number in range(script.COLUMNS):
        Image.new("RGB", (32, 64), (0, 0, 200)).save(folder / f"000005_c001s1_{number:07d}_00.jpg")
    with pytest.raises(SystemExit, match=r"must hold 12 images of person 9\. Received: 0"):
        script.sheet(tmp_path)
    monkeypatch.setattr(script, "PEOPLE", (5,))
    assert script.sheet(tmp_path).size == (12 * 64, 128)
