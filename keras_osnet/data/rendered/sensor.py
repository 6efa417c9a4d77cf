"""What a camera makes of the light: lens, motion, sensor, processing and compression."""

import io

import numpy as np
from PIL import Image, ImageFilter


def expose(pixels, camera, rng, native, size, *, steady=False):
    """The picture that a camera writes, cut to the box.

    Args:
        pixels: (H, W, 3) uint8, rendered.
        camera: a `Camera`.
        native: (width, height) of the box in the camera's own pixels.
        size: (width, height) of the result.
        steady: whether only the noise differs between images of the camera, as in a film.

    Returns:
        PIL image, RGB.
    """
    image, settled = Image.fromarray(pixels), np.random.default_rng(camera.number) if steady else rng
    inner = tuple(min(max(int(n), 12), full) for n, full in zip(native, image.size, strict=True))
    image = image.resize(inner, Image.Resampling.BOX if inner[1] * 2 <= image.size[1] else Image.Resampling.BILINEAR)
    scale = inner[1] / max(native[1], 1)  # blur is in the camera's own pixels
    blur = camera.blur * settled.uniform(0.6, 1.5) * min(scale, 1.0)
    if blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(blur)))
    values = np.asarray(image, np.float32)
    if settled.random() < 0.25:
        values = _moved(values, int(settled.integers(2, 5)))
    values = _processed(values, camera, rng, settled)
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if camera.sharpen > 0.1:
        image = image.filter(ImageFilter.UnsharpMask(1.2, int(100 * camera.sharpen), 0))
    compressed = io.BytesIO()
    image.save(compressed, "JPEG", quality=int(np.clip(camera.quality + settled.normal(0, 6), 18, 95)), subsampling=2)
    return Image.open(compressed).convert("RGB").resize(size, Image.Resampling.BILINEAR)


def _moved(values, length):
    """Blur along the rows: people move while the shutter is open."""
    padded = np.pad(values, ((0, 0), (length, 0), (0, 0)), "edge")
    sums = sum(padded[:, k : k + values.shape[1]] for k in range(length))
    return sums / length


def _processed(values, camera, rng, settled):
    """White balance, gamma, contrast, saturation and noise; each image differs a little from the camera's usual."""
    gains = np.array(camera.gains, np.float32) * settled.normal(1, 0.015, 3) * settled.normal(1, 0.06)
    levels = np.arange(256, dtype=np.float32) / 255
    curve = levels ** (camera.gamma * np.exp(settled.normal(0, 0.06)))
    table = (curve[:, None] * gains - 0.45) * camera.contrast * settled.normal(1, 0.05) + 0.45
    values = np.stack([255 * table[:, k][values[..., k].astype(np.uint8)] for k in range(3)], -1).astype(np.float32)
    grey = values @ np.float32([0.299, 0.587, 0.114])
    values = grey[..., None] + np.float32(camera.saturation * settled.normal(1, 0.06)) * (values - grey[..., None])
    strength = np.float32(camera.noise * np.exp(settled.normal(0, 0.25)))
    # Dark parts are noisier; colour noise is coarser than that of brightness, as processing leaves it.
    darker = np.float32(1.3) - grey / 400
    values += (strength * darker * rng.standard_normal(grey.shape, np.float32))[..., None]
    coarse = rng.standard_normal((grey.shape[0] // 4 + 1, grey.shape[1] // 4 + 1, 3), np.float32)
    values += 0.45 * strength * np.repeat(np.repeat(coarse, 4, 0), 4, 1)[: grey.shape[0], : grey.shape[1]]
    return values
