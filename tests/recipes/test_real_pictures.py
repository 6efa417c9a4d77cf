"""The trained x0.25 on real pictures, where they are at hand: torchreid's own scores of the same weights."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.data import load, pipeline
from keras_osnet.export import run_tflite, to_tflite
from keras_osnet.inference.scores import score_splits
from keras_osnet.weights import PRESETS
from tests.weights.servers import serving

SHARED = Path(__file__).resolve().parents[3] / "shared"
PICTURES, WEIGHTS = SHARED / "data" / "market1501.tar.xz", SHARED / "weights" / "osnet_x0_25_market1501.pth"

pytestmark = pytest.mark.skipif(
    not (PICTURES.exists() and WEIGHTS.exists()), reason=f"the research data {PICTURES} and {WEIGHTS} are not here"
)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    with tarfile.open(PICTURES) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # before Python 3.11.4 there is none
        tar.extractall(folder)
    return load("market1501", folder)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The preset, by its name alone, from a server on this machine."""
    name = "osnet_x0_25_market1501"
    files = {PRESETS[name].file: WEIGHTS.read_bytes()}
    with serving(files) as (address, asked), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_OSNET_MIRROR", address)
        patch.setenv("KERAS_OSNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        network = OSNet.from_preset(name)
    assert asked == list(files)
    assert network.load_report.preset == name
    return network


@pytest.fixture(scope="module")
def features(network):
    """Features by path, so that a second metric costs no second pass over the pictures."""
    extract, known = FeatureExtractor(network), {}

    def of(paths):
        new = [path for path in paths if path not in known]
        known.update(zip(new, extract(new), strict=True) if new else ())
        return np.stack([known[path] for path in paths])

    return of


def test_the_counts_are_those_of_the_test_side(splits):
    assert (len(splits.train), len(splits.query), len(splits.gallery)) == (12936, 446, 1381 + 1400)
    assert len({record.identity for record in splits.train}) == 751
    assert len({record.identity for record in splits.query}) == 100


@pytest.mark.parametrize(("metric", "rank1", "mean_ap"), [("euclidean", 92.83, 84.30), ("cosine", 93.50, 86.60)])
def test_the_trained_network_scores_as_torchreid_found(splits, features, metric, rank1, mean_ap):
    scores = score_splits(features, splits, metric=metric)
    assert 100 * scores["rank1"] == pytest.approx(rank1, abs=0.15)
    assert 100 * scores["mAP"] == pytest.approx(mean_ap, abs=0.10)


def test_the_trained_network_re_ranked_scores_as_torchreid_found(splits, features):
    scores = score_splits(features, splits, reranked={})
    assert 100 * scores["rank1"] == pytest.approx(93.05, abs=0.1)
    assert 100 * scores["mAP"] == pytest.approx(92.15, abs=0.1)


def test_its_tflite_file_scores_the_same(splits, features, network, tmp_path):
    path = to_tflite(network, tmp_path / "model.tflite").path

    def of(paths):
        batches = pipeline.image_batches(paths, size=network.input_shape[1:3])
        return np.concatenate([run_tflite(path, batch) for batch in batches])

    keras, lite = (score_splits(function, splits) for function in (features, of))
    assert 100 * lite["mAP"] == pytest.approx(100 * keras["mAP"], abs=0.05)
    assert 100 * lite["rank1"] == pytest.approx(92.83, abs=0.15)
