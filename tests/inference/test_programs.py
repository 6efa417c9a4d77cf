"""Programs that JAX has compiled, kept for the next process: equal features, and no trust in what lies there."""

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.inference import Predictor, programs
from keras_osnet.inference.programs import KeptPredictor

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX keeps programs")

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import numpy as np
from keras_osnet import FeatureExtractor
images = list(np.random.default_rng(0).integers(0, 256, (3, 40, 20, 3), np.uint8))
features_of = FeatureExtractor(sys.argv[1])
np.save(sys.argv[2], np.concatenate([features_of(images[:1]), features_of(images)]))
print("keras" in sys.modules)
"""


def osnet(seed=0, **settings):
    keras.utils.set_random_seed(seed)
    return OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=24, **settings)


def images(count):
    return list(np.random.default_rng(count).integers(0, 256, (count, 40, 20, 3), np.uint8))


@contextmanager
def compilation_cache_in(folder):
    """Sets the folder of JAX's own cache, from which no program can be kept."""
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    reset_cache()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_OSNET_PROGRAMS")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    with compilation_cache_in(None):
        yield tmp_path / "cache" / "jax_programs"


@pytest.fixture
def saved(tmp_path, cache):
    osnet().save(tmp_path / "network.keras")
    return tmp_path / "network.keras"


def fresh(path):
    """The features of a network that is loaded anew, by the layers themselves."""
    network = keras.saving.load_model(path)
    return lambda batch: np.asarray(network(FeatureExtractor(network).predictor.normalise(resized(batch))))


def resized(batch):
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(image).resize((16, 32), Image.Resampling.BILINEAR)) for image in batch])


def test_the_next_process_has_equal_features_and_does_not_import_keras(saved, tmp_path):
    said = []
    for name in ("first.npy", "second.npy"):
        command = [sys.executable, "-c", PROGRAM, saved, tmp_path / name]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done.stdout.split()[-1])
    assert said == ["True", "False"]
    first, second = (np.load(tmp_path / name) for name in ("first.npy", "second.npy"))
    np.testing.assert_array_equal(first, second)
    batch = list(np.random.default_rng(0).integers(0, 256, (3, 40, 20, 3), np.uint8))
    np.testing.assert_allclose(second[1:], fresh(saved)(batch), atol=1e-5)


def test_programs_are_read_where_new_files_may_be_written_by_a_group(saved):
    before = os.umask(0o002)
    try:
        FeatureExtractor(saved)(images(1))
        extractor = FeatureExtractor(saved)
        extractor(images(1))
    finally:
        os.umask(before)
    assert "predictor" not in vars(extractor.predictor), "the network was not made again"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_features_are_those_of_the_network(saved, count):
    FeatureExtractor(saved)(images(1))
    kept = FeatureExtractor(saved)
    assert isinstance(kept.predictor, KeptPredictor)
    assert kept.size == (32, 16)
    for made in (count > 1, False):  # computed by the network, then read
        extractor = FeatureExtractor(saved)
        np.testing.assert_allclose(extractor(images(count)), fresh(saved)(images(count)), atol=1e-5)
        assert ("predictor" in vars(extractor.predictor)) == made


def test_features_are_right_where_jax_has_the_program_in_its_own_cache(saved, cache, tmp_path, monkeypatch):
    import jax

    monkeypatch.setattr(programs, "_key", lambda source: source.path.stem)  # which has the folder of JAX's cache
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    osnet(seed=1).save(tmp_path / "other.keras")
    with compilation_cache_in(tmp_path / "jax"):
        FeatureExtractor(saved)(images(1))  # compiled
        for _ in range(2):  # from JAX's cache
            features = FeatureExtractor(tmp_path / "other.keras")(images(1))
            np.testing.assert_allclose(features, fresh(tmp_path / "other.keras")(images(1)), atol=1e-5)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert (cache / "network" / "1.program").exists()


def test_a_file_with_other_weights_has_other_features(saved):
    before = FeatureExtractor(saved)(images(2))
    osnet(seed=1).save(saved)
    after = FeatureExtractor(saved)(images(2))
    np.testing.assert_allclose(after, fresh(saved)(images(2)), atol=1e-5)
    assert np.abs(after - before).max() > 1e-3


def test_weights_that_are_changed_in_the_process_count(saved):
    FeatureExtractor(saved)(images(2))
    extractor = FeatureExtractor(saved)
    before = extractor(images(2))
    for weight in extractor.network.trainable_weights:
        weight.assign(1.1 * weight)
    changed = extractor(images(2))
    assert np.abs(changed - before).max() > 1e-3
    np.testing.assert_array_equal(FeatureExtractor(saved)(images(2)), before)  # what is kept is the file's


@pytest.mark.parametrize("name", ["facts.json", "weights.npz", "1.program"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda _: b"[]"])
def test_damaged_files_are_written_anew(saved, cache, name, damage):
    right = FeatureExtractor(saved)(images(1))
    (path,) = cache.glob(f"*/{name}")
    path.write_bytes(damage(content := path.read_bytes()))
    np.testing.assert_array_equal(FeatureExtractor(saved)(images(1)), right)
    assert abs(path.stat().st_size - len(content)) < len(content) / 10
    again = FeatureExtractor(saved)
    np.testing.assert_array_equal(again(images(1)), right)
    assert "predictor" not in vars(again.predictor)  # the network was not made


