"""The benchmark of many files: what it measures, and the arithmetic of its table."""

import sys

import pytest

from tests.scripts import load

# As Python finds it beside the script.
sys.modules.setdefault("first_feature", load("benchmarks/first_feature.py"))
BULK = load("benchmarks/features_in_bulk.py")


def test_a_few_images_are_linked_under_as_many_names_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(BULK, "DISTINCT", 3)
    names = sorted(BULK.link_images(tmp_path, 7).iterdir())
    assert len(names) == 7
    contents = [path.read_bytes() for path in names]
    assert len(set(contents)) == 3
    assert contents[0] == contents[3] == contents[6] != contents[1]


def test_rows_are_medians_and_ratios_of_medians():
    rows = {
        "keras_osnet, LiteRT": [[50.0, 3.0], [90.0, 9.0], [60.0, 5.0]],
        "torchreid, the extractor's modules": [[20.0, 8.0], [10.0, 8.0], [30.0, 8.0]],
        "ONNX Runtime and Pillow": [[40.0, 4.0], [48.0, 4.0], [400.0, 4.0]],
    }
    head, ours, *_ = BULK.lines_of(rows)
    assert head.split() == ["images/s", "CPU", "ms", "/", "torchreid", "/", "ONNX", "Runtime", "and", "Pillow"]
    assert ours.split()[-4:] == ["60.0", "5.00", "3.00", "1.25"]  # 60 / 20 and 60 / 48


@pytest.mark.parametrize(("name", "calls"), [("keras_osnet, LiteRT", [70]), ("ONNX Runtime and Pillow", [32, 32, 6])])
def test_only_feature_extractor_receives_all_files_at_once(tmp_path, monkeypatch, name, calls):
    images = BULK.link_images(tmp_path, 70)
    program = "calls = open('calls', 'w')\ndef features_of(paths): print(len(paths), file=calls, flush=True)\n"
    monkeypatch.setitem(BULK.first_feature.WAYS, name, BULK.first_feature.Way(program, ".onnx", ()))
    rate, cpu = BULK.measured(sys.executable, name, tmp_path / "a.onnx", images)
    assert rate > 0
    assert cpu >= 0
    assert [int(line) for line in (tmp_path / "calls").read_text().split()] == [32, *calls]  # the first warms up
