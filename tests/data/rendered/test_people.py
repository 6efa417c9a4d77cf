"""People, their clothes and what they carry, as plain values: drawn from a seed, varied, told apart by details."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from keras_osnet.data.rendered import bodies, carried, clothes, head, people, poses
from keras_osnet.data.rendered.paint import COLOURS, DIVISIONS, MATERIALS, Paint, family, linear
from keras_osnet.data.rendered.parts import TARGETS
from keras_osnet.data.rendered.textures import PATTERNS, noise, patterns, prints

CROWD = [people.draw_person(np.random.default_rng((5, number))) for number in range(1500)]


def test_a_person_follows_from_the_key_and_the_number():
    assert people.person_of((1, 0), 7, 0.5) == people.person_of((1, 0), 7, 0.5)
    assert people.person_of((1, 0), 7, 0.5) != people.person_of((1, 1), 7, 0.5)
    assert people.person_of((1, 0), 7, 0.5) != people.person_of((1, 0), 8, 0.5)


def differing(first, second):
    return {field.name for field in fields(people.Person) if getattr(first, field.name) != getattr(second, field.name)}


def test_of_twins_the_second_differs_in_one_detail_only():
    for number in range(0, 200, 2):
        first, second = (people.person_of((9, 0), n, 1.0) for n in (number, number + 1))
        changed = differing(first, second)
        assert changed
        assert changed <= {"upper", "lower"} or len(changed) == 1
        assert first.body == second.body


def test_without_twins_no_two_people_share_a_body():
    found = [people.person_of((9, 0), number, 0.0).body for number in range(100)]
    assert len(set(found)) == 100


@pytest.mark.parametrize("detail", people.DETAILS)
def test_every_detail_can_be_changed(detail):
    rng = np.random.default_rng(1)
    changed = [people.DETAILS[detail](person, rng) != person for person in CROWD[:20]]
    assert np.mean(changed) > 0.9


def test_variants_leave_out_the_jacket_or_what_is_carried():
    person = next(p for p in CROWD if p.outer and p.items)
    whole, without_jacket, without_items = people.variants(person)
    assert whole == person
    assert without_jacket == replace(person, outer=None)
    assert without_items == replace(person, items=())
    assert people.variants(next(p for p in CROWD if not p.outer and not p.items))[1:] == []


@pytest.mark.parametrize(
    ("table", "value"),
    [
        (bodies.AGE_GROUPS, lambda p: p.body.age_group),
        (bodies.BUILDS, lambda p: p.body.build),
        (bodies.SKIN_TONES, lambda p: p.body.tone),
        (clothes.SEASONS, lambda p: p.season),
        ({**clothes.UPPERS, "dress": 0}, lambda p: p.upper.kind),
        ({**clothes.LOWERS, **clothes.SKIRTS, "dress": 0}, lambda p: p.lower.kind),
        ({**clothes.OUTERS, None: 0}, lambda p: p.outer and p.outer.kind),
        (clothes.SHOES, lambda p: p.shoes.kind),
        (head.HAIR, lambda p: p.head.hair),
        (head.HATS, lambda p: p.head.hat),
        (head.GLASSES, lambda p: p.head.glasses),
    ],
)
def test_every_row_of_a_table_occurs_and_nothing_else_does(table, value):
    assert set(Counter(value(person) for person in CROWD)) == set(table)


def test_every_item_is_carried_by_somebody():
    assert {item.kind for person in CROWD for item in person.items} == set(carried.ITEMS)


@pytest.mark.parametrize("name", people.ATTRIBUTES)
def test_no_attribute_is_the_same_for_everybody(name):
    share = np.mean([people.ATTRIBUTES[name](person) for person in CROWD])
    assert 0.001 < share < 0.8


def test_sexes_tones_and_heights_are_as_the_tables_say():
    assert 0.45 < np.mean([p.body.sex == "female" for p in CROWD]) < 0.55
    tones = Counter(p.body.tone for p in CROWD)
    assert min(tones.values()) > len(CROWD) / len(bodies.SKIN_TONES) / 1.5
    adults = {
        sex: [p.body.height for p in CROWD if p.body.sex == sex and 20 < p.body.years < 60] for sex in bodies.HEIGHTS
    }
    assert abs(np.mean(adults["female"]) - 1.633) < 0.02
    assert abs(np.mean(adults["male"]) - 1.752) < 0.02
    assert np.mean([p.body.height for p in CROWD if p.body.age_group == "child"]) < 1.45


def test_a_bodys_targets_exist_and_their_macro_weights_sum_to_one():
    for person in CROWD[:50]:
        weights = bodies.target_weights(person.body)
        assert set(weights) <= set(TARGETS)
        assert sum(w for name, w in weights.items() if "/universal-" in name) == pytest.approx(1, abs=0.02)
        assert sum(
            w for name, w in weights.items() if name.count("-") == 2 and "macrodetails/" in name
        ) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0, 0, 0), "black"), ((255, 255, 255), "white"), ((40, 90, 165), "blue"), ((180, 30, 30), "red")],
)
def test_a_colour_belongs_to_the_family_of_the_nearest_named_one(colour, expected):
    assert family(colour) == expected


def test_linear_light_follows_the_srgb_curve():
    np.testing.assert_allclose(linear((0, 255, 128)), [0, 1, ((128 / 255 + 0.055) / 1.055) ** 2.4])
    np.testing.assert_allclose(linear((5, 5, 5)), 5 / 255 / 12.92)


def test_every_row_of_the_tables_of_colours_is_named():
    for table in (clothes.UPPER_COLOURS, clothes.LOWER_COLOURS, clothes.DENIM_COLOURS, clothes.SHOE_COLOURS,
                  clothes.COAT_COLOURS, carried.BAG_COLOURS, carried.SHOPPING_COLOURS):  # fmt: skip
        assert set(table) <= set(COLOURS)
    assert set(clothes.PATTERN_CHANCES) <= set(PATTERNS)
    assert set(clothes.DIVISION_CHANCES) <= set(DIVISIONS)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_paint_becomes_rows_of_finite_numbers(material, pattern):
    rows = Paint(material, pattern=pattern, print=(3, 0, 0.4, 0.1, True)).rows()
    assert rows.shape == (11, 4)
    assert np.isfinite(rows).all()
    assert rows[0, 3] == MATERIALS[material]
    assert rows[7, 3] == -4  # number 3, on the back


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != "plain"])
def test_a_pattern_shows_both_colours(name):
    tile = patterns()[list(PATTERNS).index(name)][..., 0] / 255
    assert 0.05 < tile.mean() < 0.95


def test_prints_differ_and_noise_is_even():
    found = prints()
    assert len({layer.tobytes() for layer in found}) > 0.9 * len(found)
    assert abs(noise().mean() - 127.5) < 1


@pytest.mark.parametrize("name", poses.POSES)
def test_the_arms_of_every_pose_are_rows_of_arms(name):
    _, legs, arms = poses.POSES[name]
    assert legs in ("walk", "stand", "run")
    assert set(arms) <= set(poses.ARMS)


def test_what_is_carried_decides_how_the_arm_is_held():
    pose = poses.draw_pose(np.random.default_rng(2), arms=("carry", None), legs="ride")
    assert pose.arms[0] == "carry"
    assert pose.legs == "ride"
    assert {arm for _, arm in carried.ITEMS.values() if arm} <= set(poses.ARMS)
