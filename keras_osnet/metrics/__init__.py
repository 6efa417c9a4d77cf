"""Scores, NumPy in and numbers out."""

from keras_osnet.metrics.attributes import AttributeScores, attribute_scores
from keras_osnet.metrics.reranking import rerank
from keras_osnet.metrics.retrieval import RetrievalScores, evaluate_retrieval

__all__ = ["AttributeScores", "RetrievalScores", "attribute_scores", "evaluate_retrieval", "rerank"]
