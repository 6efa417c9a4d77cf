"""Images for a page: small and encoded as text."""

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image

from keras_osnet.data import images
from keras_osnet.metrics.blocks import WORKERS


def read_image(path, size=None):
    """Returns an image file as (height, width, 3) uint8, or None if it cannot be read.

    Args:
        path: the file.
        size: (height, width) to resize to, with the resizing of the network. Default: no resizing.
    """
    try:
        image = images.read(path)
    except ValueError:
        return None
    return image if size is None else images.resize(image, size)


def thumbnails(paths, side=96):
    """Returns small JPEG images as base64 text, one for each path; None for files that cannot be read.

    Args:
        paths: image files.
        side: pixels of the longer side. Smaller images keep their size.
    """

    def thumbnail(path):
        try:
            return as_jpeg(images.read(path, longest=side))
        except ValueError:
            return None

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(thumbnail, paths))


def as_jpeg(image, quality=70):
    """Returns the JPEG file of (height, width, 3) uint8 as base64 text. `optimize` saves a third of the bytes."""
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality, optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")
