"""Poses: joint angles of people who walk, stand, ride and carry, and the bone matrices that follow."""

from dataclasses import dataclass, field

import numpy as np

from keras_osnet.data.rendered.parts import BONES

# A pose: how the legs move, how each arm is held, and its probability. Arms: rows of ARMS.
POSES = {
    "walk": (0.58, "walk", ("swing", "swing")),
    "walk_phone": (0.05, "walk", ("swing", "phone")),
    "walk_text": (0.05, "walk", ("swing", "text")),
    "walk_pocket": (0.05, "walk", ("pocket", "pocket")),
    "walk_strap": (0.03, "walk", ("swing", "strap")),
    "stand": (0.1, "stand", ("hang", "hang")),
    "stand_hip": (0.02, "stand", ("hang", "hip")),
    "stand_pocket": (0.03, "stand", ("pocket", "pocket")),
    "stand_folded": (0.02, "stand", ("folded", "folded")),
    "stand_phone": (0.03, "stand", ("hang", "phone")),
    "stand_text": (0.02, "stand", ("text", "text")),
    "run": (0.02, "run", ("run", "run")),
}
# An arm: forward, outward and inward-turning angle of the upper arm, bend of the elbow, in degrees; how much it swings.
ARMS = {
    "swing": (0, 6, 0, 18, 1.0),
    "hang": (0, 7, 0, 14, 0.0),
    "carry": (0, 6, 0, 4, 0.25),
    "pocket": (-8, 16, 10, 38, 0.1),
    "hip": (-20, 45, 30, 95, 0.0),
    "phone": (35, 18, 25, 138, 0.0),
    "text": (22, 4, 25, 92, 0.0),
    "strap": (28, 6, 28, 128, 0.0),
    "folded": (25, 6, 62, 88, 0.0),
    "hold": (12, 6, 12, 96, 0.0),  # an umbrella, a bag on the forearm
    "pull": (-22, 12, 0, 8, 0.0),  # a trolley
    "push": (30, 10, 6, 38, 0.0),  # a bicycle or a pram
    "ride": (52, 10, 0, 18, 0.0),
    "run": (0, 10, 14, 92, 1.8),
}
SIDES = (("L", 1.0), ("R", -1.0))


@dataclass(frozen=True)
class Pose:
    """Angles in degrees; `phase` of the walking cycle 0 .. 1; `stride` 1 is a common walk."""

    legs: str
    arms: tuple  # rows of ARMS, left and right
    phase: float
    stride: float
    lean: float = 0.0
    twist: float = 0.0
    head: tuple = (0.0, 0.0, 0.0)  # nod, turn, tilt
    offsets: tuple = field(default=(0.0,) * 10)  # individual habit: additions to the arms' angles and the stance


def draw_pose(rng, arms=(None, None), legs=None):
    """A random `Pose`; `arms` and `legs` that are not None are imposed by what the person carries."""
    names = list(POSES)
    chances = np.cumsum([POSES[name][0] for name in names])
    _, drawn_legs, drawn_arms = POSES[names[int(np.searchsorted(chances, rng.random() * chances[-1]))]]
    if rng.random() < 0.5:
        drawn_arms = drawn_arms[::-1]
    legs = legs or drawn_legs
    turned = rng.normal(0, 22) if legs == "stand" else rng.normal(0, 12)
    down = 22.0 if "text" in drawn_arms else 0.0
    return Pose(
        legs,
        tuple(imposed or drawn for imposed, drawn in zip(arms, drawn_arms, strict=True)),
        float(rng.random()),
        float(np.clip(rng.normal(1, 0.2), 0.45, 1.5)),
        lean=float(rng.normal(3, 3)),
        twist=float(rng.normal(0, 3)),
        head=(float(rng.normal(6, 7) + down), float(turned), float(rng.normal(0, 4))),
        offsets=tuple(map(float, rng.normal(0, 1, 10) * (7, 3, 6, 10, 7, 3, 6, 10, 4, 3))),
    )


def bone_matrices(parts, vertices, pose):
    """Matrices (bones, 4, 4) from this body's rest pose to the posed body, its pelvis above the origin.

    The vertex that is lowest on the two soles lies at height 0.
    """
    turns = {name: np.eye(3) for name in BONES}
    _legs(turns, pose)
    _trunk(turns, pose)
    for number, (side, sign) in enumerate(SIDES):
        _arm(turns, parts, vertices, pose, number, side, sign)
    matrices = np.zeros((len(BONES), 4, 4), np.float32)
    places = {}
    for place, (name, (parent, joint)) in enumerate(BONES.items()):
        places[name] = place
        head = parts.joint(vertices, joint)
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turns[name], head - turns[name] @ head
        matrices[place] = matrices[places[parent]] @ local if parent else local
    origin = matrices[0, :3, :3] @ parts.joint(vertices, "pelvis") + matrices[0, :3, 3]
    matrices[:, [0, 2], 3] -= origin[[0, 2]]
    soles = np.concatenate([sole(parts, vertices, side) for side in "lr"])
    posed = np.concatenate(
        [points @ matrices[places[f"foot.{side}"], 1, :3] + matrices[places[f"foot.{side}"], 1, 3]
         for side, points in zip("LR", np.split(soles, 2), strict=True)]
    )  # fmt: skip
    matrices[:, 1, 3] -= posed.min()
    if pose.legs == "ride":  # the pelvis is on the saddle
        matrices[:, 1, 3] += (
            0.97 * np.ptp(vertices[:, 1]) / 1.7 - (matrices[0] @ [*parts.joint(vertices, "pelvis"), 1])[1]
        )
    return matrices


