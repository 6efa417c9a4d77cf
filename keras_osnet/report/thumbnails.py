"""Images for a page: small and encoded as text."""

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image

from keras_osnet.data import images
from keras_osnet.metrics.blocks import WORKERS


def read_image(path, size=None, longest=None):
    """Returns an image file as (height, width, 3) uint8, or None if it cannot be read.

    Args:
        path: the file.
        size: (height, width) to resize to, with the resizing of the network. Default: no resizing.
        longest: largest length of the longer side in pixels. Default: no limit.
    """
    try:
        return images.read(path, size=size, longest=longest)
    except ValueError:
        return None


def thumbnails(paths, side=96):
    """Returns small JPEG images as base64 text, one for each path; None for files that cannot be read.

    Args:
        paths: image files.
        side: pixels of the longer side. Smaller images keep their size.
    """

    def thumbnail(path):
        image = read_image(path, longest=side)
        return None if image is None else as_jpeg(image)

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(thumbnail, paths))


def as_jpeg(image, quality=70):
    """Returns the JPEG file of (height, width, 3) uint8 as base64 text. `optimize` saves a third of the bytes."""
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality, optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")
