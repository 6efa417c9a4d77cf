"""Image files, read by Pillow or decoded in a tf.data pipeline with the same result.

No other module of the package reads image files. An image is read as uint8 RGB, upright:

- EXIF or XMP orientation is applied. Metadata that cannot be parsed are ignored.
- Transparency and colour profiles (ICC) are ignored. The first image of an animation or of several pages is read.
- 16-bit levels, grey or colour, become their high byte: level / 256, rounded down. Those of a PPM in colour are
  rounded by Pillow: level / 257, to the nearest.
- Images of 32-bit or floating-point levels have no defined range and are refused.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from keras_osnet.data.checks import sides, whole

# Pillow's formats and their suffixes, without those for which Pillow starts another program (EPS), those whose decoders
# need many times the memory of the image (JPEG 2000, AVIF), and those that no camera writes.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Limits of the file's header, checked before decoding. A frame of 8K video (7680 x 4320) is within them.
PIXELS, SIDE, BYTES = 2**25, 2**14, 2**27
UNREADABLE = "cannot be read as an image"
# Pillow's operation that makes an image of EXIF orientation 2 .. 8 upright.
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE",
                        "ROTATE_90"), start=2))  # fmt: skip


def read(path, *, size=None, longest=None):
    """Reads an image file.

    Args:
        path: file in one of `FORMATS`, whatever its suffix, within the limits `PIXELS`, `SIDE` and `BYTES`.
        size: (height, width) to which the image is resized, as by `resize`. Default: its own size.
        longest: largest length of the longer side in pixels, for display. Larger images are shrunk, and a large JPEG is
            decoded at a fraction of its size. Default: no limit.

    Returns:
        (h, w, 3) uint8 RGB, upright.

    Raises:
        ValueError: naming the file and the reason, if it cannot be read; if `size` or `longest` is no size in pixels.
    """
    return decode(read_bytes(path), path, size=size, longest=longest)


def read_bytes(path):
    """Returns at most `BYTES` + 1 bytes of a regular file. Raises ValueError as `read`."""
    with _naming(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("not a regular file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(min(size, BYTES) + 1)  # `read` allocates all bytes that it is asked for


def decode(content, name="the image", *, size=None, longest=None, pixels=PIXELS):
    """Decodes the bytes of an image file, as `read` does. `name` is for the error message, `pixels` the most pixels."""
    size = None if size is None else sides(size)  # now: no fault of the file
    longest = None if longest is None else whole("longest", longest, 1)
    with _naming(name), _opened(content, pixels) as image:
        if longest is not None:
            image.draft(None, (longest, longest))
        image.load()
        upright = _upright(image)
        if longest is not None:
            upright.thumbnail((longest, longest))
        return np.asarray(upright if size is None else _resized(upright, size))


def from_pillow(image):
    """Returns an image of Pillow as `read` returns its file. Raises ValueError for levels of 32 bits."""
    copy = image.copy()
    copy.format = image.format  # `copy` leaves it out
    return np.asarray(_upright(copy))


def mode_of(content, name="the image"):
    """Returns Pillow's mode of the bytes of an image file, from its header alone."""
    with _naming(name), _opened(content, PIXELS) as image:
        return image.mode


def decode_tensor(content, name=""):
    """Decodes the bytes of an image file in a tf.data pipeline, level for level as `decode` does.

    TensorFlow decodes plain JPEG files, with the inverse DCT that Pillow uses. Pillow decodes all others.

    Args:
        content: string tensor.
        name: string tensor or text for the error message.

    Returns:
        (h, w, 3) uint8 tensor.
    """
    import tensorflow as tf

    def by_tensorflow():
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

    def by_pillow():
        arguments = [content, tf.convert_to_tensor(name, tf.string)]
        image = tf.numpy_function(_decode_in_graph, arguments, "uint8", stateful=False)
        return tf.ensure_shape(image, (None, None, 3))

    def plain():
        upright = ~tf.strings.regex_full_match(content, r"\C*(?:Exif\x00|tiff:Orientation)\C*")
        whole = tf.strings.substr(content, -2, 2) == b"\xff\xd9"  # ends with the end-of-image marker
        return upright & whole & tf.reduce_all(tf.io.extract_jpeg_shape(content) <= (side, side, 3))  # CMYK: 4

    side = int(PIXELS**0.5)
    jpeg = tf.cond(tf.io.is_jpeg(content), plain, lambda: tf.constant(False))
    return tf.cond(jpeg, by_tensorflow, by_pillow)


