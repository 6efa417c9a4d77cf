"""Pictures of what a network does: rankings, gates, activation maps, feature maps, scores and training."""

from keras_osnet.visual import figures
from keras_osnet.visual.feature_map import feature_map
from keras_osnet.visual.network import (
    GateClusters,
    activation_maps,
    cluster_gates,
    exponent_shares,
    gate_network,
    gate_vectors,
    overlay,
)
from keras_osnet.visual.ranking import (
    KINDS,
    HardTriplets,
    PairDistances,
    Ranking,
    hard_triplets,
    pair_distances,
    rank_gallery,
)

__all__ = [
    "KINDS",
    "GateClusters",
    "HardTriplets",
    "PairDistances",
    "Ranking",
    "activation_maps",
    "cluster_gates",
    "exponent_shares",
    "feature_map",
    "figures",
    "gate_network",
    "gate_vectors",
    "hard_triplets",
    "overlay",
    "pair_distances",
    "rank_gallery",
]
