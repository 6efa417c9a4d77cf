"""Images, and TFLite files that compute their features, without TensorFlow."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from files import MOST_THREADS  # beside this file
from PIL import Image

# Images are read as keras_osnet.data.images reads them.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
PIXELS, SIDE, BYTES = 2**25, 2**14, 2**27  # limits, checked before an image is decoded
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation -> Image.Transpose that makes it upright
LARGE = 1024  # sides from twice this on are reduced before they go into a file that takes any size
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def read(path):
    """An image file as an upright RGB image. Transparency is ignored."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a regular file")
        if path.stat().st_size > BYTES:
            raise ValueError(f"more than {BYTES:,} bytes")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > PIXELS or max(image.size) > SIDE:
                raise ValueError(f"{image.width:,} x {image.height:,} pixels are too many")
            image.load()
            turn = TURNS.get(_orientation(image))
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError("levels of 32 bits")
            image.info.pop("transparency", None)
            image = image.convert("RGB")
            return image if turn is None else image.transpose(Image.Transpose(turn))
    except Exception as error:  # Pillow's readers raise nearly every kind of error
        raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error


def _orientation(image):
    try:
        return image.getexif().get(0x0112)
    except Exception:  # damaged metadata of an intact image
        return None


class Network:
    """A TFLite file that computes the feature of an image.

    Its signature `embed` takes uint8 images of any size, or it takes one normalised image of one size.

    Args:
        path: the file.
        threads: of LiteRT, 1 to 256.

    Raises:
        ValueError: if LiteRT cannot run the file, or it takes something else.
    """

    def __init__(self, path, threads=1):
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"`threads` must be 1 .. {MOST_THREADS}. Received: threads={threads}")
        self.path = path
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
            inputs, self.outputs = self._embed()
            self.takes_any_size = [one["dtype"] for one in inputs.values()] == [np.uint8]
            names = self.interpreter.get_signature_list() if self.takes_any_size else ()
            # Of no other file: a runner that is kept would forbid to set tensors.
            self.runners = {name: self.interpreter.get_signature_runner(name) for name in names}
            if not self.takes_any_size:
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite file that LiteRT can run: {error}") from error
        if not self.takes_any_size:
            self._plain()

    def _embed(self):
        """LiteRT's details of the signature with features: inputs and outputs by name. Old files have none."""
        for name, named in self.interpreter.get_signature_list().items():
            if name == "embed" or (name == "serving_default" and "features" in named["outputs"]):
                runner = self.interpreter.get_signature_runner(name)
                return runner.get_input_details(), runner.get_output_details()
        return {}, {}

    def _plain(self):
        """Checks and keeps the details of the input and of the feature, and (height, width) of the input."""
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        outputs = [self.outputs["features"]] if "features" in self.outputs else outputs
        shapes = [tuple(int(side) for side in one["shape"]) for one in inputs]
        is_one_image = [(len(shape), *shape[::3]) for shape in shapes] == [(4, 1, 3)]
        if not is_one_image or inputs[0]["dtype"] not in (np.float32, np.int8) or len(outputs) != 1:
            raise ValueError(
                f"{self.path} must have a signature `embed`, or take one float32 or int8 image (1, height, width, 3) "
                f"and return one feature. It takes {shapes} and returns {len(outputs)}"
            )
        self.input, self.output, self.size = inputs[0], outputs[0], shapes[0][1:3]

    def prepare(self, image):
        """An RGB image as the file takes it: uint8, or resized and normalised as in training."""
        if self.takes_any_size:
            # The file resizes in float32: 48 million pixels take 10 s and 1 GB. A feature's cosine to that of the
            # reduced image was 0.999998.
            return np.asarray(image.reduce(tuple(max(side // LARGE, 1) for side in image.size)))
        image = image.resize(self.size[::-1], Image.Resampling.BILINEAR)
        values = ((np.asarray(image, np.float32) / 255 - MEAN) / STD)[None]
        if self.input["dtype"] != np.int8:
            return values
        scale, zero = self.input["quantization"]
        return np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)

    def run(self, prepared):
        """(D,) feature of a prepared image."""
        if self.takes_any_size:
            return self._checked(self.runners["embed"](picture=prepared)["feature"])
        self.interpreter.set_tensor(self.input["index"], prepared)
        self.interpreter.invoke()
        feature = self.interpreter.get_tensor(self.output["index"])[0].copy()
        if self.output["dtype"] == np.int8:
            scale, zero = self.output["quantization"]
            feature = np.float32(scale) * (feature.astype(np.float32) - zero)
        return self._checked(feature)

    def embed_boxes(self, image, boxes):
        """(N, D) features of boxes (left, top, right, bottom) of an RGB image, in whole pixels within it."""
        if "embed_boxes" in self.runners:
            frame, boxes = np.asarray(image), np.float32(boxes)
            return self._checked(self.runners["embed_boxes"](frame=frame, boxes=boxes)["features"])
        return np.stack([self.run(self.prepare(image.crop(box))) for box in boxes])

    def _checked(self, features):
        """Features that are finite and not zero, as some accelerators compute them."""
        if not np.isfinite(features).all() or not features.any(-1).all():
            raise ValueError(f"{self.path} must compute features that are finite and not all zero. It does not here")
        return features