def resize(image, size):
    """(h, w, 3) uint8 -> (*size, 3) uint8: bilinear, antialiased."""
    return np.asarray(_resized(Image.fromarray(image), sides(size)))


def _resized(image, size):
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


@contextmanager
def naming_unreadable(paths, name=None):
    """Turns TensorFlow's error about an image of a pipeline into a ValueError that names the unreadable files.

    Args:
        paths: the files of the pipeline. After an error they are all read, to find the unreadable ones.
        name: text for the error message if the images are not files of their own. `paths` is not used then.
    """
    from tensorflow import errors

    try:
        yield
    except (errors.UnavailableError, errors.AbortedError, errors.DeadlineExceededError, errors.CancelledError,
            errors.InternalError, errors.ResourceExhaustedError):  # fmt: skip
        raise  # not about a file
    except errors.OpError as error:
        if name:
            found = re.search(rf".*ValueError: (.* {UNREADABLE}: .*)", str(error))
            raise ValueError(found[1] if found else f"{name} {UNREADABLE}: {error.message}") from error
        refuse_unreadable(paths, error, lambda path: decode_as_training(read_bytes(path), path))
        raise


def refuse_unreadable(paths, cause=None, read=read):
    """Reads every file, which takes as long as an epoch. `keras_osnet.data.listing.require_files` is a quick check.

    Args:
        paths: files.
        cause: cause of the raised error.
        read: function of a path that raises ValueError as `read` does, the default.

    Raises:
        ValueError: naming files that cannot be read, with the reason.
    """

    def fault(path):
        try:
            read(path)
        except ValueError as error:
            return f"{path} ({str(error).partition(f'{UNREADABLE}: ')[2]})"

    with ThreadPoolExecutor() as pool:
        faults = list(filter(None, pool.map(fault, paths)))
    if faults:
        raise ValueError(f"{len(faults)} of {len(paths)} images cannot be read: {first_three(faults)}") from cause


def decode_as_training(content, name="the image"):
    """Decodes the bytes of an image file as `decode`, and refuses damaged JPEG files that only TensorFlow refuses."""
    import tensorflow as tf

    image = decode(content, name)
    try:
        if content.startswith(b"\xff\xd8"):  # TensorFlow decodes no other files
            decode_tensor(content, str(name))
    except tf.errors.OpError as error:
        reason = re.sub(r"^{{.*?}} ", "", error.message.splitlines()[0])
        raise ValueError(f"{name} {UNREADABLE}: {reason}") from error
    return image


def first_three(items):
    """Returns the first three items as text for an error message, with "..." for further ones."""
    return ", ".join(map(str, items[:3])) + ", ..." * (len(items) > 3)


def _decode_in_graph(*values):
    content, name = (np.asarray(value, object).item() for value in values)  # outside of a graph they are arrays
    return decode(content, name.decode(errors="replace"))


@contextmanager
def _naming(name):
    try:
        yield
    # On damaged files Pillow raises nearly every type of error, SyntaxError and struct.error among them.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{name} {UNREADABLE}: {reason}") from error


@contextmanager
def _opened(content, pixels):
    if not 0 < len(content) <= BYTES:
        raise ValueError(f"more than {BYTES:,} bytes" if content else "empty file")
    try:
        image = Image.open(BytesIO(content), formats=tuple(FORMATS))
    except UnidentifiedImageError:
        raise ValueError(f"damaged, or in none of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{error}; the limit here is {pixels:,} pixels") from None
    with image:
        if image.width * image.height > pixels or max(image.size) > SIDE:
            raise ValueError(
                f"{image.format} of {image.width:,} x {image.height:,} pixels, more than {pixels:,} in all or {SIDE:,} "
                "along a side"
            )
        yield image


def _orientation(image):
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata of an intact image: Pillow raises SyntaxError, struct.error and others
        return None


def _upright(image):
    turn, rgb = TURNS.get(_orientation(image)), _rgb(image)
    return rgb.transpose(Image.Transpose[turn]) if turn else rgb


def _rgb(image):
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    elif image.mode in ("I", "F"):
        levels = "32-bit" if image.mode == "I" else "floating-point"
        raise ValueError(f"{image.format or 'an image of Pillow'} of {levels} levels")
    image.info.pop("transparency", None)  # Pillow would warn that it is ignored
    return image if image.mode == "RGB" else image.convert("RGB")
