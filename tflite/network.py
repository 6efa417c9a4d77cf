"""Images, and TFLite files that compute their features, without TensorFlow."""

import json
from pathlib import Path

import numpy as np
from accelerators import Compiled, why_not  # beside this file
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from files import MOST_THREADS
from PIL import Image

# Images are read as keras_osnet.data.images reads them.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"}
PIXELS, SIDE, BYTES = 2**25, 2**14, 2**27  # limits, checked before an image is decoded
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation -> Image.Transpose that makes it upright
LARGE = 1024  # sides from twice this on are reduced before they go into a file that takes any size
TOGETHER = 2**22  # pixels of the boxes of a call; each takes some 50 bytes
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 255.0}  # of files that say nothing


def read(path):
    """An image file as an upright RGB image. Transparency is ignored."""
    path = Path(path)
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
        raise ValueError(f"{path} cannot be read as an image: {str(error) or type(error).__name__}") from error


def _orientation(image):
    try:
        return image.getexif().get(0x0112)
    except Exception:  # damaged metadata of an intact image
        return None


class Network:
    """A TFLite file that computes the feature of an image.

    Its signature `embed` takes uint8 images of any size, or it takes one image of one size, normalised or uint8. Files
    of one size run in LiteRT's CompiledModel; others, those without a signature and those of int8 in its Interpreter.

    Args:
        path: the file.
        threads: of LiteRT, 1 to 256.
        accelerator: row of `ACCELERATORS`.
        means: `CameraMeans` to remove from all features. Default none.
        camera: the camera of the images, for `means`; it may be changed.
        any_output: whether logits of classes or attributes will do too. Default: features only.

    Raises:
        ValueError: if LiteRT cannot run the file there, or it takes something else.
    """

    def __init__(self, path, threads=1, accelerator="cpu", means=None, camera=None, any_output=False):
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"`threads` must be 1 .. {MOST_THREADS}. Received: threads={threads}")
        self.path, self.accelerator, self.runners, self.compiled = path, accelerator, {}, None
        self.means, self.camera, self.any_output = means, camera, any_output
        try:
            self.interpreter = Interpreter(str(path), num_threads=threads)
            signature, inputs, outputs = self._embed()
            kinds = [(one["dtype"], len(one["shape"])) for one in inputs.values()]
            self.takes_any_size = kinds == [(np.uint8, 3)]
            if self.takes_any_size:
                # Of no other file: a runner that is kept would forbid to set tensors.
                names = self.interpreter.get_signature_list()
                self.runners = {name: self.interpreter.get_signature_runner(name) for name in names}
        except (ValueError, RuntimeError, TypeError) as error:  # TypeError: LiteRT reads no name that is not UTF-8
            raise ValueError(f"{path} is not a TFLite file that LiteRT can run: {error}{oldest_of(path)}") from error
        if not self.takes_any_size:
            self._plain(outputs, metadata_of(Path(path).read_bytes()))
            self._open(signature, outputs, threads)
        elif accelerator != "cpu":
            raise ValueError(f"{path} takes images of any size, which LiteRT runs on the CPU only")

    def _embed(self):
        """The signature with features, and LiteRT's details of its inputs and outputs by name. Old files have none."""
        for name, named in self.interpreter.get_signature_list().items():
            if name == "embed" or (name == "serving_default" and "features" in named["outputs"]):
                runner = self.interpreter.get_signature_runner(name)
                return name, runner.get_input_details(), runner.get_output_details()
        return None, {}, {}

    def _plain(self, named, facts):
        """Checks and keeps the details of the input and of the feature, and (height, width) of the input."""
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        outputs = [named["features"]] if "features" in named else outputs
        names = [name for one in self.interpreter.get_signature_list().values() for name in one["outputs"]]
        if not self.any_output and "features" not in named and {*names} & {"logits", "attributes"}:
            raise ValueError(f"{self.path} must return features. It returns {', '.join(sorted(names))}")
        shapes = [tuple(int(side) for side in one["shape"]) for one in inputs]
        returned = [tuple(int(side) for side in one["shape"]) for one in outputs]
        is_one_image = [(len(shape), *shape[::3]) for shape in shapes] == [(4, 1, 3)]
        scaled = [one["dtype"] != np.int8 or len(one["quantization_parameters"]["scales"]) == 1 for one in inputs]
        is_vector = [self.any_output or np.prod(shape[:-1]) == 1 for shape in returned] == [True]
        fits = is_one_image and inputs[0]["dtype"] in (np.float32, np.int8, np.uint8) and all(scaled)
        if not fits or not is_vector:
            raise ValueError(
                f"{self.path} must have a signature `embed`, or take one image (1, height, width, 3) of float32, int8 "
                f"or uint8 and return one feature (1, D). It takes {shapes} and returns {returned}"
            )
        self.input, self.output, self.size = inputs[0], outputs[0], shapes[0][1:3]
        # Other tools write uint8 files of normalised images: 0 is then in the middle of the scale.
        in_middle = inputs[0]["quantization_parameters"]["zero_points"].any()
        self.takes_levels = inputs[0]["dtype"] == np.uint8 and not in_middle
        try:
            self.mean, self.std, self.scale = (np.float32(facts.get(name, IMAGENET[name])) for name in IMAGENET)
            known = self.mean.shape == self.std.shape == (3,) and self.scale.shape == ()
            known = known and np.isfinite(self.mean).all() and all(0 < n < np.inf for n in (*self.std, self.scale))
        except (TypeError, ValueError):  # of text
            known = False
        if not known:
            found = {name: facts.get(name) for name in IMAGENET}
            raise ValueError(f"{self.path} must have mean, std and scale of RGB levels in its metadata. It has {found}")

    def _open(self, signature, outputs, threads):
        """Makes CompiledModel ready to run the file, or the Interpreter, on the CPU, where it cannot."""
        reason = why_not()
        if "features" not in outputs or self.input["dtype"] == np.int8 or self.output["dtype"] != np.float32:
            reason = "it has no signature `embed` in float"
        if not reason:
            self.compiled = Compiled(self.path, self.accelerator, threads, signature, "features")
            self.interpreter = None
            return
        if self.accelerator != "cpu":
            raise ValueError(f"{self.path} cannot run on the {self.accelerator.upper()}: {reason}")
        try:
            self.interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(f"{self.path} is not a TFLite file that LiteRT can run: {error}") from error

    def prepare(self, image):
        """An RGB image as the file takes it: uint8, or resized and normalised as in training."""
        if self.takes_any_size:
            # The file resizes in float32: 48 million pixels take 10 s and 1 GB. A feature's cosine to that of the
            # reduced image was 0.999998.
            return np.asarray(image.reduce(tuple(max(side // LARGE, 1) for side in image.size)))
        levels = np.asarray(image.resize(self.size[::-1], Image.Resampling.BILINEAR))[None]
        if self.takes_levels:
            return levels
        values = (levels.astype(np.float32) / self.scale - self.mean) / self.std
        if self.input["dtype"] == np.float32:
            return values
        (scale, zero), limits = scale_of(self.input), np.iinfo(self.input["dtype"])
        return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(limits.dtype)

    def run(self, prepared):
        """(D,) feature of a prepared image. Raises ValueError if LiteRT cannot compute it."""
        if self.takes_any_size:
            return self._checked(lambda: self.runners["embed"](picture=prepared)["feature"])
        return self._checked(lambda: (self.compiled.run if self.compiled else self._interpreted)(prepared).ravel())

    def _interpreted(self, prepared):
        self.interpreter.set_tensor(self.input["index"], prepared)
        self.interpreter.invoke()
        feature = self.interpreter.get_tensor(self.output["index"])[0].copy()
        if np.issubdtype(self.output["dtype"], np.integer) and len(self.output["quantization_parameters"]["scales"]):
            scale, zero = scale_of(self.output)
            feature = np.float32(scale) * (feature.astype(np.float32) - zero)
        return feature

    def embed_boxes(self, image, boxes):
        """(N, D) features of boxes (left, top, right, bottom) of an RGB image, in whole pixels within it."""
        if "embed_boxes" in self.runners:
            frame, boxes, run = np.asarray(image), np.float32(boxes), self.runners["embed_boxes"]
            groups = grouped(boxes)
            found = self._checked(
                lambda: np.concatenate([run(frame=frame, boxes=boxes[rows])["features"] for rows in groups])
            )
            return found[np.argsort(np.concatenate(groups))]
        return np.stack([self.run(self.prepare(image.crop(box))) for box in boxes])

    def _checked(self, compute):
        """Computes features. They must be finite and not zero, as some accelerators compute them."""
        try:
            features = compute()
        except RuntimeError as error:  # of a damaged file, which is not read before
            raise ValueError(f"{self.path} is not a TFLite file that LiteRT can run: {error}") from error
        if not np.isfinite(features).all() or not features.any(-1).all():
            raise ValueError(
                f"{self.path} must compute features that are finite and not all zero. It does not on this "
                f"{self.accelerator.upper()}"
            )
        return self.means.remove(features, self.camera) if self.means else features


def grouped(boxes):
    """Lists of rows of boxes (left, top, right, bottom) that the file takes together, the smallest boxes first.

    The file makes all boxes of a call as large as the largest: together they have at most `TOGETHER` pixels.
    """
    sides = np.asarray(boxes)[:, 2:] - np.asarray(boxes)[:, :2]
    groups, largest = [], None
    for row in np.argsort(sides.prod(axis=1), kind="stable"):
        both = sides[row] if largest is None else np.maximum(largest, sides[row])
        if largest is not None and (len(groups[-1]) + 1) * both.prod() <= TOGETHER:
            groups[-1].append(row)
            largest = both
        else:
            groups.append([row])
            largest = sides[row]
    return groups


def scale_of(details):
    """Scale and zero point of a tensor of integers."""
    found = details["quantization_parameters"]
    return found["scales"][0], found["zero_points"][0]


def weights_of(content):
    """SHA-256 of the weights that a TFLite file was made from, as it says itself; "" of one that does not say it."""
    return str(metadata_of(content).get("weights", ""))


def size_of(content):
    """Height x width of the images of a TFLite file's network, as it says itself; "" of one that does not say it."""
    facts = metadata_of(content)
    return f"{facts['height']}x{facts['width']}" if {"height", "width"} <= set(facts) else ""


def metadata_of(content):
    """What a TFLite file of keras_osnet says of itself, a dict; {} of one that says nothing."""
    try:
        return dict(json.loads(_entry(content, b"keras_osnet")))
    except Exception:  # of a file of another kind, or a damaged one, which LiteRT refuses by name
        return {}


def oldest_of(path):
    """The oldest runtime that runs a TFLite file, as the end of an error; "" of a file that does not say it."""
    try:
        version = _entry(Path(path).read_bytes(), b"min_runtime_version").rstrip(b"\0").decode()
    except Exception:  # as above
        return ""
    return f". It needs TensorFlow Lite {version} or later" * bool(version)


def _entry(content, name):
    """The bytes of an entry of a TFLite file's metadata."""
    model = schema.Model.GetRootAs(content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (found,) = (model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == name)
    return found.DataAsNumpy().tobytes()
