"""Rankings and scores of the report, from one pass over the pairs of query and gallery images."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics import RetrievalScores, VerificationScores
from keras_osnet.metrics import blocks as work
from keras_osnet.metrics.arguments import encode_labels
from keras_osnet.metrics.pairs import IMPOSTOR, pair_blocks
from keras_osnet.metrics.ranking import score_blocks
from keras_osnet.metrics.search import DISTANCES
from keras_osnet.metrics.verification import scores_of_counts
from keras_osnet.visual.ranking import (
    DistanceCollector,
    HardTriplets,
    PairDistances,
    Ranking,
    RankingCollector,
    TripletCollector,
    farthest,
)

FAR = (1e-4, 1e-3, 1e-2, 1e-1)
BINS = 100
MAX_RANK = 50
# False accept rate of the operating point: one impostor in a thousand is accepted.
OPERATING = 1e-3


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rankings and scores of a test set. A score is None if it needs matches or impostors that do not exist."""

    ranking: Ranking
    triplets: HardTriplets
    pairs: PairDistances
    retrieval: RetrievalScores | None
    verification: VerificationScores | None

    @property
    def threshold(self):
        """The distance threshold at the false accept rate `OPERATING`, or None."""
        if self.verification is None:
            return None
        threshold = self.verification.threshold[FAR.index(OPERATING)]
        return float(threshold) if np.isfinite(threshold) else None


def compare(sides, *, metric, protocol, top, triplets):
    """Compares every query with every gallery image, once.

    Args:
        sides: query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, as for
            `keras_osnet.metrics.evaluate_retrieval`.
        metric, protocol: likewise.
        top: number of gallery images per query, as for `rank_gallery`.
        triplets: number of triplets, as for `hard_triplets`.

    Returns:
        `Comparison`.

    Raises:
        ValueError: if an argument is not as described.
    """
    pairs, (query, *query_labels, gallery, gallery_ids, gallery_cameras) = pair_blocks(*sides, metric=metric), sides
    ends = ("query_features", len(query)), ("gallery_features", len(gallery))
    labels = encode_labels(*query_labels, gallery_ids, gallery_cameras, *ends)
    ranking, hardest = RankingCollector(top), TripletCollector(triplets)
    distances = DistanceCollector(BINS, farthest(query, gallery, metric))
    verification = VerificationCollector(_genuine_distances(query, gallery, labels, metric))

    def blocks(valid):
        """Yields the distances of valid queries, after all collectors have added the block."""
        with ThreadPoolExecutor(work.WORKERS) as pool:
            for block in pairs:
                added = [pool.submit(each.add, block) for each in (ranking, hardest, distances, verification)]
                for future in added:
                    future.result()
                chosen = slice(*np.searchsorted(valid, (block.rows.start, block.rows.stop)))
                yield chosen, block.distances[valid[chosen] - block.rows.start]

    retrieval = None
    if len(verification.steps):
        retrieval = score_blocks(blocks, lambda rows: None, labels, protocol=protocol, max_rank=MAX_RANK)
    else:
        list(blocks(np.empty(0, np.int64)))
    return Comparison(ranking.result(), hardest.result(), distances.result(), retrieval, verification.result())


class VerificationCollector:
    """`VerificationScores` from the blocks of `pair_blocks`.

    Args:
        genuine: distances of all pairs of the same identity under different cameras.
    """

    def __init__(self, genuine):
        self.steps, self.counts = np.unique(genuine, return_counts=True)
        self.nearer, self.through, self.impostors = *np.zeros((2, len(self.steps)), np.int64), 0

    def add(self, block):
        impostors = np.sort(block.distances[block.kinds == IMPOSTOR])
        self.nearer += impostors.searchsorted(self.steps, "left")
        self.through += impostors.searchsorted(self.steps, "right")
        self.impostors += len(impostors)

    def result(self):
        if not (len(self.steps) and self.impostors):
            return None
        return scores_of_counts(np.array(FAR), self.steps, self.counts, self.nearer, self.through, self.impostors)


def _genuine_distances(query, gallery, labels, metric):
    query, gallery = (np.asarray(features, np.float64) for features in (query, gallery))
    found = [np.empty(0)]
    for feature, identity, camera in zip(query, labels.query_ids, labels.query_cameras, strict=True):
        matches = gallery[(labels.gallery_ids == identity) & (labels.gallery_cameras != camera)]
        found.append(DISTANCES[metric](feature[None, None], matches[None])[0])
    return np.concatenate(found)
