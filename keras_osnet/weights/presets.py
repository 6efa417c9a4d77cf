"""Weights that are known by name: one row for each file."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from keras_osnet.weights.card import MATCH_FIELDS, Card, Score

# Where torchreid's files lie, in the order to try. Google Drive comes last: it limits the number of downloads.
HOSTS = (
    "https://huggingface.co/kaiyangzhou/osnet/resolve/a5c5cc037c24235cda3b21085b93ad77c9616224/{file}",
    "https://hf-mirror.com/kaiyangzhou/osnet/resolve/a5c5cc037c24235cda3b21085b93ad77c9616224/{file}",
    "https://github.com/PINTO0309/deep-person-reid/releases/download/weights/{file}",
    "https://drive.usercontent.google.com/download?id={drive}&export=download&confirm=t",
)
ROBOFLOW = (
    "https://storage.googleapis.com/com-roboflow-marketing/trackers/trackers_reid_finetuned_encoders/"
    "reid_{training_set}_osnet_x1_0/weights.safetensors"
)
ZOO = "torchreid, docs/MODEL_ZOO.md"  # the source of scores that name no other
SPORTS = "https://huggingface.co/datasets/holma91/SAM-Deep-EIoU/resolve/main/checkpoints/osnet_sports.pth.tar"
OURS = "recipes/people_weights.py"
OURS_446 = f"{OURS}; not the official test set: 446 queries of 100 identities"
PACKAGED = Path(__file__).parent / "files"

# Endings of torchreid's file names: how the network was trained.
RECIPES = {
    "A": "256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax_labelsmooth_flip.pth",
    "B": "256x128_amsgrad_ep180_stp80_lr0.003_b128_fb10_softmax_labelsmooth_flip.pth",
    "J": "256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax_labelsmooth_flip_jitter.pth",
    "C50": "256x128_amsgrad_ep50_lr0.0015_coslr_b64_fb10_softmax_labsmth_flip_jitter.pth",
    "C90": "256x128_amsgrad_ep90_lr0.0015_coslr_b64_fb10_softmax_labsmth_flip_jitter.pth",
    "C100": "256x128_amsgrad_ep100_lr0.0015_coslr_b64_fb10_softmax_labsmth_flip_jitter.pth",
}
RESEARCH = "research only"
MIT = "MIT by the card of the files; for research only by their author (torchreid, issue 520)"
# Training sets: title, classes where the file has a classifier of a known size, licence of the images.
TRAINING_SETS = {
    "imagenet": ("ImageNet-1k", 1000, "ImageNet's terms: non-commercial research and education"),
    "market1501": ("Market-1501, training images", 751, RESEARCH),
    "dukemtmcreid": ("DukeMTMC-reID, training images", 702, f"{RESEARCH}; withdrawn by its authors"),
    "msmt17": ("MSMT17, training images", 1041, RESEARCH),
    "msmt17_all": ("MSMT17, all images", 4101, RESEARCH),
    "ms_d_c": ("MSMT17, DukeMTMC-reID and CUHK03", None, RESEARCH),
    "ms_m_c": ("MSMT17, Market-1501 and CUHK03", None, RESEARCH),
    "ms_d_m": ("MSMT17, DukeMTMC-reID and Market-1501", None, RESEARCH),
    "d_m_c": ("DukeMTMC-reID, Market-1501 and CUHK03", None, RESEARCH),
    "mot17": ("MOT17", None, "CC BY-NC-SA 3.0"),
    "sportsmot": ("SportsMOT", None, "CC BY-NC 4.0"),
    "dancetrack": ("DanceTrack", None, "non-commercial research"),
    "soccernet": ("SoccerNet Tracking", None, "research only, by its agreement"),
    "sports": ("players of several sports (Deep-EIoU)", None, "not stated"),
    "people": ("rendered people, who do not exist", None, "CC0 1.0"),
}


@dataclass(frozen=True)
class Preset:
    """A weights file that is known by name.

    Args:
        name: VARIANT_WIDTH_TRAININGSET, as osnet_x1_0_msmt17.
        file: its name in the cache folder and at mirrors.
        addresses: where it lies, in the order to try. None of a file that lies in the package.
        sha256, size: of the file, size in bytes; None where nobody has published them.
        variant, width, input_shape, classes: of its network; `classes` None where unknown.
        training_set: row of `TRAINING_SETS`.
        scores: that were reported.
        weights_licence, images_licence: of the file and of what it was trained on.
    """

    name: str
    file: str
    addresses: tuple[str, ...]
    variant: str
    width: float
    training_set: str
    classes: int | None
    images_licence: str
    weights_licence: str = MIT
    sha256: str | None = None
    size: int | None = None
    scores: tuple[Score, ...] = ()
    input_shape: tuple[int, int, int] = (256, 128, 3)

    @property
    def title(self):
        """The training set in words."""
        return TRAINING_SETS[self.training_set][0]

    @property
    def card(self):
        """What is known about the weights."""
        facts = self.training_set, self.scores, (), self.weights_licence, self.images_licence
        return Card(*facts, *MATCHES.get(self.name, ()))


# Rank-1 and mAP in percent, by training set or file, with a cosine distance where the third value says so.
SCORES = {
    "osnet_x1_0_market1501": {"market1501": (94.2, 82.6)},
    "osnet_x0_75_market1501": {"market1501": (93.7, 81.2)},
    "osnet_x0_5_market1501": {"market1501": (92.5, 79.8)},
    "osnet_x0_25_market1501": {"market1501": (91.2, 75.0)},
    "osnet_x1_0_dukemtmcreid": {"dukemtmcreid": (87.0, 70.2)},
    "osnet_x0_75_dukemtmcreid": {"dukemtmcreid": (85.8, 69.8)},
    "osnet_x0_5_dukemtmcreid": {"dukemtmcreid": (85.1, 67.4)},
    "osnet_x0_25_dukemtmcreid": {"dukemtmcreid": (82.0, 61.4)},
    "osnet_x1_0_msmt17": {"msmt17": (74.9, 43.8)},
    "osnet_x0_75_msmt17": {"msmt17": (72.8, 41.4)},
    "osnet_x0_5_msmt17": {"msmt17": (69.7, 37.5)},
    "osnet_x0_25_msmt17": {"msmt17": (61.4, 29.5)},
    "osnet_x1_0_msmt17_all": {"market1501": (66.6, 37.5), "dukemtmcreid": (66.0, 45.3)},
    "osnet_x0_75_msmt17_all": {"market1501": (63.6, 35.5), "dukemtmcreid": (65.3, 44.5)},
    "osnet_x0_5_msmt17_all": {"market1501": (64.3, 34.9), "dukemtmcreid": (65.2, 43.3)},
    "osnet_x0_25_msmt17_all": {"market1501": (59.9, 31.0), "dukemtmcreid": (61.5, 39.6)},
    "osnet_ibn_x1_0_market1501": {"dukemtmcreid": (48.5, 26.7)},
    "osnet_ibn_x1_0_dukemtmcreid": {"market1501": (57.7, 26.1)},
    "osnet_ibn_x1_0_msmt17_all": {"market1501": (66.5, 37.2), "dukemtmcreid": (67.4, 45.6)},
    "osnet_ain_x1_0_market1501": {"dukemtmcreid": (52.4, 30.5, "cosine")},
    "osnet_ain_x1_0_dukemtmcreid": {"market1501": (61.0, 30.6, "cosine")},
    "osnet_ain_x1_0_msmt17_all": {"market1501": (70.1, 43.3, "cosine"), "dukemtmcreid": (71.1, 52.7, "cosine")},
    "osnet_x1_0_ms_d_c": {"market1501": (72.5, 44.2, "cosine")},
    "osnet_x1_0_ms_m_c": {"dukemtmcreid": (65.2, 47.0, "cosine")},
    "osnet_x1_0_ms_d_m": {"cuhk03": (23.9, 23.3, "cosine")},
    "osnet_x1_0_d_m_c": {"msmt17": (33.2, 12.6, "cosine")},
    "osnet_ibn_x1_0_ms_d_c": {"market1501": (73.0, 44.9, "cosine")},
    "osnet_ibn_x1_0_ms_m_c": {"dukemtmcreid": (64.6, 45.7, "cosine")},
    "osnet_ibn_x1_0_ms_d_m": {"cuhk03": (25.7, 25.4, "cosine")},
    "osnet_ibn_x1_0_d_m_c": {"msmt17": (39.8, 16.2, "cosine")},
    "osnet_ain_x1_0_ms_d_c": {"market1501": (73.3, 45.8, "cosine")},
    "osnet_ain_x1_0_ms_m_c": {"dukemtmcreid": (65.6, 47.2, "cosine")},
    "osnet_ain_x1_0_ms_d_m": {"cuhk03": (27.4, 27.1, "cosine")},
    "osnet_ain_x1_0_d_m_c": {"msmt17": (40.2, 16.2, "cosine")},
    "osnet_x0_25_people": {
        "people": (95.5, 91.6, "cosine", OURS),
        "market1501": (64.1, 42.6, "cosine", OURS_446),
    },
    "osnet_ain_x0_25_people": {"people": (94.2, 90.6, "cosine", OURS), "market1501": (69.7, 48.7, "cosine", OURS_446)},
    "osnet_x0_5_people": {"people": (95.5, 93.5, "cosine", OURS), "market1501": (72.0, 48.6, "cosine", OURS_446)},
}
# Probabilities that two images, or two tracks, show one person: offset and slope by the keys of `MATCH_FIELDS`.
# `reid.py evaluate --weights NAME --dataset market1501 --metric cosine --match-probability` fits those of images and of
# tracks, on pairs across cameras of 446 queries of 100 identities; with --camera-normalization, the normalized ones.
_PAIRS = {False: {"same": 5304, "different": 5304}, True: {"same": 831, "different": 82055}}  # of images, of tracks


def _fitted(normalized, tracks, offset, slope):
    facts = {"metric": "cosine", "fitted_on": "market1501, test set", "normalized": normalized, "tracks": tracks}
    return {"offset": offset, "slope": slope, **facts, **_PAIRS[tracks]}


MATCHES = {
    name: tuple(_fitted(*kind, *pair) for kind, pair in zip(MATCH_FIELDS, coefficients, strict=True))
    for name, coefficients in {
        "osnet_x0_25_people": (
            (9.544912, 19.376086), (10.570613, 13.434442), (9.310751, 23.253289), (9.910148, 13.960603)
        ),
        "osnet_ain_x0_25_people": (
            (9.655492, 19.737721), (10.528729, 13.429742), (9.908369, 25.775922), (9.971203, 14.376228)
        ),
        "osnet_x0_5_people": (
            (10.406665, 21.399617), (11.330254, 14.362656), (9.833723, 25.030307), (10.276121, 14.496154)
        ),
        "osnet_x0_25_msmt17": (
            (9.671156, 22.521597), (12.015072, 14.853058), (8.429407, 24.901766), (8.825056, 11.667351)
        ),
    }.items()
}  # fmt: skip
CHECKSUMS = {  # SHA-256, bytes
    "osnet_x0_25_market1501": ("c0ff09177a21417a19bc73bbf5af4eb5d2b097c2074ed35e67819ee6cd93612c", 2_462_783),
    "osnet_x0_25_msmt17": ("6f57607fed9f502b9efed546108132ee715df5a5b6e6932c6269bacb47f59f99", 3_057_863),
    "osnet_x0_25_msmt17_all": ("cf55163d78fc44c62c82f85ab62d39f10438679b5abe8c698ae08cfa84aa6e18", 9_336_983),
    "osnet_x1_0_msmt17_all": ("48df972f72887b95cf3b43b3a07c3a7d2398381aea0f9cae64a7ef11d512b727", None),
    "osnet_ain_x1_0_msmt17_all": ("8a07e8da38946f7cee37f4561617bf8b6d2fe8f3a4027852893ea092e46d919f", 17_293_009),
    "osnet_ain_x1_0_ms_d_c": ("2f38acc25e28cb29407635db2be315edc08d5457a904b72a9a11e427f41f3242", None),
    "osnet_x0_25_people": ("44c91085c27eae69dd3e103c51d6ef4bc7e8153e00bc8deaf58820ac75674d00", 487_904),
    "osnet_x0_5_people": ("1c831e1028a1e400a27df04f31af4fc3576d3efb17395069faa2402156466b20", 1_377_864),
    "osnet_ain_x0_25_people": ("1571e5a1026ae1b9e02e3ebf4d00b412b74020eed515e68df630b64a5c268377", 486_920),
    "osnet_x1_0_sports": ("8d5b2fd8763db34c2aad69810466adf413f0426d9f8119d322227e0e639c5fbd", 30_393_613),
}


def parts_of(name):
    """Variant, width and training set that a preset's name says."""
    variant, whole, fraction, training_set = re.fullmatch(r"(\w+?)_x(\d+)_(\d+)_(\w+)", name).groups()
    return variant, float(f"{whole}.{fraction}"), training_set


