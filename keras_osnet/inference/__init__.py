"""Inference: features and attributes of images, and scores on a test set."""

from keras_osnet.inference.attributes import AttributeRecogniser
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.predictor import Predictor

__all__ = ["AttributeRecogniser", "FeatureExtractor", "Predictor"]
