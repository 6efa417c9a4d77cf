"""A trained network on cameras that it has not seen, without labels."""

from keras_osnet.adaptation.cameras import CameraNormalizer

__all__ = ["CameraNormalizer"]
