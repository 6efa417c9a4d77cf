"""The mean feature of each camera, as `keras_osnet.adaptation.CameraNormalizer.save` writes it, without TensorFlow."""

import json
from unicodedata import normalize

import numpy as np

FORM, BYTES = 1, 2**28


class CameraMeans:
    """Removes from a feature what all features of its camera have in common.

    u = f / |f|;  y = (u - m_c) / |u - m_c|, with m_c the mean of camera c, drawn towards the mean m of all cameras. An
    unknown camera has m itself.

    Args:
        path: the JSON file.

    Attributes:
        content: bytes of the file.

    Raises:
        ValueError: if the file is another one.
    """

    def __init__(self, path):
        try:
            if path.stat().st_size > BYTES:
                raise ValueError(f"{path.stat().st_size:,} bytes")
            self.content = path.read_bytes()
            found = json.loads(self.content)
            if found["form"] != FORM:
                raise ValueError(f"form {found['form']}")
            names, counts, sums = zip(*found["cameras"], strict=True)
            counts, sums = np.array(counts, np.float64)[:, None], np.array(sums, np.float64)
            inside = (counts >= 1) & (np.abs(sums) <= (1 + 1e-6) * counts)  # they are sums of unit vectors
            if sums.ndim != 2 or not sums.size or not inside.all() or len(set(names)) < len(names):
                raise ValueError("a camera twice, or sums that are not those of unit vectors")
            if not 0 <= found["shrinkage"] < np.inf:
                raise ValueError(f"shrinkage {found['shrinkage']}")
            self.common = (sums / counts).mean(axis=0)
            means = (sums + found["shrinkage"] * self.common) / (counts + found["shrinkage"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path} must be written by CameraNormalizer.save. Received: {error}") from error
        self.means = {normalize("NFC", str(name)): mean for name, mean in zip(names, means, strict=True)}

    def has(self, camera):
        """Whether a camera, by its name in any Unicode form, has a mean of its own."""
        return normalize("NFC", camera) in self.means

    def remove(self, features, camera):
        """Features (..., D) of a camera, by its name or None, as unit vectors without its mean."""
        if features.shape[-1] != len(self.common):
            raise ValueError(
                f"The camera means must be of features of {features.shape[-1]}. Received: {len(self.common)}"
            )
        known = camera is not None and self.has(camera)
        mean = self.means[normalize("NFC", camera)] if known else self.common
        features = features / np.linalg.norm(features, axis=-1, keepdims=True) - mean
        return np.float32(features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12))
