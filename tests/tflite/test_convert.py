import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
import pytest
import tyro
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.export import TARGETS, load_test_set, run_tflite, to_tflite
from tests.scripts import ROOT, load

# Market-1501's tree in plain colours: (identity, camera) -> RGB. What is fitted to the training set has seen as strong
# colours as those of the test set: of a fresh network, int8 ranges that are too narrow can leave a cosine of .88.
COLOURS = {
    "bounding_box_train": {
        (7, 1): (230, 0, 0),
        (7, 2): (0, 0, 255),
        (7, 3): (40, 0, 240),
        (7, 4): (4, 4, 4),
        (7, 5): (90, 160, 80),
    },
    "query": {(1, 1): (220, 0, 0), (2, 1): (0, 0, 250)},
    "bounding_box_test": {(1, 2): (220, 0, 0), (2, 2): (30, 0, 250), (0, 2): (0, 0, 0)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    OSNet(width=0.25, variant="osnet_t2", input_shape=(64, 32, 3), depths=(1, 1, 1)).save(folder / "model.keras")
    for name, count in (("many", 11), ("few", 3)):
        (folder / name).mkdir()
        for i in range(count):  # blocks of colour
            blocks = np.random.default_rng(i).integers(0, 256, (6, 3, 3), dtype="uint8")
            Image.fromarray(blocks).resize((37, 90), Image.Resampling.NEAREST).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def script():
    return load("tflite/convert.py")


def test_int8_is_fitted_to_a_folder_and_compared_on_what_was_held_out(script, folder, capsys):
    output = folder / "small.tflite"
    script.main(script.Options(folder / "model.keras", output, "int8", folder / "many"))
    sizes, ops, compared = capsys.readouterr().out.splitlines()
    kept = "conv1, pool1, conv2, transition2, conv3"
    assert sizes == f"{output}: {output.stat().st_size:,} bytes, int8 except for {kept} in float32"
    assert re.search(r"\bQUANTIZE 1\b", ops)
    mean, least = re.fullmatch(
        r"on 3 images held out: largest .*, cosine of the features mean ([\d.]+), least ([\d.]+)", compared
    ).groups()
    assert 0.99 < float(least) <= float(mean) <= 1
    feature = run_tflite(output, np.zeros((1, 64, 32, 3), "float32"))
    assert (feature.shape, feature.dtype) == ((1, 512), np.float32)


def test_too_few_images_are_an_error_and_nothing_is_written(script, folder):
    output = folder / "never.tflite"
    message = "--calibration must hold, and --images must be, 4 images or more, better 200. Received: 3"
    with pytest.raises(ValueError, match=message):
        script.main(script.Options(folder / "model.keras", output, "int8", folder / "few"))
    assert not output.exists()


@pytest.mark.parametrize("name", ["00", "01"])  # held out, and not
def test_an_image_that_cannot_be_read_ends_before_anything_is_written(script, folder, tmp_path, name):
    shutil.copytree(folder / "many", tmp_path / "some")
    (tmp_path / "some" / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=rf"1 of 11 images cannot be read: .*{name}\.png"):
        script.main(script.Options(folder / "model.keras", tmp_path / "x.tflite", "int8", tmp_path / "some"))
    assert not (tmp_path / "x.tflite").exists()


def test_a_file_that_is_not_there_is_named(script, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.keras"):
        script.main(script.Options(tmp_path / "absent.keras"))


@pytest.mark.parametrize("name", ["osnet_x0_25_people", "msmt17"])
def test_a_name_is_not_the_folder_of_that_name(script, tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert script.output_of(script.Options(name)) == Path(f"{name}.tflite")
    for folder in (f"./{name}", Path(name)):
        assert script.output_of(script.Options(folder)) == Path(name, "model.tflite")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], None),
        (["--float-parts"], ()),
        (["--float-parts", "none"], ("none",)),
        (["--float-parts", "conv1"], ("conv1",)),
    ],
)
def test_parts_in_float_are_those_asked_for_or_none_or_left_open(script, arguments, kept):
    assert tyro.cli(script.Options, args=["m.keras", *arguments]).float_parts == kept


