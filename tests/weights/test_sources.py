"""Everything that a user may name as weights."""

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_osnet import OSNet
from keras_osnet.weights import PRESETS, load_network, load_weights, locate
from keras_osnet.weights.sources import preset_source
from tests.weights.checkpoints import golden_state, small_state, write_checkpoint
from tests.weights.networks import SMALL, same_weights, wiped
from tests.weights.servers import serving

REAL = Path(__file__).parents[3] / "shared" / "weights"
ROW = PRESETS["osnet_x0_25_imagenet"]  # a file whose hash nobody has published
TINY = (32, 16, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_OSNET_MIRROR", "http://127.0.0.1:9")  # no test leaves this machine
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A checkpoint of an osnet x0.25, as the row's file is one."""
    state = golden_state("osnet_x0_25")
    return write_checkpoint(tmp_path_factory.mktemp("row") / "w", state, "older", wrapper="state_dict").read_bytes()


@pytest.fixture
def mirror(content, tmp_path, monkeypatch):
    """A folder that holds the row's file."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / ROW.file).write_bytes(content)
    monkeypatch.setenv("KERAS_OSNET_MIRROR", folder.as_uri())
    return folder


def test_a_name_is_enough(mirror, cache):
    network = OSNet.from_preset("osnet_x0_25_imagenet", input_shape=TINY)
    assert (network.width, network.variant, network.classes) == (0.25, "osnet", None)
    report = network.load_report
    assert (report.preset, report.training_set, report.stripped) == (ROW.name, "imagenet", ("state_dict",))
    assert (cache / f"{ROW.file}.sha256").is_file()


def test_every_way_to_name_a_preset_gives_the_same_network(mirror):
    networks = [
        OSNet.from_preset("osnet_x0_25_imagenet", input_shape=TINY),
        OSNet(0.25, input_shape=TINY, weights="osnet_x0_25_imagenet"),
        OSNet(0.25, input_shape=TINY, weights="imagenet"),
        load_network(Path("osnet_x0_25_imagenet"), resolution=0.125)[0],
    ]
    assert all(same_weights(network, networks[0]) for network in networks)
    assert all(network.load_report.preset == ROW.name for network in networks)


def test_a_mirror_may_serve_the_file_under_the_rows_name(content):
    row = PRESETS["osnet_x0_25_dukemtmcreid"]
    for name in (row.file, f"{row.name}.pth", row.name):
        with serving({name: content}) as (address, asked), pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_OSNET_MIRROR", address)
            path = preset_source(row).path
            assert path.read_bytes() == content
            assert asked[-1] == name
            path.unlink()
            path.with_name(f"{row.file}.sha256").unlink()


@pytest.mark.parametrize(("make", "received"), [
    (lambda: OSNet(0.5, input_shape=TINY, weights="osnet_x0_25_imagenet"), "width=0.5"),
    (lambda: OSNet(0.25, "osnet_ain", TINY, weights="osnet_x0_25_imagenet"), "variant='osnet_ain'"),
    (lambda: load_network("osnet_x0_25_imagenet", width=0.5), "width=0.5"),
])  # fmt: skip
def test_another_width_than_the_presets_is_an_error_that_names_from_preset(make, received, mirror):
    with pytest.raises(ValueError, match=r"`(width|variant)` must be ('osnet'|0\.25) for the weights") as error:
        make()
    assert "OSNet.from_preset('osnet_x0_25_imagenet')" in str(error.value)
    assert str(error.value).endswith(f"Received: {received}")


@pytest.mark.parametrize("width", ["a", [0.25], b"1"])
def test_what_is_no_width_is_refused(width):
    with pytest.raises(ValueError, match=r"`width` must be a number\. Received: width="):
        locate("msmt17", width=width)
    with pytest.raises(ValueError, match=r"`weights` must be a training set of osnet x0: "):
        locate("msmt17", width=0)


def test_a_file_of_another_network_at_a_presets_address_is_not_taken(mirror, cache):
    write_checkpoint(mirror / ROW.file, small_state(0.5))
    with pytest.raises(OSError, match=r"not the file: its width is 0\.5, not 0\.25"):
        locate("osnet_x0_25_imagenet")
    (mirror / ROW.file).write_text("<html>Quota exceeded</html>")
    with pytest.raises(OSError, match="a page of text"):
        locate("osnet_x0_25_imagenet")
    assert not list(cache.glob(f"{ROW.file}*"))


def test_a_file_with_the_hash_of_a_preset_is_known(content, tmp_path, monkeypatch):
    known = replace(ROW, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(PRESETS, ROW.name, known)
    (tmp_path / "renamed.bin").write_bytes(content)
    source = locate(tmp_path / "renamed.bin")
    assert (source.preset, source.card.training_set, source.format) == (ROW.name, "imagenet", "torch")


def test_nothing_is_said_about_other_files(tmp_path):
    path = write_checkpoint(tmp_path / "mine.pth", small_state())
    source = locate(path)
    assert (source.preset, source.card.training_set, source.card.scores) == (None, None, ())


def test_a_row_may_lie_in_the_package(content, tmp_path):
    path = tmp_path / "ours.pth"
    path.write_bytes(content)
    source = preset_source(replace(ROW, file=str(path), addresses=()))  # an absolute path stays what it is
    assert (source.path, source.preset) == (path, ROW.name)


@pytest.mark.parametrize(("weights", "kind", "words"), [
    ("osnet_x1_0_msmt71", ValueError, "Did you mean the preset osnet_x1_0_msmt17"),
    ("osnet_x0_25_msmt17.pth", FileNotFoundError, "no weights file .*Did you mean the preset osnet_x0_25_msmt17"),
    ("folder/none", FileNotFoundError, "There is no weights file"),
    ("~no-such-user/a.pth", FileNotFoundError, "There is no weights file ~no-such-user/a.pth"),
    ("elephant", ValueError, "Received: 'elephant'. Training sets: .*'msmt17'"),
    ("", ValueError, "must not be empty"),
    (os.devnull, ValueError, "must be a file or a folder"),
    (5, ValueError, r"`weights` must be a preset.* Received: weights=5"),
    (b"people", ValueError, r"Received: weights=b'people'"),
    ("people", ValueError, r"x1: one of .* Received: 'people'\. The presets of people are osnet_x0_25_people, "),
    ("hf://user", ValueError, "hf://user/repository"),
    ("https://127.0.0.1:9/w.pth", OSError, "cannot be downloaded"),
])  # fmt: skip
def test_what_is_no_weights_is_an_error_that_helps(weights, kind, words):
    with pytest.raises(kind, match=words):
        locate(weights)


def test_settings_in_place_of_weights_are_not_said_to_come_from_a_server_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"settings": {"width": 0.25}}')
    with pytest.raises(ValueError, match=r"config\.json, but it is JSON that begins with .*: settings, or the answer"):
        locate(tmp_path / "config.json")


def test_a_name_comes_before_a_file_of_that_name_and_a_path_object_after(mirror, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / ROW.name, small_state(0.5))
    assert locate(ROW.name).preset == ROW.name
    assert locate(f"./{ROW.name}").preset is None
    assert locate(Path(ROW.name)).preset is None


def test_an_address_is_downloaded_once(content):
    with serving({"w.pth": content}) as (address, asked):
        for _ in range(2):
            assert locate(f"{address}/w.pth") == locate(Path(f"{address}/w.pth"))
        assert asked == ["w.pth"]
        with pytest.raises(OSError, match="404"):
            locate(f"{address}/none.pth")


def test_a_work_dir_of_a_training_is_weights_and_says_what_it_was_trained_on(tmp_path):
    model = OSNet(**SMALL)
    model.save(tmp_path / "model.keras")
    assert locate(tmp_path).card.training_set is None
    (tmp_path / "config.json").write_text(json.dumps({"settings": {"dataset": "market1501", "weights": "x"}}))
    assert locate(tmp_path).card.training_set is None  # an evaluation's
    (tmp_path / "config.json").write_text(json.dumps({"settings": {"dataset": "market1501", "epochs": 60}}))
    report = load_weights(wiped(OSNet(**SMALL)), tmp_path)
    assert (report.preset, report.training_set) == (None, "market1501")
    assert same_weights(load_network(tmp_path)[0], model)


@pytest.mark.parametrize("config", [None, "[1, 2]", '{"model_type": "bert"}'])
def test_a_folder_without_weights_is_an_error(config, tmp_path):
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match="folder of `save_to_preset` or a work dir"):
        locate(tmp_path)


def test_files_and_folders_of_the_hugging_face_hub_are_weights(content, tmp_path, monkeypatch, cache):
    pytest.importorskip("huggingface_hub")
    model = OSNet(**SMALL)
    model.save_to_preset(tmp_path / "folder")
    files = {f"me/reid/resolve/main/{path.name}": path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    files["me/reid/resolve/main/old/w.pth"] = content
    with serving(files, X_Repo_Commit="0" * 40) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert locate("hf://me/reid/old/w.pth").path.read_bytes() == content
        assert same_weights(OSNet.from_preset("hf://me/reid"), model)
        with pytest.raises(OSError, match=r"hf://me/reid/none\.pth cannot be downloaded"):
            locate("hf://me/reid/none.pth")
    assert list(cache.rglob("w.pth"))


def test_the_hub_without_its_extra_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"keras-osnet\[hub\]"):
        locate("hf://me/reid")


@pytest.mark.parametrize("name", ["osnet_x0_25_market1501", "osnet_x0_25_msmt17"])
def test_the_authors_files_load_by_name_alone(name, monkeypatch):
    path = REAL / f"{name}.pth"
    if not path.is_file():
        pytest.skip(f"the authors' file {path.name} is not here: research data, not part of the project")
    with serving({PRESETS[name].file: path.read_bytes()}) as (address, asked):
        monkeypatch.setenv("KERAS_OSNET_MIRROR", address)
        network = OSNet.from_preset(name, input_shape=TINY)
    assert asked == [PRESETS[name].file]
    expected = load_network(path, resolution=0.125)
    assert same_weights(network, expected[0])
    assert network.load_report.preset == expected[1].preset == name
    assert np.isfinite(network.predict_on_batch(np.ones((1, *TINY), "float32"))).all()