def test_a_damaged_network_is_read_from_the_file_of_the_weights(saved, cache):
    FeatureExtractor(saved)(images(1))
    (path,) = cache.glob("*/network.keras")
    path.write_bytes(b"damaged")
    np.testing.assert_allclose(FeatureExtractor(saved)(images(2)), fresh(saved)(images(2)), atol=1e-5)


def test_the_file_of_the_weights_may_go_or_be_replaced(saved):
    right = fresh(saved)(images(2))
    FeatureExtractor(saved)(images(1))
    for change in (lambda: osnet(seed=1).save(saved), lambda: (osnet().save(saved), saved.unlink())):
        extractor = FeatureExtractor(saved)
        change()
        for _ in range(2):
            np.testing.assert_allclose(extractor(images(2)), right, atol=1e-5)
        osnet().save(saved)


def test_a_layer_that_is_changed_in_the_process_counts_there_alone(saved):
    right = FeatureExtractor(saved)(images(2))
    extractor = FeatureExtractor(saved)
    extractor.network.get_layer("embedding").activation = None
    extractor.predictor.predictor.model.get_layer("conv1").trainable = False
    extractor(images(2))
    np.testing.assert_array_equal(FeatureExtractor(saved)(images(2)), right)


@pytest.mark.parametrize("kept", [False, True])
def test_layers_may_be_frozen_between_calls(saved, kept):
    model = keras.saving.load_model(saved)
    extractor = FeatureExtractor(saved if kept else model)
    before = extractor(images(2))
    model = extractor.predictor.predictor.model if kept else model
    model.get_layer("conv1").trainable = False
    np.testing.assert_array_equal(extractor(images(2)), before)


def test_a_network_in_bfloat16_works(tmp_path, cache):
    osnet(dtype="bfloat16").save(tmp_path / "network.keras")
    for _ in range(2):
        assert FeatureExtractor(tmp_path / "network.keras")(images(2)).shape == (2, 24)
    assert not cache.exists()


def test_teachers_on_jax_are_read_from_files(saved):
    from keras_osnet.inference.teachers import Teachers

    for _ in range(2):
        normalised = FeatureExtractor(saved).predictor.normalise(resized(images(2)))
        found = np.asarray(Teachers([str(saved)])(normalised))[:, 0]
        np.testing.assert_allclose(found, fresh(saved)(images(2)), atol=1e-4)


def test_without_a_home_folder_nothing_is_kept(saved, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(programs, "cache_folder", none)
    assert isinstance(FeatureExtractor(saved).predictor, Predictor)


class Marks:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_folder_that_others_can_write_to_is_not_read(saved, cache, tmp_path):
    right = FeatureExtractor(saved)(images(1))
    (path,) = cache.glob("*/1.program")
    path.write_bytes(pickle.dumps(Marks(tmp_path / "run")))
    for folder in (cache, path.parent, path):
        folder.chmod(0o775)
        np.testing.assert_allclose(FeatureExtractor(saved)(images(1)), right, atol=1e-6)
        assert not (tmp_path / "run").exists()
        folder.chmod(0o700)


def test_a_cache_folder_that_cannot_be_made_is_no_error(saved, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert FeatureExtractor(saved)(images(1)).shape == (1, 24)


def test_programs_are_turned_off(saved, cache, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_PROGRAMS", "0")
    assert isinstance(FeatureExtractor(saved).predictor, Predictor)
    assert not cache.exists()


def test_another_type_of_computation_has_programs_of_its_own(tmp_path, cache):
    osnet().save_to_preset(tmp_path / "preset")
    single = FeatureExtractor(tmp_path / "preset")(images(1))
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        FeatureExtractor(tmp_path / "preset")(images(1))
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(FeatureExtractor(tmp_path / "preset")(images(1)), single)
    assert len(list(cache.iterdir())) == 2


def test_a_network_with_layers_of_others_is_not_kept(tmp_path, cache):
    inputs = keras.Input((32, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(inputs))
    keras.Model(inputs, pooled).save(tmp_path / "other.keras")
    assert isinstance(FeatureExtractor(tmp_path / "other.keras").predictor, Predictor)
    assert not cache.exists()


def test_the_networks_that_were_used_last_are_kept(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    (cache / "old").mkdir(parents=True)
    cache.chmod(0o700)
    os.utime(cache / "old", (1e8, 1e8))
    found = []
    for seed in range(3):
        osnet(seed).save(tmp_path / f"{seed}.keras")
        FeatureExtractor(tmp_path / f"{seed}.keras")
        found.append(set(cache.iterdir()) - {cache / "old"})
        for age, folder in enumerate(sorted(found[-1], key=os.path.getmtime, reverse=True), 1):
            os.utime(folder, (1e9 - age, 1e9 - age))
        if seed == 1:
            FeatureExtractor(tmp_path / "0.keras")  # used again
    (first,) = found[0]
    assert len(found[2]) == 2
    assert first in found[2]
    assert not (found[1] - {first}) & found[2]
    assert (cache / "old").exists()


def test_what_is_known_of_the_weights_is_kept(cache):
    for _ in range(2):
        extractor = FeatureExtractor("osnet_x0_25_people")
        assert isinstance(extractor.predictor, KeptPredictor)
        assert extractor.match.same > 0
        assert extractor.match == FeatureExtractor(extractor.predictor.predictor.model).match
        weight = extractor.network.trainable_weights[0]
        weight.assign(1.1 * weight)
        assert extractor.match_of(False) is None
