"""Scores of features and probabilities, computed with NumPy."""

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
