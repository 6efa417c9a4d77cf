"""Every form of an image file, read by every door, against its pixels."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_osnet.data import images

H, W = 14, 9


def scene(height=H, width=W, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


RGB = scene()
GREY = RGB[..., 0]
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
CMYK = Image.fromarray(RGB).convert("CMYK")
PALETTE = Image.fromarray(RGB).quantize(16)
SIXTEEN = np.random.default_rng(1).integers(0, 2**16, (H, W), dtype=np.uint16)
SIXTEEN_RGB = np.repeat((SIXTEEN // 256).astype("uint8")[..., None], 3, axis=2)
BITS = GREY > 127
BITS_RGB = np.repeat(np.where(BITS, 255, 0).astype("uint8")[..., None], 3, axis=2)
OTHER = Image.fromarray(255 - RGB)


def saved(image, kind, **options):
    content = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(content, kind, **options)
    return content.getvalue()


def with_alpha(image):
    image = Image.fromarray(image)
    image.putalpha(Image.fromarray(GREY[::-1].copy()))
    return image


def bitmap(bits, compression, tables, rows, size=(H, W)):
    """A BMP file put together by hand: headers of Windows 3, then tables, then rows from the last to the first."""
    header = struct.pack("<IiiHHIIiiII", 40, size[1], size[0], 1, bits, compression, len(rows), 0, 0, 0, 0)
    start = 14 + len(header) + len(tables)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + tables + rows


def masked_bitmap():
    """16 bits a pixel, five for red, six for green, five for blue."""
    red, green, blue = (RGB[::-1, :, channel].astype("<u2") for channel in range(3))
    rows = (red >> 3 << 11) | (green >> 2 << 5) | (blue >> 3)
    padded = np.pad(rows, [(0, 0), (0, W % 2)]).astype("<u2")
    return bitmap(16, 3, struct.pack("<III", 0xF800, 0x07E0, 0x001F), padded.tobytes())


# What five and six bits stand for, spread over 0 .. 255.
MASKED_RGB = np.stack(
    [(RGB[..., c].astype(int) >> 8 - bits) * 255 // (2**bits - 1) for c, bits in enumerate((5, 6, 5))], axis=2
)


def run_length_bitmap():
    """8 bits a pixel, each row one run of one colour."""
    palette = b"".join(bytes((blue, green, red, 0)) for red, green, blue in np.resize(RGB, (256, 3)))
    rows = b"".join(bytes((W, row, 0, 0)) for row in reversed(range(H)))
    return bitmap(8, 1, palette, rows + b"\0\1")


RUNS_RGB = np.repeat(np.resize(RGB, (256, 3))[:H, None], W, axis=1)


def profiled_bitmap():
    """Header version 5 with room for a colour profile behind it."""
    plain = saved(RGB, "BMP")
    start = 14 + 124
    header = plain[14:54].replace(struct.pack("<I", 40), struct.pack("<I", 124), 1) + bytes(84)
    return plain[:10] + struct.pack("<I", start) + header + plain[54:]


def animated(kind):
    return saved(RGB, kind, save_all=True, append_images=[OTHER], **({"lossless": True} if kind == "WEBP" else {}))


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


# Each form: the bytes of a file, and the pixels it stands for, known without a reader except for lossy forms.
FORMS = {
    "PPM, 16 bits": (  # level / 257
        b"P6 2 1 65535 " + np.array([200, 65400, 257, 0, 65535, 128], ">u2").tobytes(),
        np.array([[[1, 254, 1], [0, 255, 0]]], "uint8"),
    ),
    "JPEG": (saved(RGB, "JPEG"), decoded(saved(RGB, "JPEG"))),
    "JPEG of high quality": (saved(RGB, "JPEG", quality=98), decoded(saved(RGB, "JPEG", quality=98))),
    "JPEG, progressive": (saved(RGB, "JPEG", progressive=True), decoded(saved(RGB, "JPEG"))),
    "JPEG, 4:4:4": (saved(RGB, "JPEG", subsampling=0), decoded(saved(RGB, "JPEG", subsampling=0))),
    "JPEG, RGB inside": (saved(RGB, "JPEG", keep_rgb=True), decoded(saved(RGB, "JPEG", keep_rgb=True))),
    "JPEG, grey": (saved(GREY, "JPEG"), decoded(saved(GREY, "JPEG"))),
    "JPEG, CMYK": (saved(CMYK, "JPEG"), decoded(saved(CMYK, "JPEG"))),
    "JPEG with bytes behind it": (saved(RGB, "JPEG") + b"more", decoded(saved(RGB, "JPEG"))),
    "JPEG with damaged EXIF": (saved(RGB, "JPEG", exif=b"Exif\0\0nonsense"), decoded(saved(RGB, "JPEG"))),
    "PNG": (saved(RGB, "PNG"), RGB),
    "PNG, RGBA": (saved(with_alpha(RGB), "PNG"), RGB),
    "PNG, grey": (saved(GREY, "PNG"), GREY_RGB),
    "PNG, grey and alpha": (saved(with_alpha(GREY), "PNG"), GREY_RGB),
    "PNG, palette": (saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "PNG, palette and transparency": (
        saved(PALETTE, "PNG", transparency=bytes(range(16))), np.asarray(PALETTE.convert("RGB"))
    ),
    "PNG, 16 bits": (saved(SIXTEEN, "PNG"), SIXTEEN_RGB),
    "PNG, 1 bit": (saved(Image.fromarray(BITS), "PNG"), BITS_RGB),
    "PNG, animated": (animated("PNG"), RGB),
    "BMP": (saved(RGB, "BMP"), RGB),
    "BMP, palette": (saved(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    "BMP, 1 bit": (saved(Image.fromarray(BITS), "BMP"), BITS_RGB),
    "BMP, masks": (masked_bitmap(), MASKED_RGB),
    "BMP, run lengths": (run_length_bitmap(), RUNS_RGB),
    "BMP, version 5": (profiled_bitmap(), RGB),
    "WebP": (saved(RGB, "WEBP", lossless=True), RGB),
    "WebP, animated": (animated("WEBP"), RGB),
    "TIFF": (saved(RGB, "TIFF"), RGB),
    "TIFF, 16 bits": (saved(SIXTEEN, "TIFF"), SIXTEEN_RGB),
    "TIFF, two pages": (animated("TIFF"), RGB),
    "GIF": (saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "PPM": (saved(RGB, "PPM"), RGB),
    "PGM, 16 bits": (b"P5 9 14 65535 " + SIXTEEN.astype(">u2").tobytes(), SIXTEEN_RGB),
}  # fmt: skip


def by_tensorflow(content):
    return images.decode_tensor(tf.constant(content)).numpy()


def by_pillow(content):
    return images.from_pillow(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike_as_a_file_in_a_pipeline_and_as_an_image_of_pillow(form):
    content, pixels = FORMS[form]
    for read in (images.decode, by_tensorflow, by_pillow):
        got = read(content)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize(("mode", "levels"), [("I", "32-bit"), ("F", "floating-point")])
def test_an_image_in_memory_whose_levels_have_no_range_is_refused(mode, levels):
    with pytest.raises(ValueError, match=f"^an image of Pillow of {levels} levels$"):
        images.from_pillow(Image.new(mode, (W, H)))


@pytest.mark.filterwarnings("error")
def test_the_suffix_does_not_decide_how_a_file_is_read(tmp_path):
    for form, (content, pixels) in FORMS.items():
        if form != "JPEG with damaged EXIF":  # Pillow warns of it
            path = tmp_path / "file.jpg"
            path.write_bytes(content)
            np.testing.assert_array_equal(images.read(path), pixels)


# What is stored so that a viewer, told the orientation, shows the image: EXIF 2.3, tag 274.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p[:, ::-1].transpose(1, 0, 2),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    99: lambda p: p,
}
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_upright_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](RGB))
    for kind, options in LOSSLESS.items():
        for read in (images.decode, by_tensorflow):
            np.testing.assert_array_equal(read(saved(stored, kind, exif=exif, **options)), RGB)
    smooth = np.asarray(Image.fromarray(scene(3, 2)).resize((W, H), Image.Resampling.BICUBIC))
    stored = np.ascontiguousarray(STORED[orientation](smooth))
    for read in (images.decode, by_tensorflow):
        got = read(saved(stored, "JPEG", exif=exif, quality=98, subsampling=0))
        assert np.abs(got.astype(int) - smooth).max() < 12  # JPEG's own loss


def test_orientation_in_xmp_counts_too():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    content = saved(RGB, "JPEG", xmp=xmp)
    np.testing.assert_array_equal(images.decode(content), decoded(content)[::-1, ::-1])
    np.testing.assert_array_equal(by_tensorflow(content), decoded(content)[::-1, ::-1])


def png_header(height, width):
    """A PNG that claims these sides and holds one row."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    fields = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", fields) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