def sole(parts, vertices, side):
    """Ankle and toe on the ground: the two ends of a sole."""
    ankle, toe = parts.joint(vertices, f"{side}-ankle"), parts.joint(vertices, f"{side}-foot-1")
    ground = vertices[parts.members["body"], 1].min()
    heel = [ankle[0], ground, ankle[2] - 0.05]
    return np.array([heel, [toe[0], ground, toe[2] + 0.06]])


def _legs(turns, pose):
    stride = pose.stride
    for (side, sign), phase in zip(SIDES, (pose.phase, pose.phase + 0.5), strict=True):
        wave = 2 * np.pi * phase
        together = -5.5 + pose.offsets[8] * 0.3
        if pose.legs == "walk":
            hip = 26 * stride * np.sin(wave) + 3
            knee = 6 + 54 * stride * max(np.sin(wave + 0.62 * np.pi), 0) ** 2
            foot = 6 * np.sin(wave) - 14 * stride * max(np.sin(wave + 0.9 * np.pi), 0) ** 3
        elif pose.legs == "run":
            hip = 38 * np.sin(wave) + 12
            knee = 22 + 75 * max(np.sin(wave + 0.5 * np.pi), 0)
            foot = -10 * np.cos(wave)
        elif pose.legs == "ride":
            hip, knee, foot, together = 52 + 24 * np.sin(wave), 66 + 28 * np.sin(wave + 0.3), 4, -4
        else:
            hip, knee, foot = 2 + sign * pose.offsets[9], 4, 0
            together += pose.offsets[8] * 0.4
        out = 4 + pose.offsets[9] * 0.5
        turns[f"upperleg01.{side}"] = _x(-hip) @ _z(sign * together) @ _y(sign * out)
        turns[f"lowerleg01.{side}"] = _x(knee)
        turns[f"foot.{side}"] = _x(-foot) @ _z(-sign * together * 0.6)


def _trunk(turns, pose):
    wave = 2 * np.pi * pose.phase
    sway = 5 * pose.stride * np.sin(wave) if pose.legs == "walk" else 0.0
    lean = pose.lean + {"run": 9, "ride": 22}.get(pose.legs, 0)
    turns["root"] = _y(-sway * 0.8)
    turns["spine05"] = _x(lean * 0.4) @ _y(sway * 0.6 + pose.twist)
    turns["spine03"] = _x(lean * 0.3) @ _y(sway * 0.6)
    turns["spine01"] = _x(lean * 0.3) @ _y(sway * 0.4)
    nod, turn, tilt = pose.head
    turns["neck01"] = _y(turn * 0.4) @ _x(nod * 0.4 - lean * 0.5)
    turns["head"] = _y(turn * 0.6) @ _x(nod * 0.6) @ _z(tilt)


def _arm(turns, parts, vertices, pose, number, side, sign):
    letter = side.lower()
    shoulder, elbow, hand = (parts.joint(vertices, f"{letter}-{joint}") for joint in ("shoulder", "elbow", "hand"))
    upper, fore = elbow - shoulder, hand - elbow
    upper, fore = upper / np.linalg.norm(upper), fore / np.linalg.norm(fore)
    forward, outward, inward, bend, swing = ARMS[pose.arms[number]]
    habit = pose.offsets[4 * number : 4 * number + 4]
    strength = 0.4 if pose.arms[number] in ("phone", "strap", "hip", "folded", "push", "ride") else 1.0
    wave = -np.sin(2 * np.pi * (pose.phase + 0.5 * number)) if pose.legs in ("walk", "run") else 0.0
    forward = forward + strength * habit[0] + 24 * swing * pose.stride * wave
    bend = max(bend + strength * habit[3] + 10 * swing * max(wave, 0), 2)
    at_rest = np.degrees(np.arctan2(abs(upper[0]), -upper[1]))
    hang = _z(sign * (outward + strength * abs(habit[1]) - at_rest))
    turns[f"upperarm01.{side}"] = _x(-forward) @ _y(-sign * (inward + strength * habit[2])) @ hang
    # The elbow bends about the axis that turns the upper arm's direction to the front.
    axis = np.cross(upper, [0.0, 0.0, 1.0])
    already = np.degrees(np.arccos(np.clip(upper @ fore, -1, 1)))
    turns[f"lowerarm01.{side}"] = _about(axis / np.linalg.norm(axis), bend - already)
    grip = {"carry": 60, "hold": 70, "pull": 60, "push": 70, "ride": 70, "phone": 50, "text": 40, "run": 60}
    turns[f"finger3-1.{side}"] = _about(np.cross(fore, [0.0, 0.0, 1.0]), grip.get(pose.arms[number], 12))


def _x(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _y(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _z(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _about(axis, degrees):
    """Rotation about an axis (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
