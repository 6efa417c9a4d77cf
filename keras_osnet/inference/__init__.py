"""A trained network at work: features and attributes of images, and its scores on a test side."""

from keras_osnet.inference.attributes import AttributeRecogniser
from keras_osnet.inference.features import FeatureExtractor, pictures_in

__all__ = ["AttributeRecogniser", "FeatureExtractor", "pictures_in"]
