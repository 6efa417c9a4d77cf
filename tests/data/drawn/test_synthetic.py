import csv
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data.drawn import synthetic
from keras_osnet.data.drawn.clothing import ATTRIBUTES, LOGOS, PALETTE, PATTERNS, Pedestrian, describe
from keras_osnet.data.drawn.pedestrians import View, draw
from keras_osnet.data.drawn.synthetic import SyntheticSettings, load, person_of, plan, render

SMALL = SyntheticSettings(seed=7, train_identities=3, test_identities=2, distractors=5)
GREEN_SCREEN = (0, 255, 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    load(root, SMALL)
    return root


def files_of(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def person(**changes):
    plain = Pedestrian(
        female=False, height=1.0, build=1.1, skin=(224, 172, 128), hair="black", long_hair=False, headwear="",
        headwear_colour="red", upper="blue", upper_second="yellow", pattern="plain", logo="", long_sleeves=True,
        lower_garment="trousers", lower="grey", shoes="brown", backpack="", handbag="", suitcase="",
    )  # fmt: skip
    return replace(plain, **changes)


def drawn(who, yaw):
    canvas = Image.new("RGB", (150, 260), GREEN_SCREEN)
    draw(canvas, who, View(yaw=yaw, stride=0.5, x=75, top=10, size=230))
    return np.asarray(canvas).astype(int)


def near(pixels, name, tolerance=50):
    return (np.abs(pixels - PALETTE[name]).max(-1) < tolerance).sum()


def histogram(image):
    counts, _ = np.histogramdd(np.asarray(image).reshape(-1, 3), bins=8, range=[(0, 256)] * 3)
    return counts.ravel() / counts.sum()


def test_the_same_arguments_give_the_same_pixels():
    first, second = render(4, 2, 1, SMALL), render(4, 2, 1, SMALL)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("identity", "camera", "shot", "seed"), [(5, 2, 1, 7), (4, 3, 1, 7), (4, 2, 0, 7), (4, 2, 1, 8)]
)
def test_another_identity_camera_shot_or_seed_gives_another_image(identity, camera, shot, seed):
    other = render(identity, camera, shot, replace(SMALL, seed=seed))
    assert other.tobytes() != render(4, 2, 1, SMALL).tobytes()


def test_the_global_random_state_neither_matters_nor_changes():
    np.random.seed(1)
    before = render(1, 1, 0, SMALL).tobytes()
    drawn_after_rendering = np.random.random()
    np.random.seed(1)
    assert np.random.random() == drawn_after_rendering
    np.random.seed(2)
    assert render(1, 1, 0, SMALL).tobytes() == before


def test_two_folders_of_the_same_settings_hold_the_same_bytes(root, tmp_path):
    load(tmp_path, SMALL)
    assert files_of(tmp_path) == files_of(root)


def test_a_folder_that_is_there_is_not_rendered_again(root, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    first = load(root, SMALL)
    monkeypatch.setattr(synthetic, "render", None)
    assert load(root, SMALL) == first
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


@pytest.mark.parametrize("change", [{"seed": 8}, {"distractors": 4}, {"height": 96}])
def test_a_folder_of_other_settings_is_refused_by_name(root, change):
    with pytest.raises(ValueError, match=r"synthetic-pedestrians must be drawn with.*Move or delete"):
        load(root, replace(SMALL, **change))


def test_settings_may_be_numbers_of_numpy(root, tmp_path):
    load(tmp_path, replace(SMALL, seed=np.int64(7), distractors=np.float32(5)))
    assert files_of(tmp_path / "synthetic-pedestrians") == files_of(root / "synthetic-pedestrians")


def test_a_folder_of_an_older_version_is_refused(root, monkeypatch):
    monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
    with pytest.raises(ValueError, match="Move or delete the folder"):
        load(root, SMALL)


def test_a_folder_without_settings_is_refused(tmp_path):
    (tmp_path / "synthetic-pedestrians").mkdir()
    with pytest.raises(ValueError, match=r"no readable settings\.json"):
        load(tmp_path, SMALL)


def test_a_missing_image_is_named(tmp_path):
    gone = Path(load(tmp_path, SMALL).query[0].path)
    gone.unlink()
    with pytest.raises(ValueError, match=f"1 of them are missing, first {gone.name}"):
        load(tmp_path, SMALL)


def test_leftovers_of_a_killed_rendering_are_removed(root, tmp_path):
    (tmp_path / ".synthetic-pedestrians-0123456789abcdef" / "train").mkdir(parents=True)
    assert len(load(tmp_path, SMALL).train) == len(load(root, SMALL).train)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["synthetic-pedestrians"]


def test_training_and_test_identities_are_disjoint(root):
    splits = load(root, SMALL)
    assert {r.identity for r in splits.train} == {1, 2, 3}
    assert {r.identity for r in splits.query} == {4, 5}
    assert {r.identity for r in splits.gallery} == {0, 4, 5}
    assert sum(r.identity == 0 for r in splits.gallery) == 5


def test_every_query_has_a_gallery_match_under_another_camera(root):
    splits = load(root, SMALL)
    for query in splits.query:
        assert any(r.identity == query.identity and r.camera != query.camera for r in splits.gallery)


def test_the_default_set_has_the_promised_size():
    images = plan(SyntheticSettings())
    counts = {split: len(names) for split, names in images.items()}
    assert counts == {"train": 200 * 4 * 5 // 2, "query": 70 * 2, "gallery": 70 * 4 * 2 + 100}
    per_query = Counter(person for person, _, _ in images["query"].values())
    assert set(per_query.values()) == {2}


def test_no_image_is_in_two_splits():
    shots = [shot for names in plan(SyntheticSettings()).values() for shot in names.values()]
    assert len(shots) == len(set(shots))


def test_names_carry_identity_and_camera_as_in_market1501(root):
    splits = load(root, SMALL)
    for split in ("train", "query", "gallery"):
        for record in getattr(splits, split):
            path = Path(record.path)
            assert path.parent == root / "synthetic-pedestrians" / split
            identity, camera, frame, box = path.stem.split("_")
            assert (int(identity), int(camera[1])) == (record.identity, record.camera)
            assert (len(identity), len(frame), len(box)) == (4, 6, 2)


@pytest.mark.parametrize(("width", "height"), [(64, 128), (48, 80)])
def test_images_have_the_size_of_the_settings(width, height):
    image = render(1, 1, 0, SyntheticSettings(width=width, height=height))
    assert (image.size, image.mode) == ((width, height), "RGB")


def test_attributes_are_binary_and_the_same_in_every_image_of_a_person(root):
    splits = load(root, SMALL)
    with open(root / "synthetic-pedestrians" / "attributes.csv", newline="") as file:
        table = {int(row["identity"]): row for row in csv.DictReader(file)}
    seen = defaultdict(set)
    for record in (*splits.train, *splits.query, *splits.gallery):
        if record.identity == 0:
            assert record.attributes == ()
            continue
        assert set(record.attributes) <= {0, 1}
        seen[record.identity].add(record.attributes)
        expected = [int(table[record.identity][name]) for name in splits.attribute_names]
        assert list(record.attributes) == expected
    assert {len(rows) for rows in seen.values()} == {1}


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("identities", [range(1, 201), range(201, 271)], ids=["train", "test"])
def test_no_attribute_is_always_0_or_always_1(name, identities):
    share = np.mean([ATTRIBUTES[name](person_of(i, SyntheticSettings())) for i in identities])
    assert 0.05 < share < 0.95


def test_no_two_of_the_default_people_are_dressed_alike():
    people = [person_of(i, SyntheticSettings()) for i in range(1, 271)]
    clothes = [(p.upper, p.pattern, p.logo, p.lower, p.lower_garment, p.shoes, p.hair, p.backpack) for p in people]
    assert len(set(clothes)) == len(clothes)


def test_many_people_share_each_colour():
    uppers = Counter(person_of(i, SyntheticSettings()).upper for i in range(1, 271))
    assert min(uppers.values()) >= 10


def test_colours_say_more_about_the_camera_than_about_the_person():
    settings = SyntheticSettings()
    h = {(i, c): histogram(render(i, c, 0, settings)) for i in range(1, 9) for c in range(1, 5)}
    same_person = [np.abs(h[i, c] - h[i, d]).sum() for i in range(1, 9) for c in range(1, 5) for d in range(1, c)]
    same_camera = [np.abs(h[i, c] - h[j, c]).sum() for c in range(1, 5) for i in range(1, 9) for j in range(1, i)]
    assert np.mean(same_person) > np.mean(same_camera) + 0.2


def test_the_face_is_seen_from_the_front_only():
    who = person(skin=(255, 0, 255))
    front, back = drawn(who, 0.0)[:45], drawn(who, np.pi)[:38]
    assert (np.abs(front - (255, 0, 255)).max(-1) < 30).sum() > 200
    assert (np.abs(back - (255, 0, 255)).max(-1) < 30).sum() == 0


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("yaw", [0.0, np.pi / 2, np.pi])
def test_a_pattern_shows_both_colours_from_every_side(pattern, yaw):
    pixels = drawn(person(pattern=pattern), yaw)
    assert near(pixels, "blue") > 100
    assert near(pixels, "yellow") > 100
    assert near(drawn(person(), yaw), "yellow") == 0


@pytest.mark.parametrize("logo", LOGOS)
def test_a_logo_is_seen_from_front_and_back_but_not_from_the_side(logo):
    assert np.abs(LOGOS[logo]).max() <= 1
    seen = [near(drawn(person(logo=logo), yaw), "yellow") for yaw in (0.0, np.pi, np.pi / 2)]
    assert seen[0] > 100
    assert seen[1] > 100
    assert seen[2] == 0


def test_a_backpack_covers_the_back_and_leaves_straps_in_front():
    front, back = (near(drawn(person(backpack="red"), yaw), "red") for yaw in (0.0, np.pi))
    assert 20 < front < back / 3


@pytest.mark.parametrize("item", ["backpack", "handbag", "suitcase", "headwear"])
@pytest.mark.parametrize("yaw", [0.0, np.pi / 2, np.pi, -np.pi / 2])
def test_what_a_person_carries_or_wears_is_seen_from_every_side(item, yaw):
    who = person(headwear="cap", headwear_colour="red") if item == "headwear" else person(**{item: "red"})
    assert near(drawn(who, yaw), "red") > 20


def test_people_of_one_seed_are_the_same():
    assert describe(np.random.default_rng(3)) == describe(np.random.default_rng(3))
    assert describe(np.random.default_rng(3)) != describe(np.random.default_rng(4))


@pytest.mark.parametrize("camera", [0, 5])
def test_a_camera_that_is_not_there_is_refused(camera):
    with pytest.raises(ValueError, match=f"`camera` must be from 1 to 4. Received: camera={camera}"):
        render(1, camera, 0, SMALL)


@pytest.mark.parametrize(
    "change", [{"train_identities": 0}, {"distractors": -1}, {"width": 0}, {"test_identities": 9999}, {"seed": "a"}]
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*Received"):
        replace(SMALL, **change)
