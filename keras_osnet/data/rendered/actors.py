"""People in a scene: dresses, poses and positions their models."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.rendered import mesh, poses, wardrobe
from keras_osnet.data.rendered.parts import BONES
from keras_osnet.data.rendered.renderer import MOST_BONES, Figure

# Spheres along the body that hide the sky from what is near: bone, joint, joint towards which they lie and how far,
# radius in metres of a body of 1.7 m.
SPHERES = (
    ("head", "head", "head-2", 0.45, 0.11), ("spine01", "spine-1", "neck", 0.2, 0.16),
    ("spine03", "spine-3", "spine-1", 0.2, 0.15), ("root", "pelvis", "spine-3", 0.1, 0.16),
    *((f"{bone}.{side.upper()}", f"{side}-{start}", f"{side}-{end}", part, radius)
      for side in "lr"
      for bone, start, end, part, radius in (
          ("upperarm01", "shoulder", "elbow", 0.6, 0.05), ("lowerarm01", "elbow", "hand", 0.6, 0.045),
          ("upperleg01", "upper-leg", "knee", 0.35, 0.09), ("upperleg01", "upper-leg", "knee", 0.85, 0.07),
          ("lowerleg01", "knee", "ankle", 0.5, 0.06), ("foot", "ankle", "foot-1", 0.6, 0.06))),
)  # fmt: skip
OUTLINE = 24  # every so many vertices one for boxes


@dataclass(frozen=True)
class Model:
    """A dressed person, ready to be posed."""

    person: object
    body: object  # garments.Figure
    figure: Figure
    sole: float
    outline: np.ndarray  # vertex records from which boxes are computed
    arms: tuple
    legs: str | None


@dataclass(frozen=True)
class Actor:
    """A model, posed and placed."""

    model: Model
    matrices: np.ndarray  # (MOST_BONES, 4, 4)
    placed: np.ndarray  # (4, 4)

    def points(self):
        """World positions (n, 3) of the outline."""
        outline = self.model.outline
        place = np.concatenate([outline["position"], np.ones((len(outline), 1), np.float32)], 1)
        mixed = (self.matrices[outline["bones"]] * (outline["weights"] / np.float32(255))[..., None, None]).sum(1)
        return np.einsum("nij,nj->ni", mixed, place)[:, :3] @ self.placed[:3, :3].T + self.placed[:3, 3]

    def spheres(self):
        """Rows (16, 4): world position and radius of `SPHERES`."""
        parts, vertices, rows = self.model.body.parts, self.model.body.vertices, np.zeros((len(SPHERES), 4))
        for k, (bone, start, end, part, radius) in enumerate(SPHERES):
            a, b = parts.joint(vertices, start), parts.joint(vertices, end)
            local = self.matrices[list(BONES).index(bone)] @ [*(a + part * (b - a)), 1]
            rows[k] = [*(self.placed @ local)[:3], radius * self.model.body.scale]
        return rows

    def draw(self, program, slot=0):
        self.model.figure.draw(program, self.placed, slot)


def dressed(renderer, parts, surface, person):
    """The `Model` of a person."""
    body, sole, worn, carried = wardrobe.dress(parts, surface, person)
    layers = worn + carried
    records, triangles = mesh.merge([(number, piece) for number, (_, piece) in enumerate(layers)])
    arms, legs = [None, None], None
    for item in person.items:
        if item.arm:
            for side in (0, 1) if item.both_hands else (0 if item.side > 0 else 1,):
                arms[side] = item.arm
        legs = "ride" if item.kind == "ridden bicycle" else legs
    outline = records[records["layer"][:, 0] < len(worn)][::OUTLINE]
    figure = Figure(renderer, records, triangles, [paint for paint, _ in layers])
    return Model(person, body, figure, sole, outline, tuple(arms), legs)


def placed_actor(model, pose, place, heading):
    """Returns the `Actor` that stands at a position (x, z) and faces a heading (radians from z towards x)."""
    matrices = poses.bone_matrices(model.body.parts, model.body.vertices, pose)
    c, s = np.cos(heading), np.sin(heading)
    placed = np.array([[c, 0, s, place[0]], [0, 1, 0, model.sole], [-s, 0, c, place[1]], [0, 0, 0, 1.0]])
    padded = np.tile(np.eye(4), (MOST_BONES, 1, 1))  # what hangs on no bone stays with the ground
    padded[: len(matrices)] = matrices
    return Actor(model, padded, placed)
