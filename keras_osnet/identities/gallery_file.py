"""The gallery file of `tflite/run.py`: a NumPy .npz of names and int8 features, with its SHA-256 as the zip comment.

`tflite/gallery.py` defines it, and reads it without this package.
"""

import hashlib
import io
import os
import zipfile

import numpy as np

from keras_osnet.files import read_bounded, reading, refuse_foreign, write_atomically

FORMAT = 1
HEX = 64  # digits of a SHA-256
LARGEST = 2**30  # bytes of a file


def described(network, fingerprint, dimension=None, size=None):
    """A network in a message. `size` is that of its images, height x width."""
    more = f", {dimension} features" * bool(dimension) + f", images of {size}" * bool(size)
    return f"{network or 'another file'} (SHA-256 {fingerprint[:12]}...{more})"


def write(path, blocks, *, network, fingerprint, size):
    """Writes a file.

    Args:
        path: file to write.
        blocks: iterable of (names, features of length 1), sorted by name.
        network, fingerprint, size: of the features; a size of "" is unknown.

    Raises:
        ValueError: if there are no features or too many, or `path` is a file of another kind, such as the gallery.
        OSError: if the file cannot be written.
    """
    _check_path(path)
    refuse_foreign(path, b"format.npy")
    people = {}  # name -> int8 features, each once
    for names, features in blocks:
        rounded = np.rint(127 * features / np.abs(features).max(axis=1, keepdims=True)).astype(np.int8)
        for name, row in zip(names, rounded, strict=True):
            people.setdefault(name, {})[row.tobytes()] = row
    names = np.array([name for name in sorted(people) for _ in people[name]])
    if not len(names):
        raise ValueError("The gallery must hold people to be exported. It is empty.")
    features = np.stack([row for name in sorted(people) for row in people[name].values()])
    scales = np.float32(1 / np.linalg.norm(features.astype(np.float64), axis=1))
    buffer, facts = io.BytesIO(), {"format": FORMAT, "model": fingerprint, "network": network, "weights": fingerprint}
    facts |= {"size": size} if size else {}
    np.savez(buffer, **facts, names=names, features=features, scales=scales)
    with zipfile.ZipFile(buffer, "a") as container:
        container.comment = b"0" * HEX
    body = buffer.getvalue()[:-HEX]
    if len(body) + HEX > LARGEST:
        raise ValueError(f"The exported gallery must not exceed {LARGEST:,} bytes. It would have {len(body) + HEX:,}.")
    write_atomically(path, body + hashlib.sha256(body).hexdigest().encode())


def read(path, *, network, fingerprint, size):
    """Names and float32 features of a file.

    Raises:
        ValueError: if it is no such file, was changed, or is of another network or size.
        OSError: if it cannot be read.
    """
    _check_path(path)
    content = read_bounded(path, LARGEST)
    with reading(path, "a gallery of tflite/run.py"):
        if hashlib.sha256(memoryview(content)[:-HEX]).hexdigest().encode() != content[-HEX:]:
            raise ValueError("its SHA-256 does not fit")
        with zipfile.ZipFile(io.BytesIO(content)) as container:
            if any(member.compress_type != zipfile.ZIP_STORED for member in container.infolist()):
                raise ValueError("it is compressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            made_by = str(arrays["network"]), str(arrays["weights"]) or str(arrays["model"])
            theirs = str(arrays["size"]) if "size" in arrays else ""
            names, features, scales = (arrays[key] for key in ("names", "features", "scales"))
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"it is of format {arrays['format']}, not {FORMAT}")
        if (features.dtype, scales.dtype, features.shape[:1]) != (np.int8, np.float32, scales.shape):
            raise ValueError("its features and scales do not fit")
    if made_by[1] != fingerprint or (size and theirs and size != theirs):
        theirs, ours = described(*made_by, size=theirs), described(network, fingerprint, size=size)
        raise ValueError(f"{path} holds features of {theirs}. They cannot be compared with those of {ours}.")
    return [str(name) for name in names], features.astype(np.float32) * scales[:, None]


def _check_path(path):
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"`path` must be that of a file. Received: path={path!r}")
