"""Where on the body a vertex lies: coordinates that clothes are cut and printed by, the same for every body.

All follow from the base body at rest. `around` is the direction from the axis of the torso, arm or leg to the vertex,
`height` runs down the torso, and down each limb from its upper joint, in metres; `along` runs from 0 at a shoulder or
hip to 1 at the wrist or ankle; `limb` is 1 on arms, -1 on legs, 0 elsewhere, with transitions at the joints.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from keras_osnet.data.rendered.parts import BONES

LIMBS = {
    "arm": (("shoulder", "elbow", "hand"), ("upperarm01", "lowerarm01", "wrist", "finger3-1")),
    "leg": (("upper-leg", "knee", "ankle"), ("upperleg01", "lowerleg01", "foot")),
}


@dataclass(frozen=True)
class Surface:
    """Coordinates of every vertex of the parts."""

    rest: np.ndarray  # (V, 3) base position at rest
    around: np.ndarray  # (V, 2) unit vector: sine to the body's left, cosine to the front
    height: np.ndarray  # (V,)
    along: np.ndarray  # (V,)
    limb: np.ndarray  # (V,)


def surface_of(parts):
    """Computes the `Surface` of the parts."""
    rest = parts.vertices
    names = list(BONES)
    share = {
        limb: sum(
            np.where(parts.bones == names.index(f"{bone}.{side}"), parts.weights, 0).sum(1)
            for bone in bones
            for side in "LR"
        )
        for limb, (_, bones) in LIMBS.items()
    }
    limb = share["arm"] - share["leg"]
    limb[parts.members["skirt"]] = 0  # a tube around both legs
    left = rest[:, 0] >= 0
    height, along, out = rest[:, 1].copy(), np.zeros(len(rest)), rest.copy()
    out[:, 2] -= np.interp(rest[:, 1], (-0.8, 0.45, 0.62), (0.04, 0.055, 0.02))
    hip, ankle = parts.joint(rest, "l-upper-leg")[1], parts.joint(rest, "l-ankle")[1]
    for name, mask in (("arm", limb > 0), ("leg", limb < 0)):
        for letter, side in (("l", left), ("r", ~left)):
            which = mask & side
            axis = np.stack([parts.joint(rest, f"{letter}-{joint}") for joint in LIMBS[name][0]])
            part, nearest = along_polyline(rest[which], axis)
            along[which], out[which] = part, rest[which] - nearest
            if name == "arm":
                down = axis[0, 1] - part * np.linalg.norm(np.diff(axis, axis=0), axis=1).sum()
                blend = np.clip((limb[which] - 0.3) / 0.4, 0, 1)
                height[which] += blend * (down - height[which])
    skirt = parts.members["skirt"]
    along[skirt] = (hip - rest[skirt, 1]) / (hip - ankle)
    around = out[:, [0, 2]]
    around = around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-6)
    return Surface(rest, *(x.astype(np.float32) for x in (around, height, along, limb)))


def along_polyline(points, axis):
    """(position along a line of three points, 0 .. 1 and beyond, and the nearest point of the line)."""
    lengths = np.linalg.norm(np.diff(axis, axis=0), axis=1)
    best = np.full(len(points), np.inf)
    along, nearest = np.zeros(len(points)), np.zeros_like(points)
    for k, (start, end) in enumerate(pairwise(axis)):
        direction = (end - start) / lengths[k]
        raw = (points - start) @ direction
        # Open at both ends of the limb, closed at the joint between.
        low, high = (-np.inf if k == 0 else 0), (np.inf if k == len(lengths) - 1 else lengths[k])
        on = np.clip(raw, low, high)
        place = start + on[:, None] * direction
        distance = np.linalg.norm(points - place, axis=1)
        closer = distance < best
        best[closer], nearest[closer] = distance[closer], place[closer]
        along[closer] = (on[closer] + lengths[:k].sum()) / lengths.sum()
    return along, nearest