def _score(dataset, rank1, mAP, metric="euclidean", source=ZOO):
    return Score(dataset, rank1 / 100, mAP / 100, metric, source)


def _row(name, file, addresses, **facts):
    variant, width, training_set = parts_of(name)
    _, classes, images_licence = TRAINING_SETS[training_set]
    sha256, size = CHECKSUMS.get(name, (None, None))
    scores = tuple(_score(on, *values) for on, values in SCORES.get(name, {}).items())
    row = dict(sha256=sha256, size=size, scores=scores, images_licence=images_licence) | facts
    return Preset(name, file, addresses, variant, width, training_set, classes, **row)


def _zoo(name, file, drive):
    """A file of torchreid's zoo; `drive` is its id on Google Drive."""
    file = file.format_map(RECIPES)
    return _row(name, file, tuple(host.format(file=file, drive=drive) for host in HOSTS))


def _packaged(name):
    """A file in this package, trained by recipes/people_weights.py; its card lies beside it."""
    return _row(name, f"{name}.safetensors", (), weights_licence="Apache-2.0", input_shape=(128, 64, 3))


def _roboflow(name):
    address = ROBOFLOW.format(training_set=parts_of(name)[2])
    return _row(name, f"{name}.safetensors", (address,), weights_licence="not stated by Roboflow")


