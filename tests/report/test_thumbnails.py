"""Small images for the page: upright, and none for files that cannot be read."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from keras_osnet.report.thumbnails import read_image, thumbnails


def decoded(text):
    return np.asarray(Image.open(BytesIO(base64.b64decode(text))))


def test_images_are_shown_upright_and_those_that_cannot_be_read_are_left_out(tmp_path):
    image = np.zeros((40, 90, 3), np.uint8)
    image[:, :45, 0] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise: left goes up
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no image")
    small, *others = thumbnails([tmp_path / name for name in ("turned.jpg", "broken.jpg", "text.jpg", "none.jpg")], 60)
    found = decoded(small)
    assert found.shape == (60, 27, 3)
    assert found[:25, :, 0].min() > 200 > 60 > found[35:, :, 0].max()
    assert others == [None, None, None]
    assert read_image(tmp_path / "turned.jpg", (12, 7)).shape == (12, 7, 3)


def test_a_large_or_long_image_becomes_small(tmp_path):
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "large.jpg")
    Image.new("RGB", (10_000, 10), "red").save(tmp_path / "long.png")
    Image.new("RGB", (30, 70), "red").save(tmp_path / "small.png")
    found = thumbnails([tmp_path / name for name in ("large.jpg", "long.png", "small.png")], 96)
    assert [decoded(text).shape for text in found] == [(64, 96, 3), (1, 96, 3), (70, 30, 3)]


ODD = {
    "more pixels than may be": b"P6 40000 40000 255\n",
    "no header": b"P6 a",
    "cut short": b"P6 30 20 255\n" + bytes(70),
    "damaged TIFF": b"II*\0" + b"\xff" * 40,
    "damaged PNG": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + b"\xff" * 30,
    "damaged GIF": b"GIF89a" + b"\x80" * 20,
    "damaged WebP": b"RIFF\x20\0\0\0WEBPVP8 " + b"\xff" * 20,
    "a program's format": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_have_no_thumbnail_and_no_image(tmp_path, name):
    (tmp_path / "odd.jpg").write_bytes(ODD[name])
    assert thumbnails([tmp_path / "odd.jpg", tmp_path]) == [None, None]
    assert read_image(tmp_path / "odd.jpg") is None
