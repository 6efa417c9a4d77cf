"""What each section of the report shows, as plain values. Pictures are named by their row: queries, then gallery."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.data.records import Record
from keras_osnet.layers import Stage
from keras_osnet.layers.fusion import GatedSum
from keras_osnet.models import VARIANTS
from keras_osnet.models.osnet import OSNet
from keras_osnet.preprocessing import preprocess_input
from keras_osnet.report.thumbnails import read_picture
from keras_osnet.visual.feature_map import feature_map
from keras_osnet.visual.network import activation_maps, cluster_gates, exponent_shares, gate_vectors, overlay
from keras_osnet.visual.ranking import HardTriplets, Ranking

# How many of each are in the page, so that it stays small enough to open however large the dataset is.
QUERIES, TOP, TRIPLETS, MAPS_EACH, GATED, MAPPED, ATTRIBUTED = 600, 10, 12, 3, 128, 2000, 12
SEED = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """A test side: pictures, their features, and who is on them.

    Attributes:
        records: queries, then gallery.
        features: (records, D).
        identities, cameras: (records,) integers.
        queries: how many of the records are queries.
        metric: "euclidean" or "cosine".
    """

    records: tuple[Record, ...]
    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    queries: int
    metric: str

    @property
    def arguments(self):
        """What the functions of ranking and of scores take: features, identities and cameras of both sides."""
        arrays, n = (self.features, self.identities, self.cameras), self.queries
        return (*(array[:n] for array in arrays), *(array[n:] for array in arrays))

    @property
    def matched(self):
        """Whether any query has a match that the camera rule leaves, and whether any has an impostor."""
        _, ids, cameras, _, gallery_ids, gallery_cameras = self.arguments
        pairs = [(i == gallery_ids, c != gallery_cameras) for i, c in zip(ids, cameras, strict=True)]
        return any((same & other).any() for same, other in pairs), any((~same).any() for same, _ in pairs)


def ranked(ranking, subject, limit=QUERIES):
    """The queries, the worst first: [[row, AP or None, rank of the first match, [[row, kind, distance], ...]], ...].

    Of more than `limit` the worst half of it, and as many again spread evenly over the others.
    """
    order = np.argsort(ranking.average_precision, kind="stable")  # NaN, no match left, comes last
    if len(order) > limit:
        worst, others = np.split(order, [limit // 2])
        order = np.concatenate([worst, others[_spread(len(others), limit - len(worst))]])
    precision = ranking.average_precision
    return [
        [
            int(q),
            None if np.isnan(precision[q]) else round(float(precision[q]), 4),
            int(ranking.first_match[q]),
            [
                [subject.queries + int(i), int(kind), float(f"{distance:.4g}")]
                for i, kind, distance in zip(ranking.indices[q], ranking.kinds[q], ranking.distances[q], strict=True)
            ],
        ]
        for q in order
    ]


def middle_and_ends(ranking, each=MAPS_EACH):
    """Some queries with a match: {"hardest": rows, "middling": rows, "easiest": rows}, without repeats."""
    order = np.argsort(ranking.average_precision, kind="stable")
    order = order[: int((~np.isnan(ranking.average_precision)).sum())]
    if not len(order):  # no scores to choose by
        return {"some": np.arange(len(ranking.indices))[: 3 * each]}
    each = min(each, -(-len(order) // 3))
    start = max((len(order) - each) // 2, each)
    groups = {"hardest": order[:each], "middling": order[start : start + each], "easiest": order[::-1][:each]}
    seen = set()
    for name, rows in groups.items():
        groups[name] = np.array([row for row in rows if row not in seen], int)
        seen |= set(rows.tolist())
    return groups


def activations(networks, subject, groups, layer):
    """Pictures with heat over them: [(group, row, [(height, width, 3) uint8 per network]), ...]; none for lost files.

    Args:
        networks: one, or two to compare.
        subject: `Subject`.
        groups: {name: rows}.
        layer: name of the layer whose maps are shown.
    """
    entries = [(name, int(row)) for name, rows in groups.items() for row in rows]
    heated = {}
    for network in networks:
        rows, pictures = pictures_of([row for _, row in entries], subject, network)
        if rows:
            maps = activation_maps(network, preprocess_input(pictures), layer=layer)
            for row, picture, activation in zip(rows, pictures, maps, strict=True):
                heated.setdefault(row, []).append((picture, activation, overlay(picture, activation)))
    return [(name, row, heated[row]) for name, row in entries if row in heated]


def gates(network, subject, block):
    """The gates of some queries: their clusters at a block, and what each block prefers.

    Args:
        network: any; only OSNets have gates.
        subject: `Subject`.
        block: one of `gated_blocks`; None for the last.

    Returns:
        dict: block, clusters (`GateClusters`), rows (of the pictures that `clusters` counts), blocks ({name: (T,)
        shares}), exponents (T texts), of (number of pictures). Or a text that says why there is nothing to show.
    """
    names = gated_blocks(network)
    if not names:
        return f"The streams of {network.name} are not weighed by gates that depend on the picture."
    rows, pictures = pictures_of(_spread(subject.queries, GATED), subject, network)
    if not rows:
        return "None of the query pictures could be opened."
    vectors, block = gate_vectors(network, preprocess_input(pictures)), block or names[-1]
    found = cluster_gates(vectors[block], clusters=min(4, len(rows)), seed=SEED)
    shares = {name: exponent_shares(values).mean(axis=0) for name, values in vectors.items()}
    streams = vectors[block].shape[1]
    return {"block": block, "clusters": found, "rows": np.array(rows), "blocks": shares, "of": len(rows),
            "exponents": exponents(network, streams)}  # fmt: skip


def gated_blocks(network):
    """Names of the blocks whose gates depend on the picture, as `gate_vectors` has them."""
    return [
        f"{stage.name}_{number}"
        for stage in network.layers
        if isinstance(stage, Stage)
        for number, block in enumerate(stage.blocks, 1)
        if isinstance(block.fusion, GatedSum)
    ]


def exponents(network, streams):
    """What to call the streams of a block: by their exponent and what they see, where this tells them apart."""
    known = VARIANTS[network.variant].exponents if isinstance(network, OSNet) else range(1, streams + 1)
    names = [f"t = {t} ({2 * t + 1} × {2 * t + 1})" for t in known]
    return names if len(set(names)) == streams else [f"stream {s}, t = {t}" for s, t in enumerate(known, 1)]


def mapped(subject, limit=MAPPED):
    """Rows and (rows, 2) points of a map of the features; of more than `limit` pictures whole people, drawn at random.

    One person's pictures are what a map is about: of single pictures, drawn from all, hardly two would belong together.
    """
    rows = np.arange(len(subject.records))
    if len(rows) > limit:
        generator, chosen = np.random.default_rng(SEED), []
        asked = np.unique(subject.identities[: subject.queries])
        others = np.flatnonzero(~np.isin(subject.identities, asked))
        people = [np.flatnonzero(subject.identities == identity) for identity in generator.permutation(asked)]
        for own in (*people, *generator.permutation(others)[:, None]):
            if len(chosen) + len(own) > limit:
                own = own[:limit] if not chosen else own[:0]
            chosen.extend(own.tolist())
        rows = np.sort(np.array(chosen))
    if len(rows) < 2:
        return rows[:0], np.zeros((0, 2))
    features = subject.features[rows]
    if subject.metric == "cosine":
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return rows, feature_map(features, seed=SEED)


def recognised(attributes):
    """Attributes of some queries: [(row, [(name, probability, true, right), ...]), ...], as in Figure 7.

    Of each picture those that are true, and those predicted at .5 or more though they are not.

    Args:
        attributes: names (A), probabilities (queries, A) and labels (queries, A).
    """
    names, probabilities, labels = attributes
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    return [
        (
            int(row),
            [
                (name, float(p), bool(true), (p >= 0.5) == bool(true))
                for name, p, true in zip(names, probabilities[row], labels[row], strict=True)
                if true or p >= 0.5
            ],
        )
        for row in _spread(len(probabilities), ATTRIBUTED)
    ]


def pictures_of(rows, subject, network):
    """Of these rows those whose pictures can be read, and the pictures at the network's size: (N, H, W, 3) uint8."""
    size = tuple(network.input_shape[1:3])
    read = [(int(row), read_picture(subject.records[row].path, size)) for row in rows]
    there = [(row, picture) for row, picture in read if picture is not None]
    return [row for row, _ in there], np.array([picture for _, picture in there])