ROWS = (
    _zoo("osnet_x1_0_imagenet", "osnet_x1_0_imagenet.pth", "1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY"),
    _zoo("osnet_x0_75_imagenet", "osnet_x0_75_imagenet.pth", "1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq"),
    _zoo("osnet_x0_5_imagenet", "osnet_x0_5_imagenet.pth", "16DGLbZukvVYgINws8u8deSaOqjybZ83i"),
    _zoo("osnet_x0_25_imagenet", "osnet_x0_25_imagenet.pth", "1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs"),
    _zoo("osnet_ibn_x1_0_imagenet", "osnet_ibn_x1_0_imagenet.pth", "1sr90V6irlYYDd4_4ISU2iruoRG8J__6l"),
    _zoo("osnet_ain_x1_0_imagenet", "osnet_ain_x1_0_imagenet.pth", "1-CaioD9NaqbHK_kzSMW8VE4_3KcsRjEo"),
    _zoo("osnet_ain_x0_75_imagenet", "osnet_ain_x0_75_imagenet.pyth", "1apy0hpsMypqstfencdH-jKIUEFOW4xoM"),
    _zoo("osnet_ain_x0_5_imagenet", "osnet_ain_x0_5_imagenet.pyth", "1KusKvEYyKGDTUBVRxRiz55G31wkihB6l"),
    _zoo("osnet_ain_x0_25_imagenet", "osnet_ain_x0_25_imagenet.pyth", "1SxQt2AvmEcgWNhaRb2xC4rP6ZwVDP0Wt"),
    _zoo("osnet_x1_0_market1501", "osnet_x1_0_market_{A}", "1vduhq5DpN2q1g4fYEZfPI17MJeh9qyrA"),
    _zoo("osnet_x0_75_market1501", "osnet_x0_75_market_{A}", "1ozRaDSQw_EQ8_93OUmjDbvLXw9TnfPer"),
    _zoo("osnet_x0_5_market1501", "osnet_x0_5_market_{B}", "1PLB9rgqrUM7blWrg4QlprCuPT7ILYGKT"),
    _zoo("osnet_x0_25_market1501", "osnet_x0_25_market_{B}", "1z1UghYvOTtjx7kEoRfmqSMu-z62J6MAj"),
    _zoo("osnet_ibn_x1_0_market1501", "osnet_ibn_x1_0_market1501_{J}", "1uWW7_z_IcUmRNPqQOrEBdsvic94fWH37"),
    _zoo("osnet_ain_x1_0_market1501", "osnet_ain_x1_0_market1501_{C100}", "14bNFGm0FhwHEkEpYKqKiDWjLNhXywFAd"),
    _zoo("osnet_x1_0_dukemtmcreid", "osnet_x1_0_duke_{A}", "1QZO_4sNf4hdOKKKzKc-TZU9WW1v6zQbq"),
    _zoo("osnet_x0_75_dukemtmcreid", "osnet_x0_75_duke_{A}", "1IE3KRaTPp4OUa6PGTFL_d5_KQSJbP0Or"),
    _zoo("osnet_x0_5_dukemtmcreid", "osnet_x0_5_duke_{B}", "1KoUVqmiST175hnkALg9XuTi1oYpqcyTu"),
    _zoo("osnet_x0_25_dukemtmcreid", "osnet_x0_25_duke_{B}", "1eumrtiXT4NOspjyEV4j8cHmlOaaCGk5l"),
    _zoo("osnet_ibn_x1_0_dukemtmcreid", "osnet_ibn_x1_0_duke_{A}", "1CNxL1IP0BjcE1TSttiVOID1VNipAjiF3"),
    _zoo("osnet_ain_x1_0_dukemtmcreid", "osnet_ain_x1_0_dukemtmcreid_{C90}", "1hypJvq8G04SOby6jvF337GEkg5K_bmCw"),
    _zoo("osnet_x1_0_msmt17", "osnet_x1_0_msmt17_{A}", "112EMUfBPYeYg70w-syK6V6Mx8-Qb9Q1M"),
    _zoo("osnet_x0_75_msmt17", "osnet_x0_75_msmt17_{A}", "1QEGO6WnJ-BmUzVPd3q9NoaO_GsPNlmWc"),
    _zoo("osnet_x0_5_msmt17", "osnet_x0_5_msmt17_{B}", "1UT3AxIaDvS2PdxzZmbkLmjtiqq7AIKCv"),
    _zoo("osnet_x0_25_msmt17", "osnet_x0_25_msmt17_{B}", "1sSwXSUlj4_tHZequ_iZ8w_Jh0VaRQMqF"),
    _zoo("osnet_x1_0_msmt17_all", "osnet_x1_0_msmt17_combineall_{J}", "1IosIFlLiulGIjwW3H8uMRmx3MzPwf86x"),
    _zoo("osnet_x0_75_msmt17_all", "osnet_x0_75_msmt17_combineall_{J}", "1fhjSS_7SUGCioIf2SWXaRGPqIY9j7-uw"),
    _zoo("osnet_x0_5_msmt17_all", "osnet_x0_5_msmt17_combineall_{J}", "1DHgmb6XV4fwG3n-CnCM0zdL9nMsZ9_RF"),
    _zoo("osnet_x0_25_msmt17_all", "osnet_x0_25_msmt17_combineall_{J}", "1Kkx2zW89jq_NETu4u42CFZTMVD5Hwm6e"),
    _zoo("osnet_ibn_x1_0_msmt17_all", "osnet_ibn_x1_0_msmt17_combineall_{J}", "1q3Sj2ii34NlfxA4LvmHdWO_75NDRmECJ"),
    _zoo("osnet_ain_x1_0_msmt17_all", "osnet_ain_x1_0_msmt17_{C50}", "1SigwBE6mPdqiJMqhuIY4aqC7--5CsMal"),
    _zoo("osnet_x1_0_ms_d_c", "osnet_ms_d_c.pth.tar", "1tuYY1vQXReEd8N8_npUkc7npPDDmjNCV"),
    _zoo("osnet_x1_0_ms_m_c", "osnet_ms_m_c.pth.tar", "1UxUI4NsE108UCvcy3O1Ufe73nIVPKCiu"),
    _zoo("osnet_x1_0_ms_d_m", "osnet_ms_d_m.pth.tar", "1kAA6qHJvbaJtyh1b39ZyEqWROwUgWIhl"),
    _zoo("osnet_x1_0_d_m_c", "osnet_d_m_c.pth.tar", "1wAHuYVTzj8suOwqCNcEmu6YdbVnHDvA2"),
    _zoo("osnet_ibn_x1_0_ms_d_c", "osnet_ibn_ms_d_c.pth.tar", "14sH6yZwuNHPTElVoEZ26zozOOZIej5Mf"),
    _zoo("osnet_ibn_x1_0_ms_m_c", "osnet_ibn_ms_m_c.pth.tar", "1Sk-2SSwKAF8n1Z4p_Lm_pl0E6v2WlIBn"),
    _zoo("osnet_ibn_x1_0_ms_d_m", "osnet_ibn_ms_d_m.pth.tar", "1actHP7byqWcK4eBE1ojnspSMdo7k2W4G"),
    _zoo("osnet_ibn_x1_0_d_m_c", "osnet_ibn_d_m_c.pth.tar", "1BGOSdLdZgqHe2qFafatb-5sPY40JlYfp"),
    _zoo("osnet_ain_x1_0_ms_d_c", "osnet_ain_ms_d_c.pth.tar", "1nIrszJVYSHf3Ej8-j6DTFdWz8EnO42PB"),
    _zoo("osnet_ain_x1_0_ms_m_c", "osnet_ain_ms_m_c.pth.tar", "1YjJ1ZprCmaKG6MH2P9nScB9FL_Utf9t1"),
    _zoo("osnet_ain_x1_0_ms_d_m", "osnet_ain_ms_d_m.pth.tar", "1IxIg5P0cei3KPOJQ9ZRWDE_Mdrz01ha2"),
    _zoo("osnet_ain_x1_0_d_m_c", "osnet_ain_d_m_c.pth.tar", "1KcoUKzLmsUoGHI7B6as_Z2fXL50gzexS"),
    _roboflow("osnet_x1_0_mot17"),
    _roboflow("osnet_x1_0_sportsmot"),
    _roboflow("osnet_x1_0_dancetrack"),
    _roboflow("osnet_x1_0_soccernet"),
    _row("osnet_x1_0_sports", "osnet_sports.pth.tar", (SPORTS,), weights_licence="not stated"),
    _packaged("osnet_x0_25_people"),
    _packaged("osnet_ain_x0_25_people"),
    _packaged("osnet_x0_5_people"),
)
PRESETS = {row.name: row for row in ROWS}


def is_name(weights):
    """Whether weights are given by the name of a preset or of a training set."""
    return weights in PRESETS or weights in TRAINING_SETS


def nearest(name):
    """Names of presets that look like `name`, for an error."""
    return difflib.get_close_matches(str(name), PRESETS, 3, 0.5)


def preset_trained_on(training_set, width, variant):
    """The preset of a width and variant for a training set, "msmt17" standing for "msmt17_all" where only that exists.

    Raises:
        ValueError: if there is none. It names the networks that have this training set, or the training sets that this
            network has.
    """
    rows = {row.training_set: row for row in ROWS if (row.width, row.variant) == (width, variant)}
    found = rows.get(training_set) or rows.get(f"{training_set}_all")
    if found is None:
        others = [row.name for row in ROWS if row.training_set == training_set]
        offered = f" The presets of {training_set} are {', '.join(others)}." if others else ""
        raise ValueError(
            f"`weights` must be a training set of {variant} x{width:g}: one of {list(rows)}. Received: "
            f"{training_set!r}.{offered}"
        )
    return found
