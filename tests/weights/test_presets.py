"""The table of presets."""

import re
from collections import Counter
from dataclasses import FrozenInstanceError
from itertools import product
from pathlib import Path

import pytest

import keras_osnet
from keras_osnet.weights import PRESETS
from keras_osnet.weights.presets import TRAINING_SETS, nearest, preset_trained_on

WIDTHS = {"x1_0": 1.0, "x0_75": 0.75, "x0_5": 0.5, "x0_25": 0.25}
SETS = ("imagenet", "market1501", "dukemtmcreid", "msmt17", "msmt17_all")
MIXED = ("ms_d_c", "ms_m_c", "ms_d_m", "d_m_c")
ZOO = {
    *(f"osnet_{width}_{name}" for width, name in product(WIDTHS, SETS)),
    *(f"osnet_ibn_x1_0_{name}" for name in SETS if name != "msmt17"),
    *(f"osnet_ain_x1_0_{name}" for name in SETS if name != "msmt17"),
    *(f"osnet_ain_{width}_imagenet" for width in WIDTHS),
    *(f"osnet{variant}_x1_0_{name}" for variant, name in product(("", "_ibn", "_ain"), MIXED)),
}
OTHERS = {f"osnet_x1_0_{name}" for name in ("mot17", "sportsmot", "dancetrack", "soccernet", "sports")}
OURS = {"osnet_x0_25_people", "osnet_ain_x0_25_people", "osnet_x0_5_people"}
ROWS = pytest.mark.parametrize("row", PRESETS.values(), ids=PRESETS)


def test_all_43_files_of_torchreids_zoo_five_others_and_ours_have_a_row():
    assert len(ZOO) == 43
    assert set(PRESETS) == ZOO | OTHERS | OURS
    assert keras_osnet.PRESETS is PRESETS
    assert keras_osnet.OSNet.presets == PRESETS


@ROWS
def test_a_row_says_what_its_name_says(row):
    variant, width, training_set = re.fullmatch(r"(osnet|osnet_ibn|osnet_ain)_(x\d_\d+)_(\w+)", row.name).groups()
    assert (row.variant, row.width, row.training_set) == (variant, WIDTHS[width], training_set)
    assert PRESETS[row.name] is row
    assert row.input_shape == ((128, 64, 3) if row.name in OURS else (256, 128, 3))


@ROWS
def test_a_row_has_addresses_licences_and_a_training_set_with_a_title(row):
    assert bool(row.addresses) == (row.name not in OURS)
    assert all(re.fullmatch(r"https://[\w.-]+/\S+", address) for address in row.addresses)
    assert row.weights_licence
    assert row.images_licence
    assert row.title == TRAINING_SETS[row.training_set][0]
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.size is None or 10**5 < row.size < 10**8
    assert all(0 < score.mAP < score.rank1 < 1 and score.source for score in row.scores)
    with pytest.raises(FrozenInstanceError):
        row.name = "other"


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_file_of_the_zoo_lies_under_one_name_on_three_hosts_and_on_google_drive(name):
    row = PRESETS[name]
    *named, drive = row.addresses
    assert [address.rpartition("/")[2] for address in named] == [row.file] * 3
    assert "huggingface.co/kaiyangzhou/osnet/resolve/a5c5cc037c24235cda3b21085b93ad77c9616224/" in named[0]
    assert re.search(r"drive\.usercontent\.google\.com/download\?id=1[\w-]{32}&", drive)


def test_no_two_rows_share_a_file_or_an_address():
    files = Counter(row.file for row in PRESETS.values())
    addresses = Counter(address for row in PRESETS.values() for address in row.addresses)
    assert not [name for counter in (files, addresses) for name, count in counter.items() if count > 1]
    assert all(Path(row.file).name == row.file for row in PRESETS.values())


# From torchreid's MODEL_ZOO.md, Rank-1 and mAP in percent.
@pytest.mark.parametrize(("name", "dataset", "rank1", "mAP", "metric"), [
    ("osnet_x1_0_market1501", "market1501", 94.2, 82.6, "euclidean"),
    ("osnet_x0_25_market1501", "market1501", 91.2, 75.0, "euclidean"),
    ("osnet_x0_25_msmt17_all", "market1501", 59.9, 31.0, "euclidean"),
    ("osnet_ain_x1_0_msmt17_all", "market1501", 70.1, 43.3, "cosine"),
])  # fmt: skip
def test_scores_are_fractions(name, dataset, rank1, mAP, metric):
    score = next(score for score in PRESETS[name].scores if score.dataset == dataset)
    assert (score.rank1, score.mAP, score.metric) == (pytest.approx(rank1 / 100), pytest.approx(mAP / 100), metric)


@pytest.mark.parametrize(("asked", "found"), [
    (("msmt17", 1.0, "osnet"), "osnet_x1_0_msmt17"),
    (("msmt17", 0.25, "osnet"), "osnet_x0_25_msmt17"),
    (("msmt17_all", 0.25, "osnet"), "osnet_x0_25_msmt17_all"),
    (("msmt17", 1.0, "osnet_ain"), "osnet_ain_x1_0_msmt17_all"),  # the only one there is
    (("imagenet", 0.5, "osnet_ain"), "osnet_ain_x0_5_imagenet"),
])  # fmt: skip
def test_a_training_set_stands_for_the_row_of_a_width_and_variant(asked, found):
    assert preset_trained_on(*asked).name == found


@pytest.mark.parametrize(("asked", "words"), [
    (("msmt17", 0.25, "osnet_ain"), r"osnet_ain x0\.25.*\['imagenet', 'people'\].*'msmt17'"),
    (("sports", 0.5, "osnet"), r"osnet x0\.5.*'msmt17_all'.*'sports'"),
    (("msmt17", 0.33, "osnet"), r"osnet x0\.33.*\[\].*'msmt17'"),
])  # fmt: skip
def test_a_training_set_without_such_a_network_is_an_error_that_lists_those_there_are(asked, words):
    with pytest.raises(ValueError, match=words):
        preset_trained_on(*asked)


@pytest.mark.parametrize(("name", "first"), [
    ("osnet_x1_0_msmt71", "osnet_x1_0_msmt17"), ("osnet_x1.0_msmt17", "osnet_x1_0_msmt17"),
    ("osnet-x0-25-market1501", "osnet_x0_25_market1501"), ("osnet_ain_x1_0_msmt17", "osnet_ain_x1_0_msmt17_all"),
])  # fmt: skip
def test_names_that_look_alike_are_found(name, first):
    assert nearest(name)[0] == first
