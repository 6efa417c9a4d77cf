"""Bodies, poses and clothes as meshes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from keras_osnet.data.rendered import actors, bodies, garments, mesh, people, poses, surface, wardrobe
from keras_osnet.data.rendered import parts as parts_module
from keras_osnet.data.rendered.parts import BONES
from keras_osnet.data.rendered.renderer import MOST_BONES, MOST_LAYERS

PLACES = {name: place for place, name in enumerate(BONES)}
STANDING = poses.Pose("stand", ("hang", "hang"), 0.0, 1.0)


@pytest.fixture(scope="module")
def parts(parts_cache):
    return parts_module.unpack(next(parts_cache.glob("*.npz")))


@pytest.fixture(scope="module")
def ground(parts):
    return surface.surface_of(parts)


@pytest.fixture(scope="module")
def person():
    return people.draw_person(np.random.default_rng(4))


@pytest.fixture(scope="module")
def figure(parts, ground, person):
    return garments.Figure(parts, ground, bodies.shape(parts, person.body))


def posed(parts, vertices, pose, bone, joint):
    """World position of a joint that hangs on a bone."""
    matrix = poses.bone_matrices(parts, vertices, pose)[PLACES[bone]]
    return (matrix @ [*parts.joint(vertices, joint), 1])[:3]


@pytest.mark.parametrize("seed", range(8))
def test_a_body_is_as_tall_as_it_was_drawn(parts, seed):
    body = bodies.draw_body(np.random.default_rng(seed))
    heights = bodies.shape(parts, body)[parts.members["body"], 1]
    assert np.ptp(heights) == pytest.approx(body.height, rel=1e-4)


def width_at(parts, ground, body, height):
    vertices = bodies.shape(parts, body)
    members = parts.members["tights"]
    torso = (np.abs(ground.rest[members, 1] - height) < 0.03) & (np.abs(ground.limb[members]) < 0.2)
    return np.ptp(vertices[members][torso, 0]) / body.height


def test_heavy_bodies_are_wider_at_the_waist_than_slim_ones(parts, ground, person):
    slim, heavy = (replace(person.body, weight=weight) for weight in (0.1, 1.0))
    assert width_at(parts, ground, heavy, 0.15) > 1.1 * width_at(parts, ground, slim, 0.15)


def test_a_standing_person_has_the_feet_on_the_ground_and_hanging_arms(parts, figure):
    vertices = figure.vertices
    matrices = poses.bone_matrices(parts, vertices, STANDING)
    pelvis = (matrices[0] @ [*parts.joint(vertices, "pelvis"), 1])[:3]
    np.testing.assert_allclose(pelvis[[0, 2]], 0, atol=1e-5)
    for letter, side in (("l", "L"), ("r", "R")):
        shoulder, elbow, hand = (
            posed(parts, vertices, STANDING, f"{bone}.{side}", f"{letter}-{joint}")
            for bone, joint in (("upperarm01", "shoulder"), ("lowerarm01", "elbow"), ("wrist", "hand"))
        )
        assert shoulder[1] > elbow[1] > hand[1] > 0
        assert abs(hand[0] - shoulder[0]) < 0.15
        ankle = posed(parts, vertices, STANDING, f"foot.{side}", f"{letter}-ankle")
        assert 0 < ankle[1] < 0.16


def test_the_legs_of_a_walk_alternate_and_the_arms_swing_against_them(parts, figure):
    for phase, sign in ((0.25, 1), (0.75, -1)):
        pose = poses.Pose("walk", ("swing", "swing"), phase, 1.0)
        left, right = (posed(parts, figure.vertices, pose, f"foot.{s.upper()}", f"{s}-ankle")[2] for s in "lr")
        hand, other = (posed(parts, figure.vertices, pose, f"wrist.{s.upper()}", f"{s}-hand")[2] for s in "lr")
        assert sign * (left - right) > 0.3
        assert sign * (hand - other) < -0.1


@pytest.mark.parametrize("arm", ["phone", "text", "folded", "hold", "ride", "push"])
def test_bent_arms_lift_the_hand_before_the_body(parts, figure, arm):
    pose = poses.Pose("stand", (arm, "hang"), 0.0, 1.0)
    hand, other = (posed(parts, figure.vertices, pose, f"wrist.{s.upper()}", f"{s}-hand") for s in "lr")
    assert hand[1] > other[1] + 0.1
    assert hand[2] > other[2]


def test_a_rider_sits_on_the_saddle(parts, figure):
    pose = poses.Pose("ride", ("ride", "ride"), 0.3, 1.0)
    pelvis = posed(parts, figure.vertices, pose, "root", "pelvis")
    assert pelvis[1] == pytest.approx(0.97 * np.ptp(figure.vertices[:, 1]) / 1.7, rel=1e-3)


def test_the_coordinates_of_limbs_run_from_shoulder_to_wrist_and_from_hip_to_ankle(parts, ground):
    for joint, expected in (("l-shoulder", 0), ("l-hand", 1), ("r-upper-leg", 0), ("r-ankle", 1)):
        limb = 1 if "shoulder" in joint or "hand" in joint else -1
        near = np.linalg.norm(ground.rest - parts.joint(ground.rest, joint), axis=1) < 0.09
        near &= ground.limb * limb > 0.6
        assert near.any()
        assert abs(np.median(ground.along[near]) - expected) < 0.2


def test_around_is_a_direction_that_points_to_the_front_on_the_belly(ground, parts):
    np.testing.assert_allclose(np.linalg.norm(ground.around, axis=1)[parts.members["tights"]], 1, atol=1e-4)
    rest = ground.rest[parts.members["tights"]]
    belly = (np.abs(rest[:, 0]) < 0.03) & (np.abs(rest[:, 1] - 0.2) < 0.06) & (rest[:, 2] > 0.1)
    assert (ground.around[parts.members["tights"]][belly][:, 1] > 0.85).all()


def test_a_shirt_lies_outside_of_the_body(figure):
    tights = figure.piece("tights")
    shirt = garments.upper(figure, gap=0.01, rounds=4, sleeve=0.4, cuff=0.07, bottom=0.1, boxy=0.5)
    used = np.unique(shirt.triangles)
    outward = mesh.normals(tights.positions, tights.triangles)[used]
    distance = ((shirt.positions - tights.positions)[used] * outward).sum(1)
    assert np.mean(distance > 0.003) > 0.95


def test_boxy_shirts_are_wider_at_the_waist(figure):
    widths = []
    for boxy in (0.0, 1.0):
        shirt = garments.upper(figure, gap=0.01, rounds=2, sleeve=0.4, cuff=0.07, bottom=0.1, boxy=boxy)
        waist = (np.abs(shirt.surface[:, 2] - 0.2) < 0.04) & (np.abs(shirt.limb) < 0.1)
        widths.append(np.ptp(shirt.positions[waist, 0]))
    assert widths[1] > widths[0] + 0.01


def test_trousers_are_as_wide_at_the_ankle_as_they_are_cut(figure):
    narrow, wide = (garments.lower(figure, gap=0.005, hem=1.0, knee=0.07, ankle=ankle) for ankle in (0.02, 0.15))
    ankle = (np.abs(narrow.surface[:, 3] - 0.95) < 0.05) & (narrow.limb < -0.9) & (narrow.rest[:, 0] > 0)
    assert np.ptp(wide.positions[ankle, 0]) > np.ptp(narrow.positions[ankle, 0]) + 0.12


@pytest.mark.parametrize("seed", range(40))
def test_every_person_can_be_dressed(parts, ground, seed):
    person = people.draw_person(np.random.default_rng((31, seed)))
    _, sole, worn, carried = wardrobe.dress(parts, ground, person)
    layers = worn + carried
    assert len(layers) <= MOST_LAYERS
    assert 0 < sole < 0.05
    records, triangles = mesh.merge([(number, piece) for number, (_, piece) in enumerate(layers)])
    assert np.isfinite(records["position"]).all()
    assert np.abs(records["position"]).max() < 2.5
    assert triangles.max() == len(records) - 1
    assert len(triangles) < 16_000
    # A vertex whose triangles are all flat has no normal: the poles of ellipsoids.
    assert np.mean(np.abs(np.linalg.norm(records["normal"], axis=1) - 1) < 1e-3) > 0.99
    assert set(np.unique(records["layer"])) <= set(range(len(layers)))
    assert (records["weights"].astype(int).sum(1) >= 253).all()


@pytest.mark.parametrize(
    ("solid", "centre"),
    [
        (mesh.ellipsoid((1, 2, 3), (0.5, 1, 2)), (1, 2, 3)),
        (mesh.box((0, 1, 0), (1, 2, 0.5)), (0, 1, 0)),
        (mesh.tube([(0, 0, 0), (0, 1, 0)], 0.1), (0, 0.5, 0)),
    ],
)
def test_the_faces_of_solids_point_outward(solid, centre):
    positions, triangles = solid
    outward = mesh.normals(positions, triangles)
    away = positions - centre
    assert np.mean((outward * away).sum(1) > 0) > 0.9


def test_merging_drops_vertices_that_no_triangle_has():
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]])
    piece = mesh.solid(positions, [[0, 1, 2]], 3)
    records, triangles = mesh.merge([(5, piece), (7, piece)])
    assert len(records) == 6
    assert Counter(records["layer"].ravel().tolist()) == {5: 3, 7: 3}
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_allclose(records["normal"], np.tile([0, 0, 1], (6, 1)))


def test_an_actors_points_are_where_the_matrices_put_them(parts, ground, person):
    _, sole, worn, _ = wardrobe.dress(parts, ground, person)
    records, _ = mesh.merge([(number, piece) for number, (_, piece) in enumerate(worn)])
    model = actors.Model(person, garments.Figure(parts, ground, bodies.shape(parts, person.body)), None, sole,
                         records[::50], (None, None), None)  # fmt: skip
    actor = actors.placed_actor(model, STANDING, (2.0, -3.0), np.pi / 2)
    assert actor.matrices.shape == (MOST_BONES, 4, 4)
    points = actor.points()
    for k in (0, len(points) // 2):
        record, expected = records[::50][k], np.zeros(4)
        for bone, weight in zip(record["bones"], record["weights"], strict=True):
            expected += weight / 255 * (actor.matrices[bone] @ [*record["position"], 1])
        np.testing.assert_allclose(points[k], (actor.placed @ [*expected[:3], 1])[:3], atol=1e-4)
    # Turned by a quarter, the front (z) becomes the left (x): the toes lie towards x.
    assert abs(points[:, 0].mean() - 2.0) < 0.3
    assert abs(points[:, 2].mean() + 3.0) < 0.3
    assert points[:, 1].min() > -0.05
