"""A trained network on cameras that it has not seen, without labels."""

from keras_osnet.adaptation.cameras import CameraNormalizer, normalize_side

__all__ = ["CameraNormalizer", "normalize_side"]
