"""What every score of features asks of its arguments: checked arrays, in one number type."""

import numpy as np


def feature_matrices(query_features, gallery_features):
    """Gives both as matrices of one type: float64 where one is float64 or wide integers, else float32.

    Raises:
        ValueError: where one is not a matrix of real numbers or empty, or they differ in their number of columns.
    """
    query_features = _matrix("query_features", query_features)
    gallery_features = _matrix("gallery_features", gallery_features)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(
            "`query_features` and `gallery_features` must have the same number of columns. "
            f"Received: query_features.shape={query_features.shape}, gallery_features.shape={gallery_features.shape}"
        )
    wide = np.result_type(query_features, gallery_features, np.float32).itemsize > 4
    kind = np.float64 if wide else np.float32
    return query_features.astype(kind, copy=False), gallery_features.astype(kind, copy=False)


def _matrix(name, features):
    features = np.asarray(features)
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be a 2-D array of real numbers. Received: {name} of shape {features.shape} and type "
            f"{features.dtype}"
        )
    if 0 in features.shape:
        raise ValueError(f"`{name}` must not be empty. Received: {name}.shape={features.shape}")
    return features


def squared_norms(name, features):
    """Gives |x|^2 of every row, in the one pass over the features that also finds NaN, infinity and overflow.

    Raises:
        ValueError: where a row holds NaN or infinity, or its square or its distance from another does not fit.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", features, features)
        # |2 q.g| <= |q|^2 + |g|^2, so that a quarter of the range keeps every distance finite.
        suspects = np.flatnonzero(~(squares < np.finfo(features.dtype).max / 4))
    bad = suspects[~np.isfinite(features[suspects]).all(axis=1)]
    if len(bad):
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with NaN or infinity in {len(bad)} of {len(features)} rows, "
            f"first in row {bad[0]}"
        )
    if len(suspects):
        raise ValueError(
            f"`{name}` must have squares that {features.dtype} can hold. Received: {name} whose row {suspects[0]} has "
            f"|x|^2 = {squares[suspects[0]]}"
        )
    return squares


def row_labels(name, labels, partner, features):
    """Gives the labels of the rows of `features` as int64; `name` and `partner` are what to call the two.

    Raises:
        ValueError: where they are not integers, or not one for each row.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must be integers. Received: {name} of type {labels.dtype}")
    if labels.shape != (len(features),):
        raise ValueError(
            f"`{name}` must have one entry per row of `{partner}` ({len(features)}). "
            f"Received: {name}.shape={labels.shape}"
        )
    return labels.astype(np.int64)
