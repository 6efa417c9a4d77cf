"""Scores of features and probabilities, computed with NumPy."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_osnet.metrics.attributes import (
        AttributeScores,
        attribute_image_scores,
        attribute_scores,
        attribute_table,
        choose_thresholds,
    )
    from keras_osnet.metrics.expansion import expand_queries
    from keras_osnet.metrics.match import MatchProbability, Reliability, reliability
    from keras_osnet.metrics.pairs import known_pairs
    from keras_osnet.metrics.ranking import RetrievalScores
    from keras_osnet.metrics.reranking import rerank
    from keras_osnet.metrics.retrieval import evaluate_distances, evaluate_retrieval
    from keras_osnet.metrics.significance import Comparison, Estimate, bootstrap, compare, query_scores
    from keras_osnet.metrics.verification import VerificationScores, verification_scores

__all__ = [
    "AttributeScores",
    "Comparison",
    "Estimate",
    "MatchProbability",
    "Reliability",
    "RetrievalScores",
    "VerificationScores",
    "attribute_image_scores",
    "attribute_scores",
    "attribute_table",
    "bootstrap",
    "choose_thresholds",
    "compare",
    "evaluate_distances",
    "evaluate_retrieval",
    "expand_queries",
    "known_pairs",
    "query_scores",
    "reliability",
    "rerank",
    "verification_scores",
]
# The modules of the names, imported on first use.
_HOMES = {
    "attributes": (
        "AttributeScores",
        "attribute_image_scores",
        "attribute_scores",
        "attribute_table",
        "choose_thresholds",
    ),
    "expansion": ("expand_queries",),
    "match": ("MatchProbability", "Reliability", "reliability"),
    "pairs": ("known_pairs",),
    "ranking": ("RetrievalScores",),
    "reranking": ("rerank",),
    "retrieval": ("evaluate_distances", "evaluate_retrieval"),
    "significance": ("Comparison", "Estimate", "bootstrap", "compare", "query_scores"),
    "verification": ("VerificationScores", "verification_scores"),
}


def __getattr__(name):
    for module, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"keras_osnet.metrics.{module}"), name)
            return value
    if "." not in name and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'keras_osnet.metrics' has no attribute {name!r}")
