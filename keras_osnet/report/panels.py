"""Content of the sections of the report, as plain values. An image is given by its row: queries, then gallery."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_osnet.data.records import Record
from keras_osnet.inference.activations import BATCH, compute_inside, gated_blocks, normalise_maps
from keras_osnet.preprocessing import preprocess_input, preprocessing_of
from keras_osnet.report.thumbnails import read_image
from keras_osnet.visual.feature_map import feature_map
from keras_osnet.visual.gates import GateClusters, cluster_gates, exponent_fractions
from keras_osnet.visual.ranking import HardTriplets, Ranking

# Largest numbers of items on the page, so that it is small for large datasets too.
QUERIES, TOP, TRIPLETS, MAPS_EACH, MAPPED, ATTRIBUTED = 600, 10, 12, 3, 2000, 12
GATED = BATCH - 3 * MAPS_EACH  # one batch with the others
SEED = 0


@dataclass(frozen=True, eq=False)
class TestSet:
    """Images with their features and labels.

    Attributes:
        records: queries, then gallery.
        features: (records, D).
        identities, cameras: (records,) integers.
        queries: number of queries.
        metric: "euclidean" or "cosine".
    """

    records: tuple[Record, ...]
    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    queries: int
    metric: str

    @property
    def sides(self):
        """Features, identities and cameras of the queries, then of the gallery: the arguments of the metrics."""
        arrays, n = (self.features, self.identities, self.cameras), self.queries
        return (*(array[:n] for array in arrays), *(array[n:] for array in arrays))

    @cached_property
    def distractors(self):
        """(records,) whether an image shows a distractor: identity 0, unless a query has it, as in VIPeR."""
        zero = np.array([record.identity == 0 for record in self.records])
        return zero & (not zero[: self.queries].any())

    @property
    def top(self):
        return min(TOP, len(self.records) - self.queries)


@dataclass(frozen=True, eq=False)
class Gates:
    """Gates of some queries.

    Attributes:
        block: name of the block whose gates are clustered.
        clusters: `GateClusters` of the images `rows`.
        rows: (N,) rows of the images.
        blocks: dict of block to (T,) fractions of channels that prefer each stream.
        exponents: t of each of the T streams of a block.
    """

    block: str
    clusters: GateClusters
    rows: np.ndarray
    blocks: dict
    exponents: tuple


@dataclass(frozen=True, eq=False)
class Panels:
    """Content of the page.

    Attributes:
        ranking: `Ranking`.
        listed: queries on the page, the result of the function `listed`.
        triplets: `HardTriplets`.
        activations: [(group, row, image, maps), ...]: (h, w, 3) uint8 and a map per network.
        gates: `Gates`, or a text with the reason why there are none.
        attributes: result of `recognised`, or a text with the reason why there are none.
    """

    ranking: Ranking
    listed: list
    triplets: HardTriplets
    activations: list
    gates: Gates | str
    attributes: list | str

    def rows(self, queries):
        """Returns the rows of all images of these panels."""
        found = [[row for _, row, *_ in self.activations], self.triplets.query]
        found += [self.triplets.match + queries, self.triplets.impostor + queries]
        found += [[query, *(hit for hit, _, _ in hits)] for query, _, _, hits in self.listed]
        if isinstance(self.gates, Gates):
            found.append(self.gates.rows[self.gates.clusters.nearest[self.gates.clusters.nearest >= 0]])
        if not isinstance(self.attributes, str):
            found.append([row for row, _ in self.attributes])
        return np.unique(np.concatenate(found).astype(int)).tolist()


def listed(ranking, queries, limit=QUERIES):
    """Returns the queries, worst first: [[row, AP or None, rank of first match, [[row, kind, distance], ...]], ...].

    If there are more than `limit`, half of these are the worst ones, and half are spread evenly over the others.
    """
    order, precision = _worst_first(ranking), ranking.average_precision
    if len(order) > limit:
        worst, others = np.split(order, [limit // 2])
        order = np.concatenate([worst, others[_spread(len(others), limit - len(worst))]])
    return [
        [
            int(q),
            None if np.isnan(precision[q]) else round(float(precision[q]), 4),
            int(ranking.first_match[q]),
            [
                [queries + int(i), int(kind), float(f"{distance:.4g}")]
                for i, kind, distance in zip(ranking.indices[q], ranking.kinds[q], ranking.distances[q], strict=True)
            ],
        ]
        for q in order
    ]


def middle_and_ends(ranking, each=MAPS_EACH):
    """Returns some queries with a match: {"hardest": rows, "middle": rows, "easiest": rows}, without repeats."""
    order = _worst_first(ranking)
    order = order[: int((~np.isnan(ranking.average_precision)).sum())]
    if not len(order):  # no scores
        return {"some": np.arange(len(ranking.indices))[: 3 * each]}
    each = min(each, -(-len(order) // 3))
    start = max((len(order) - each) // 2, each)
    groups = {"hardest": order[:each], "middle": order[start : start + each], "easiest": order[::-1][:each]}
    seen = set()
    for name, rows in groups.items():
        groups[name] = np.array([row for row in rows if row not in seen], int)
        seen |= set(rows.tolist())
    return groups


def inside(networks, tests, groups, *, name, layer, block):
    """Computes activation maps and gates in one pass of each network. Images that cannot be read are left out.

    Args:
        networks: one network, or two to compare. The gates are those of the first.
        tests: `TestSet`.
        groups: dict of name to rows of the images with activation maps.
        name: name of the first network.
        layer: name of the layer of the maps.
        block: name of the block whose gates are clustered, one of `gated_blocks`. None: the last.

    Returns:
        `activations` and `gates` of `Panels`.
    """
    entries, blocks = [(group, int(row)) for group, rows in groups.items() for row in rows], gated_blocks(networks[0])
    looked, gated = {row for _, row in entries}, set(_spread(tests.queries, GATED).tolist()) if blocks else set()
    maps, gates = [], f"{name} has no gates that depend on the image."
    for network in networks:
        first = bool(blocks) and not maps
        rows, images = images_of(looked | gated if first else looked, tests, network)
        if not rows:
            return [], "None of the query images can be read."
        activations, vectors = compute_inside(
            network, preprocess_input(images, preprocessing_of(network)), layer=layer, gates=first
        )
        maps.append(dict(zip(rows, zip(images, normalise_maps(activations), strict=True), strict=True)))
        if first:
            kept = [place for place, row in enumerate(rows) if row in gated]
            vectors = {each: values[kept] for each, values in vectors.items()}
            gates = "None of the query images whose gates are clustered can be read."
            if kept:
                gates = _gates(vectors, np.array(rows)[kept], blocks, block or list(blocks)[-1])
    shown = [(group, row, maps[0][row][0], [each[row][1] for each in maps]) for group, row in entries if row in maps[0]]
    return shown, gates


def _gates(vectors, rows, blocks, block):
    return Gates(
        block,
        cluster_gates(vectors[block], clusters=min(4, len(rows)), seed=SEED),
        rows,
        {name: exponent_fractions(values).mean(axis=0) for name, values in vectors.items()},
        blocks[block],
    )


def exponent_names(exponents):
    """Returns names of the streams of a block: exponent and receptive field, with the number if they are not unique."""
    names = [f"t = {t} ({2 * t + 1} × {2 * t + 1})" for t in exponents]
    return names if len(set(names)) == len(names) else [f"stream {s}, t = {t}" for s, t in enumerate(exponents, 1)]


def mapped(tests, limit=MAPPED):
    """Returns rows and (rows, 2) points of a map of the features.

    If there are more than `limit` images, the map shows all images of random people. Among random images, hardly two
    would show the same person.
    """
    rows = np.arange(len(tests.records))
    if len(rows) > limit:
        generator, chosen = np.random.default_rng(SEED), []
        asked = np.unique(tests.identities[: tests.queries])
        others = np.flatnonzero(~np.isin(tests.identities, asked))
        people = [np.flatnonzero(tests.identities == identity) for identity in generator.permutation(asked)]
        for own in (*people, *generator.permutation(others)[:, None]):
            if len(chosen) + len(own) > limit:
                own = own[:limit] if not chosen else own[:0]
            chosen.extend(own.tolist())
        rows = np.sort(np.array(chosen))
    if len(rows) < 2:
        return rows[:0], np.zeros((0, 2))
    features = tests.features[rows]
    if tests.metric == "cosine":
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return rows, feature_map(features, seed=SEED)


def recognised(attributes):
    """Returns attributes of some queries: [(row, [(name, probability, whether correct), ...]), ...], as in Figure 7.

    They are the labelled attributes, and the wrongly predicted ones, whose probability is at least .5.

    Args:
        attributes: names (A), probabilities (queries, A) and labels (queries, A).
    """
    names, probabilities, labels = attributes[0], np.asarray(attributes[1]), np.asarray(attributes[2]).astype(bool)
    predicted = probabilities >= 0.5
    return [
        (row, [(names[j], float(probabilities[row, j]), bool(predicted[row, j] == labels[row, j]))
               for j in np.flatnonzero(predicted[row] | labels[row])])
        for row in _spread(len(probabilities), ATTRIBUTED).tolist()
    ]  # fmt: skip


def images_of(rows, tests, network):
    """Returns the rows whose images can be read, and the images at the network's size: (N, H, W, 3) uint8."""
    size = tuple(network.input_shape[1:3])
    read = {row: read_image(tests.records[row].path, size) for row in sorted(rows)}
    readable = {row: image for row, image in read.items() if image is not None}
    return list(readable), np.array(list(readable.values()))


def _worst_first(ranking):
    return np.argsort(ranking.average_precision, kind="stable")  # NaN, for no match, comes last


def _spread(count, limit):
    """Returns at most `limit` evenly spaced integers of 0 .. count - 1."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))
