"""A file of known people: int8 features, their names, and which network made them.

The file is NumPy's .npz: a zip of arrays that `numpy.load` opens anywhere, without pickles. Its zip comment, the last
64 bytes, is the SHA-256 of all bytes before it. It is checked before anything is parsed, and finds every byte that was
changed, lost or added.
"""

import hashlib
import io
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from entries import LONGEST, UNKNOWN, checked_name, quantized, unit  # beside this file
from files import list_images, locked, replacing

FORMAT = 1
HEX = 64  # digits of a SHA-256
BLOCK = 4096  # features that are float32 at a time
LARGEST = 2**30  # bytes of a file


def sha256(content):
    """SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def named_images(folder, suffixes):
    """(name, path) of images, NAME.jpg in the folder and all in its folder NAME, and a list of what is no image.

    Raises:
        ValueError: for a name that no person may have.
    """
    images, others = list_images(folder, suffixes)
    found = [(path.stem, path) for path in images]
    for person in [path for path in others if path.is_dir()]:
        images, within = list_images(person, suffixes)
        found += [(person.name, path) for path in images]
        others += within
        if images or within:  # an empty folder is named too
            others.remove(person)
    named = []
    for name, path in sorted(found):
        try:
            named.append((checked_name(name), path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return named, others


class Gallery:
    """Features of known people, which are compared by cosine. A new gallery is empty until it is saved.

    Args:
        path: the .npz file.
        model: SHA-256 of the .tflite file that makes the features, in hexadecimal.
        network: name of the .tflite file, for messages.
        weights: SHA-256 of the weights that the file was made from, as it says itself, or "". Files of the same weights
            share a gallery: an int8 file's features are near those of the float32 file.
        size: "HEIGHTxWIDTH" of the network's images, or "" where it is unknown. Files of two sizes share no gallery.

    Attributes:
        names: (G,) names, sorted: a person may have several features.
        features: (G, D) int8.
        scales: (G,) float32, with which features have length 1.
    """

    UNKNOWN = UNKNOWN

    def __init__(self, path, model, network="", weights="", size=""):
        self.path, self.model, self.network, self.weights, self.size = Path(path), model, network, weights, size
        self.names, self.features, self.scales = np.empty(0, "U1"), np.empty((0, 0), np.int8), np.empty(0, np.float32)
        self._seal = b""  # of the file that was read

    @classmethod
    def load(cls, path, model, network="", weights="", size=""):
        """Reads a gallery.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if the file was changed or cut short, is no gallery, or was made by a file of other weights or
                of another size.
        """
        gallery = cls(path, model, network, weights)
        if not gallery.path.is_file():
            raise FileNotFoundError(f"There is no gallery {path}")
        if gallery.path.stat().st_size > LARGEST:
            raise ValueError(f"{path} is no gallery: it has more than {LARGEST:,} bytes")
        content = gallery.path.read_bytes()
        if sha256(memoryview(content)[:-HEX]).encode() != content[-HEX:]:
            raise ValueError(
                f"{path} is no gallery, or was changed or cut short: its SHA-256 does not fit. It was left as it is"
            )
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as container:
                if any(member.compress_type != zipfile.ZIP_STORED for member in container.infolist()):
                    raise ValueError("it is compressed")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                kept, made_by = int(arrays["format"]), str(arrays["model"])
                other = (str(arrays["network"]) if "network" in arrays else "") or "another file"
                shared = weights and "weights" in arrays and str(arrays["weights"]) == weights
                gallery.size = str(arrays["size"]) if "size" in arrays else ""
                gallery.names, gallery.features, gallery.scales = (
                    arrays[key] for key in ("names", "features", "scales")
                )
        except Exception as error:  # NumPy and zipfile raise nearly every kind of error
            raise ValueError(f"{path} is no gallery: {error}") from error
        if kept != FORMAT:
            raise ValueError(f"{path} must be of format {FORMAT}. It is of {kept}")
        if shared and size and gallery.size not in ("", size):
            raise ValueError(
                f"{path} holds features of images of {gallery.size[:LONGEST]}, which cannot be compared with those of "
                f"{network or 'this file'}, of images of {size}. It was left as it is"
            )
        if shared:
            gallery.model, gallery.network = made_by, other
        elif made_by != model:
            raise ValueError(
                f"{path} holds features of another model: {other[:LONGEST]} (SHA-256 {made_by[:12]}...), which cannot "
                f"be compared with those of {network or 'this file'} (SHA-256 {model[:12]}...). It was left as it is"
            )
        gallery._seal = content[-HEX:]
        gallery.check()
        return gallery

    @classmethod
    @contextmanager
    def changing(cls, path, model, network="", weights="", size="", *, new=False):
        """Yields a gallery to change, and saves it at the end. No other program can change it meanwhile.

        Args:
            path, model, network, weights, size: of the gallery.
            new: whether to begin an empty one if there is none.

        Raises:
            OSError: if the file cannot be written; then it is as it was.
            ValueError: as `load`, or if the file would be larger than `load` reads. FileNotFoundError: as `load`.
        """
        with locked(path):
            gallery = (cls if new and not Path(path).exists() else cls.load)(path, model, network, weights, size)
            yield gallery
            gallery._write()

    def check(self):
        """Raises a ValueError unless the arrays fit each other, names are in order and features are of length 1."""
        shapes = self.names.shape, self.features.shape[:1], self.scales.shape
        kinds = self.names.dtype.kind, self.features.dtype, self.scales.dtype
        if len(set(shapes)) != 1 or self.features.ndim != 2 or kinds != ("U", np.int8, np.float32):
            raise ValueError(f"{self.path} must hold names (G,), int8 features (G, D) and float32 scales (G,)")
        if (self.names[1:] < self.names[:-1]).any():
            raise ValueError(f"{self.path} must hold its names in order")
        for name in map(str, self.people):
            try:
                kept = checked_name(name)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from error
            if kept != name:
                raise ValueError(f"{self.path} must hold names in Unicode's composed form. Received: {name!r}")
        if len(set(self._keys())) < len(self.names):
            raise ValueError(f"{self.path} must hold each feature of a person once")
        for rows in self._blocks():
            block = self.features[rows].astype(np.float32)
            squares = np.einsum("gd,gd->g", block, block) * self.scales[rows] ** 2
            if not (np.abs(squares - 1) < 1e-5).all():
                raise ValueError(f"{self.path} must hold features of length 1")

    def save(self):
        """Writes the file in one step. `changing` is the way for several programs.

        Raises:
            ValueError: if another program has written it since it was read, or it would be larger than `load` reads.
            OSError: if it cannot be written; then it is as it was.
        """
        with locked(self.path):
            if self._seal != (self.path.read_bytes()[-HEX:] if self.path.exists() else b""):
                raise ValueError(
                    f"{self.path} was written by another program meanwhile. Nothing was changed: try again"
                )
            self._write()

    def _write(self):
        arrays = {"format": FORMAT, "model": self.model, "network": self.network, "weights": self.weights}
        arrays |= {"size": self.size} if self.size else {}
        arrays |= {"names": self.names, "features": self.features, "scales": self.scales}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        with zipfile.ZipFile(buffer, "a") as container:
            container.comment = b"0" * HEX
        body = buffer.getvalue()[:-HEX]
        if len(body) + HEX > LARGEST:
            raise ValueError(
                f"{self.path} must not have more than {LARGEST:,} bytes: nobody could read it. It was left as it is"
            )
        seal = sha256(body).encode()
        with replacing(self.path) as file:
            file.write(body)
            file.write(seal)
        self._seal = seal

    def append(self, names, features):
        """Adds features (N, D) of people called `names`, and returns how many. Features that are there are left out.

        Raises:
            ValueError: for a name that is not allowed, features that are not (N, D), not finite or all zero, or a
                feature that is there under another name: one image of two people.
        """
        names = [checked_name(name) for name in names]
        rounded, scales = quantized(features)
        if len(names) != len(rounded) or (len(self.names) and rounded.shape[1] != self.features.shape[1]):
            raise ValueError(
                f"`features` must be ({len(names)}, {self.features.shape[1] or 'D'}). "
                f"Received: features.shape={rounded.shape}"
            )
        people, new = {}, []  # people: names by feature
        for name, row in self._keys():
            people.setdefault(row, set()).add(name)
        for i, (name, row) in enumerate(zip(names, (row.tobytes() for row in rounded), strict=True)):
            if row not in people:
                people[row] = {name}
                new.append(i)
            elif name not in people[row]:
                others = ", ".join(sorted(people[row]))
                raise ValueError(f"`features` must be of one person each. Received: one image of {name} and {others}")
        if new:
            everyone = np.concatenate([self.names, np.array(names)[new]])
            order = np.argsort(everyone, kind="stable")
            self.names = everyone[order]
            self.features = np.concatenate([self.features.reshape(-1, rounded.shape[1]), rounded[new]])[order]
            self.scales = np.concatenate([self.scales, scales[new]])[order]
        return len(new)

    def remove(self, name):
        """Removes all features of a person, and returns how many.

        Raises:
            ValueError: if nobody has this name.
        """
        away = self.names == checked_name(name)
        if not away.any():
            raise ValueError(f"{self.path} holds no one called {name!r}")
        self.names, self.features, self.scales = self.names[~away], self.features[~away], self.scales[~away]
        return int(away.sum())

    def __str__(self):
        return f"{self.path}: {len(self.names)} features of {len(self.people)} people"

    @property
    def people(self):
        """(P,) names, each once, in order."""
        return np.unique(self.names)

    def comparable(self, features):
        """Returns features (N, D) with length 1.

        Raises:
            ValueError: if the gallery is empty, or they cannot be compared with its features.
        """
        features = unit(features)
        if not len(self.names):
            raise ValueError(f"{self.path} must hold people. It is empty")
        if features.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"{self.path} holds {self.features.shape} features. They cannot be compared with {features.shape}"
            )
        return features

    def similarities(self, features):
        """(N, P) cosines of features (N, D) and people, each by the most similar feature of the person."""
        features = self.comparable(features)
        found = np.empty((len(features), len(self.names)), np.float32)
        for rows in self._blocks():
            found[:, rows] = features @ self.features[rows].T.astype(np.float32) * self.scales[rows]
        return np.maximum.reduceat(found, np.unique(self.names, return_index=True)[1], axis=1)

    def means(self):
        """(P, D) mean features of the people, of length 1."""
        people, owner = np.unique(self.names, return_inverse=True)
        sums = np.zeros((len(people), self.features.shape[1]), np.float32)
        for rows in self._blocks():
            np.add.at(sums, owner[rows], self.features[rows] * self.scales[rows, None])
        return unit(sums)

    def search(self, feature, k):
        """The k people most similar to a feature (D,): list of (name, cosine), the most similar first."""
        if k < 1:
            raise ValueError(f"`k` must be 1 or more. Received: k={k}")
        found = self.similarities(np.asarray(feature)[None])[0]
        order = np.argsort(-found, kind="stable")[:k]
        return [(str(self.people[i]), float(found[i])) for i in order]

    def _keys(self):
        """Name and bytes of each feature."""
        return [(str(name), row.tobytes()) for name, row in zip(self.names, self.features, strict=True)]

    def _blocks(self):
        return [slice(start, start + BLOCK) for start in range(0, len(self.names), BLOCK)]
