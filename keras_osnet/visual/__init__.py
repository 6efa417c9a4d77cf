"""Figures of rankings, gates, activation maps, feature maps, scores and training."""

from keras_osnet.visual import figures
from keras_osnet.visual.feature_map import feature_map
from keras_osnet.visual.gates import GateClusters, cluster_gates, exponent_fractions, overlay
from keras_osnet.visual.ranking import (
    HardTriplets,
    PairDistances,
    Ranking,
    hard_triplets,
    pair_distances,
    rank_gallery,
)

__all__ = [
    "GateClusters",
    "HardTriplets",
    "PairDistances",
    "Ranking",
    "cluster_gates",
    "exponent_fractions",
    "feature_map",
    "figures",
    "hard_triplets",
    "overlay",
    "pair_distances",
    "rank_gallery",
]