@pytest.fixture(scope="module")
def narrow():
    return OSNet(0.25, "osnet_t1", input_shape=(32, 48, 3), depths=(1, 1, 1))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"quantization": "int8"}, ("conv1", "pool1", "conv2", "transition2", "conv3")),
        ({"quantization": "int8", "float_parts": ()}, ()),
        ({"quantization": "int8", "float_parts": ("none",)}, ()),
        ({"quantization": "int8", "float_parts": ("conv3",)}, ("conv3",)),
        ({"quantization": "int8", "integer_io": True}, ()),
        ({"quantization": "dynamic"}, ("conv1", "pool1", "conv2")),
        ({"quantization": "float16"}, ()),
    ],
)
def test_int8_and_dynamic_keep_the_recommended_parts_in_float_unless_told_otherwise(script, narrow, settings, kept):
    assert script.float_parts_of(script.Options(Path("m.keras"), **settings), narrow) == kept


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A data folder, and in it a network whose feature is the mean colour."""
    root = tmp_path_factory.mktemp("market")
    for part, images in COLOURS.items():
        folder = root / "Market-1501-v15.09.15" / part
        folder.mkdir(parents=True)
        for (identity, camera), colour in images.items():
            image = Image.fromarray(np.full((33, 18, 3), colour, "uint8"))
            image.save(folder / f"{identity:04}_c{camera}s1_000100_00.jpg", quality=95)
    mean_colour((1, 1, 1)).save(root / "model.keras")
    return root


def mean_colour(weights):
    image, layer = keras.Input((20, 12, 3)), keras.layers.Dense(3, use_bias=False)
    model = keras.Model(image, layer(keras.layers.GlobalAveragePooling2D()(image)))
    layer.set_weights([np.diag(weights).astype("float32")])
    return model


def test_a_file_that_loses_too_much_is_refused_beside_its_certificate(script, market, tmp_path, capsys):
    options = script.Options(Path(), certify=True, dataset="market1501", data_dir=market)
    # A file without blue: black is then nearer to blue than the darker blue is.
    report = to_tflite(mean_colour((1, 1, 0)), tmp_path / "m.tflite")
    test_set = load_test_set("market1501", market)
    with pytest.raises(SystemExit) as stopped:
        script.prove(mean_colour((1, 1, 1)), report, test_set, None, options)
    assert (
        stopped.value.code == "refused: R1 loses 50.00 points, mAP loses 25.00 points on market1501, the budget is 0.3"
    )
    assert json.loads((tmp_path / "m.json").read_text())["verdict"] == "refused"
    assert "Refused" in (tmp_path / "m.html").read_text()
    printed = capsys.readouterr().out
    assert "R1 100.00 -> 50.00, mAP 100.00 -> 75.00, mINP 100.00 -> 75.00" in printed
    assert "of 2 queries 1 became wrong and 0 right" in printed


@pytest.mark.parametrize("quantization", ["int8", "dynamic"])
def test_rounding_is_fitted_to_the_training_side_where_no_folder_is_given(script, market, tmp_path, quantization):
    OSNet(0.25, "osnet_t1", (32, 48, 3), depths=(1, 1, 1), feature_dim=40).save(tmp_path / "model.keras")
    settings = {"quantization": quantization, "certify": True, "dataset": "market1501", "data_dir": market}
    script.main(script.Options(tmp_path, **settings, budget=100, float_parts=()))
    found = json.loads((tmp_path / "model.json").read_text())
    files = sorted((market / "Market-1501-v15.09.15" / "bounding_box_train").iterdir())
    digests = [sha256(file.read_bytes()).hexdigest() for file in files]
    assert found["calibration"] == {
        "images": 5,
        "rule": "5 of the 5 training images of market1501, evenly spread in the dataset's order",
        "sha256": sha256("\n".join(digests).encode()).hexdigest(),
    }
    content = (tmp_path / "model.tflite").read_bytes()
    assert (found["file"]["bytes"], found["file"]["sha256"]) == (len(content), sha256(content).hexdigest())
    assert (found["file"]["quantization"], found["verdict"]) == (quantization, "passed")
    assert found["cosine"]["mean"] > 0.99
    assert len(found["layers"]["rows"]) > 20


def test_dynamic_of_another_network_is_not_fitted(script):
    options = script.Options(Path("m.keras"), quantization="dynamic", certify=True)
    assert script.calibration_of(options, object(), mean_colour((1, 1, 1))) == (None, [])


def test_calibration_on_test_images_ends_before_anything_is_written(script, folder, market, tmp_path):
    options = script.Options(
        folder / "model.keras", tmp_path / "m.tflite", "int8", market / "Market-1501-v15.09.15", certify=True,
        dataset="market1501", data_dir=market,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"none of the test images of market1501.* Received: 4 of 8"):
        script.main(options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"certify": True}, "must come together. Received: --certify alone"),
        ({"budget": 2.0, "metric": "cosine"}, "--metric, --budget must come with --certify"),
        ({"split": 1}, "--split must come with --certify. Received: --split alone"),
        ({"images": 50}, "--images must come with --calibration. Received: --images alone"),
        ({"dataset": "market1501"}, "must come together. Received: --dataset market1501 alone"),
        ({"certify": True, "dataset": "market"}, "`dataset` must be one of"),
    ],
)
def test_options_that_have_no_effect_alone_are_refused(script, market, settings, message):
    with pytest.raises(ValueError, match=message):
        script.main(script.Options(market / "model.keras", **settings))


def test_a_file_with_the_preprocessing_inside_is_compared_on_whole_images(script, tmp_path, capsys):
    image = keras.Input((20, 12, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "model.keras")
    script.main(script.Options(tmp_path, pipeline=True))
    (compared,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("on "))
    assert re.fullmatch(
        r"on 4 random images: largest difference .*, cosine of the features mean 1.0+, least (1|0.9999).*", compared
    )


def test_another_json_file_is_not_taken_for_an_old_certificate(script, market, tmp_path):
    note = tmp_path / "best.json"
    note.write_text('{"epoch": 3, "mAP": 0.5}')
    options = script.Options(
        market / "model.keras", tmp_path / "best.tflite", certify=True, dataset="market1501", data_dir=market
    )
    with pytest.raises(ValueError, match=r"its certificate would replace .*best\.json"):
        script.main(options)
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]
    script.main(replace(options, certify=False, dataset=None))
    assert note.read_text() == '{"epoch": 3, "mAP": 0.5}'


def test_a_file_made_anew_has_no_old_certificate(script, market, tmp_path):
    options = script.Options(
        market / "model.keras", tmp_path / "m.tflite", certify=True, dataset="market1501", data_dir=market
    )
    script.main(options)
    assert {path.name for path in tmp_path.iterdir()} == {"m.tflite", "m.json", "m.html"}
    script.main(replace(options, certify=False, dataset=None))
    assert {path.name for path in tmp_path.iterdir()} == {"m.tflite"}


@pytest.mark.parametrize("suffix", TARGETS)
def test_every_target_is_written_by_its_ending_and_compared(script, folder, tmp_path, capsys, suffix):
    for package in TARGETS[suffix].packages:
        pytest.importorskip(package)
    options = script.Options(folder / "model.keras", tmp_path / f"m{suffix}")
    script.main(options)
    written, _, compared = capsys.readouterr().out.splitlines()
    assert written == f"{options.output}: {sum(path.stat().st_size for path in tmp_path.iterdir()):,} bytes, float32"
    assert float(re.search(r"largest difference from Keras (\S+),", compared)[1]) < 1e-4
    if suffix != ".tflite":
        with pytest.raises(ValueError, match=rf"\{suffix} files are float32 and take no other options"):
            script.main(replace(options, quantization="float16"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "m.keras"}, r"--output must end in \.tflite, \.onnx, .* Received: .*m\.keras"),
        ({"output": "none/m.tflite"}, r"--output must be in a folder that exists. Received: .*none/m\.tflite"),
        ({"budget": float("nan")}, "`budget` must be 0 or more points"),
        ({"budget": float("inf")}, "`budget` must be 0 or more points"),
        ({"quantization": "int8", "calibration": "many", "float_parts": ("conv9",)}, "Received: 'conv9'"),
        ({"quantization": "dynamic", "float_parts": ("conv1", "conv9")}, "Received: 'conv9'"),
        ({"quantization": "int8", "calibration": "many", "images": -1}, "4 images or more.* --images -1"),
        ({"quantization": "int8", "calibration": "many", "integer_io": True, "pipeline": True}, "`integer_io` is for"),
    ],
)
def test_options_that_cannot_be_met_are_refused_before_any_work(script, folder, settings, message, tmp_path):
    changed = {name: folder / value for name, value in settings.items() if name == "calibration"}
    changed |= {"output": tmp_path / settings.get("output", "m.tflite")}
    with pytest.raises(ValueError, match=message):
        script.main(script.Options(folder / "model.keras", **{**settings, **changed}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": Path("m.onnx"), "certify": True, "dataset": "market1501"}, r"\.onnx files are float32 and take no"),
        ({"output": Path("m.xml"), "quantization": "int8"}, r"\.xml files are float32 and take no other options"),
        (
            {"output": Path("m.onnx"), "calibration": Path("none")},
            r"\.onnx files are float32 and take no other options",
        ),
        ({"quantization": "int8"}, "`calibration` must be images where `quantization` is 'int8'. Received: None"),
        ({"quantization": "float16", "calibration": Path("none")}, "`calibration` must be None where"),
        ({"quantization": "float16", "float_parts": ("conv1",)}, "`float_parts` must be .* empty where"),
        ({"integer_io": True, "certify": True, "dataset": "market1501"}, "`integer_io` is for plain files all in int8"),
        ({"pipeline": True, "input": "uint8"}, "`input_type` must be one of .* where `pipeline`"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_file_is_read(
    script, tmp_path, monkeypatch, settings, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        script.main(script.Options("none.keras", **settings))
    assert not list(tmp_path.iterdir())


def test_a_page_of_somebody_else_is_not_overwritten(script, market, tmp_path):
    page = tmp_path / "m.html"
    page.write_text("<h1>My page</h1>")
    options = script.Options(market / "model.keras", tmp_path / "m.tflite", certify=True, dataset="market1501")
    with pytest.raises(ValueError, match=r"its certificate would replace .*m\.html, which is no certificate"):
        script.main(replace(options, data_dir=market))
    assert [path.name for path in tmp_path.iterdir()] == ["m.html"]
    script.main(replace(options, certify=False, dataset=None))
    assert page.read_text() == "<h1>My page</h1>"


def test_a_network_with_other_outputs_than_the_test_set_needs_ends_before_anything_is_written(script, market, tmp_path):
    options = script.Options(market / "model.keras", tmp_path / "m.tflite", certify=True, dataset="shapes")
    with pytest.raises(ValueError, match="`model` must return a logit for each of the 10 classes of shapes"):
        script.main(options)
    assert not list(tmp_path.iterdir())


def test_a_network_for_images_of_any_size_is_compared_too(script, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    OSNet(0.25, "osnet_t1", (None, None, 3), depths=(1, 1, 1), feature_dim=8).save(tmp_path / "m.keras")
    script.main(script.Options(tmp_path / "m.keras", tmp_path / "m.onnx"))
    compared = capsys.readouterr().out.splitlines()[-1]
    assert float(re.search(r"largest difference from Keras (\S+),", compared)[1]) < 1e-4


def test_it_is_said_that_a_classifier_is_left_out(script, tmp_path, capsys):
    OSNet(0.25, "osnet_t1", (32, 16, 3), depths=(1, 1, 1), feature_dim=8, classes=5).save(tmp_path / "m.keras")
    network = script.network_of(tmp_path / "m.keras", None)
    assert (network.output_shape, "the classifier is left out" in capsys.readouterr().out) == ((None, 8), True)
    network = script.network_of(tmp_path / "m.keras", load_test_set("shapes", tmp_path))
    assert (network.output_shape, capsys.readouterr().out) == ((None, 5), "")


def test_the_model_is_not_overwritten_by_its_conversion(script, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"--output must be another file than the model. Received: m\.onnx"):
        script.main(script.Options(tmp_path / "m.onnx", Path("m.onnx")))
    assert (tmp_path / "m.onnx").read_bytes() == b"weights"


def test_weights_of_somebody_else_are_not_overwritten_by_an_openvino_file(script, folder, tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "m.bin").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"m\.bin belongs to another program"):
        script.main(script.Options(folder / "model.keras", tmp_path / "m.xml"))
    assert (tmp_path / "m.bin").read_bytes() == b"weights"


def test_ctrl_c_while_tensorflow_is_imported_is_one_line(tmp_path):
    (tmp_path / "keras.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    command = [sys.executable, ROOT / "tflite" / "convert.py", "osnet_x0_25_people"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode in (130, -signal.SIGINT)
    assert (done.stdout, done.stderr) == ("", "Interrupted.\n")