def _spread(count, limit):
    """At most `limit` of 0 .. count - 1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))


@dataclass(frozen=True, eq=False)
class Panels:
    """What the page shows, section by section.

    Attributes:
        ranking, ranked: `Ranking`, and what `ranked` gives of it.
        triplets: `HardTriplets`, or None where there are none.
        activations: as `activations` gives them.
        gates: as `gates` gives them, or a text that says why there are none.
        mapped: rows and points, as `mapped` gives them.
        attributes: as `recognised` gives them, or a text that says why there are none.
    """

    ranking: Ranking
    ranked: list
    triplets: HardTriplets | None
    activations: list
    gates: dict | str
    mapped: tuple
    attributes: list | str

    def rows(self, queries):
        """Rows of all pictures that are shown."""
        rows = {int(row) for row in self.mapped[0]} | {row for _, row, _ in self.activations}
        for query, _, _, hits in self.ranked:
            rows |= {query, *(hit for hit, _, _ in hits)}
        if self.triplets:
            rows |= {*self.triplets.query.tolist(), *(self.triplets.match + queries).tolist()}
            rows |= set((self.triplets.impostor + queries).tolist())
        if isinstance(self.gates, dict):
            nearest = self.gates["clusters"].nearest
            rows |= set(self.gates["rows"][nearest[nearest >= 0]].tolist())
        if not isinstance(self.attributes, str):
            rows |= {row for row, _ in self.attributes}
        return sorted(rows)