REFUSED = {
    "empty": (b"", "empty file"),
    "text": (b"no image", "damaged, or in none of the formats JPEG, PNG"),
    "JPEG cut short": (saved(RGB, "JPEG")[:-60], "truncated"),
    "PNG cut short": (saved(RGB, "PNG")[:-60], "truncated"),
    "floating-point": (saved(Image.new("F", (W, H)), "TIFF"), "TIFF of floating-point levels"),
    "32 bits": (saved(Image.new("I", (W, H)), "TIFF"), "TIFF of 32-bit levels"),
    "a long side": (png_header(2, 60_000), "PNG of 60,000 x 2 pixels, more than 33,554,432 in all or 16,384 along"),
    "many pixels": (png_header(8000, 8000), "PNG of 8,000 x 8,000 pixels"),
    "more pixels than Pillow takes": (png_header(20_000, 20_000), "exceeds limit"),
    "a large JPEG": (saved(Image.new("L", (5_793, 5_793)), "JPEG"), "JPEG of 5,793 x 5,793 pixels"),
    "another format": (saved(RGB, "ICO"), "none of the formats"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_by_name_and_reason(tmp_path, kind):
    content, reason = REFUSED[kind]
    path = tmp_path / "file.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} cannot be read as an image: .*{reason}"):
        images.read(path)
    decode = tf.function(images.decode_tensor)
    with pytest.raises(ValueError, match=rf"1 of 1 images cannot be read: {re.escape(str(path))} \(.*{reason}"):
        with images.naming_unreadable([str(path)]):
            decode(tf.io.read_file(str(path)))


def test_a_whole_jpeg_with_a_damaged_head_is_found_among_the_others(tmp_path):
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(saved(RGB, "JPEG"))
    bad.write_bytes(b"\xff\xd8\xff\xe0 nothing of a JPEG \xff\xd9")
    with pytest.raises(ValueError, match=rf"1 of 2 images cannot be read: {re.escape(str(bad))} \("):
        with images.naming_unreadable([str(good), str(bad)]):
            images.decode_tensor(tf.io.read_file(str(bad)), str(bad))


def test_a_damaged_jpeg_that_only_the_pipeline_refuses_is_named():
    path = Path(__file__).with_name("damaged.jpg")  # drawn at random, then changed at random
    assert images.read(path).ndim == 3
    with pytest.raises(ValueError, match=rf"1 of 1 images cannot be read: {re.escape(str(path))} \(jpeg::Uncompress"):
        with images.naming_unreadable([str(path)]):
            images.decode_tensor(tf.io.read_file(str(path)), str(path))


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in (("pipe.jpg", "not a regular file"), ("missing.jpg", "No such file"), (".", "not a regular")):
        with pytest.raises(ValueError, match=f"cannot be read as an image: {reason}"):
            images.read(tmp_path / name)


def test_for_display_the_longer_side_is_bounded_and_the_aspect_kept():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert images.decode(saved(scene(40, 80), "JPEG", exif=exif), longest=20).shape == (20, 10, 3)
    assert images.decode(saved(scene(40, 80), "PNG"), longest=20).shape == (10, 20, 3)
    assert images.decode(saved(scene(1, 300), "PNG"), longest=20).shape == (1, 20, 3)
    np.testing.assert_array_equal(images.decode(saved(RGB, "PNG"), longest=100), RGB)


def test_a_caller_may_set_a_lower_limit():
    with pytest.raises(ValueError, match="PNG of 9 x 14 pixels, more than 125 in all"):
        images.decode(saved(RGB, "PNG"), pixels=H * W - 1)
    assert images.decode(saved(RGB, "PNG"), pixels=H * W).shape == (H, W, 3)


def test_resizing_is_pillows():
    want = np.asarray(Image.fromarray(RGB).resize((13, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.resize(RGB, (5, 13)), want)


@pytest.mark.parametrize("size", [(30, 20), (7, 5), (H, W)], ids=["larger", "smaller", "equal"])
def test_a_file_is_turned_upright_and_then_resized(tmp_path, size):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    (tmp_path / "a.png").write_bytes(saved(RGB, "PNG", exif=exif))
    upright = Image.fromarray(np.rot90(RGB, -1).copy())
    expected = np.asarray(upright.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.read(tmp_path / "a.png", size=size), expected)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("size", (4,), r"\(height, width\)"),
        ("size", (0, 4), "a whole number of at least 1"),
        ("longest", 0, "a whole number of at least 1"),
    ],
)
def test_a_size_that_is_none_is_no_fault_of_the_file(tmp_path, name, value, rule):
    Image.new("RGB", (5, 9)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"^`{name}` must be {rule}"):
        images.read(tmp_path / "a.png", **{name: value})
