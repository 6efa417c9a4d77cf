"""Limits of the network in a file, checked before it is built, and of the values of weights."""

import numpy as np

MOST_BYTES = 2**28  # of a file's arrays; OSNet x1.0 with a classifier of 100,000 identities has 214 MB
MOST_PIXELS = 2**25  # of the images of a network, as of image files
MOST_BLOCKS = 64  # of all stages together; the paper's deepest network has 17
CHANNELS = (64, 256, 384, 512, 512)  # of conv1 .. conv5 at width 1
# Settings of layers that decide the size of an array.
SIZES = ("units", "filters", "classes", "feature_dim", "input_dim", "output_dim", "num_heads", "key_dim")


def room(size):
    """Returns the bytes that the arrays of a file of `size` bytes may take: a small file can request any amount."""
    return min(MOST_BYTES, 2**26 + 4 * size)


def least_parameters(width, depths, feature_dim, classes):
    """Returns a lower bound of the number of parameters of an OSNet, without norms, gates and streams."""
    conv1, *stages, conv5 = _channels(width)
    blocks = sum(depth * channels * (channels // 4) for depth, channels in zip(depths, stages, strict=True))
    return 27 * conv1 + blocks + stages[-1] * conv5 + conv5 * feature_dim + feature_dim * (classes or 0)


def width_of(filters):
    """Returns the width at which conv1 .. conv5 have these numbers of filters, None if there is none.

    Several widths have the same ones: it is the least one if that has four decimals, else the shortest one.
    """
    least = max(count / whole for whole, count in zip(CHANNELS, filters, strict=True))
    rounded_up = [-(-least * 10**decimals // 1) / 10**decimals for decimals in range(1, 17)]
    widths = [least, *rounded_up] if round(least, 4) == least else rounded_up
    return next((width for width in widths if _channels(width) == list(filters)), None)


def _channels(width):
    return [int(width * channels) for channels in CHANNELS]


def check_size(settings, most):
    """Raises ValueError if a network of these settings has more than 64 blocks, or more than `most` parameters.

    Args:
        settings: mapping with width, depths, feature_dim, classes. An entry `weights` is an error too.
        most: largest number of parameters that the file can hold.
    """
    width, depths, feature_dim, classes = (settings.get(k) for k in ("width", "depths", "feature_dim", "classes"))
    sizes = (width, *depths, feature_dim, classes or 0)
    if settings.get("weights") is not None:  # the constructor would read, or download, what the file says
        raise ValueError("its settings name other weights")
    if len(depths) != 3 or any(isinstance(size, bool) or not isinstance(size, int | float) for size in sizes):
        raise ValueError(f"its network has strange settings: {str(settings)[:200]}")
    if not (0 < width < 2**16 and 3 <= sum(depths) <= MOST_BLOCKS):
        raise ValueError(f"its network has width {width} and depths {depths}, more than {MOST_BLOCKS} blocks")
    sides = [side for side in settings.get("input_shape") or () if isinstance(side, int)]
    if np.prod(sides[:2], dtype=float) > MOST_PIXELS:
        raise ValueError(f"its network is for images of {sides}, more than {MOST_PIXELS:,} pixels")
    least = least_parameters(width, depths, feature_dim, classes)
    if least > most:
        raise ValueError(f"its network needs at least {least:,} parameters, and the file has room for {most:,}")


def check_values(named):
    """Raises ValueError, naming the arrays, if there are NaN or infinite values, or negative variances.

    Args:
        named: iterable of (name, array).
    """
    bad = []
    for name, array in named:
        if not np.isfinite(array).all():
            bad.append(f"{name} (NaN or infinite)")
        elif name.endswith(("running_var", "moving_variance")) and array.size and array.min() < 0:
            bad.append(f"{name} (negative)")
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(f"its values are not those of weights: {', '.join(bad[:5])}{more}")
