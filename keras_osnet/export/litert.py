"""Runs TFLite files in LiteRT."""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_osnet.export.metadata import metadata_of
from keras_osnet.inference.runtimes import dequantized, quantized, takes_levels
from keras_osnet.preprocessing import Preprocessing

# Signature of each of a model's outputs in a file that takes normalised images. A file of version 0.1 has none, or
# `serving_default` where it has several outputs.
SIGNATURES = {"features": "embed", "attributes": "attributes", "logits": "classify"}
FEATURES = ("features", "feature")  # outputs that must not be zero
ACCELERATORS = ("CPU", "GPU")  # of CompiledModel
COMPILED = Path(__file__).with_name("compiled.py")  # a program: see there why
MOST_THREADS = 256  # from some thousands on, LiteRT ends the process


class TFLiteNetwork:
    """An open TFLite file of batch size 1.

    Args:
        path: the file.
        threads: number of LiteRT's threads, 1 to 256. Default: LiteRT's own choice.

    Attributes:
        size: (height, width) of the input images; None if the input is a uint8 image of any size.
        takes_levels: whether the images are RGB levels 0..255, uint8; else they are normalised.
        preprocessing: `Preprocessing` of normalised images, from the metadata. Default: ImageNet's.

    Raises:
        ValueError: if LiteRT cannot run the file, or the input is not one image.
    """

    def __init__(self, path, threads=None):
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"`threads` must be 1 .. {MOST_THREADS}. Received: threads={threads}")
        self.path, self.size = path, None
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self.preprocessing = Preprocessing.of_metadata(metadata_of(path))
            inputs, outputs = self._signatures()
            # The images of a file with the preprocessing inside are no batch: (height, width, 3).
            kinds = {name: [(one["dtype"], len(one["shape"])) for one in inputs[name].values()] for name in inputs}
            whole = [name for name, kind in kinds.items() if kind == [(np.uint8, 3)]]
            self._runners = {name: self._interpreter.get_signature_runner(name) for name in whole}
            if not whole:
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:  # TypeError: LiteRT reads no name that is not UTF-8
            raise ValueError(f"{path} must be a TFLite file that LiteRT can run. Received: {error}") from error
        self.takes_levels = bool(whole)
        if not whole:
            self._outputs = {name: details for some in outputs.values() for name, details in some.items()}
            self._plain()

    def _signatures(self):
        """Returns the details of inputs and outputs by name, for each signature. A runner is not kept, because LiteRT
        could then not allocate and set tensors."""
        names = self._interpreter.get_signature_list()
        runners = {name: self._interpreter.get_signature_runner(name) for name in names}
        inputs = {name: runner.get_input_details() for name, runner in runners.items()}
        return inputs, {name: runner.get_output_details() for name, runner in runners.items()}

    def _plain(self):
        """Sets LiteRT's details of the only input, and of each output by name."""
        inputs = self._interpreter.get_input_details()
        shapes = [tuple(map(int, one["shape"])) for one in inputs]
        if [(len(shape), *shape[::3]) for shape in shapes] != [(4, 1, 3)]:
            raise ValueError(f"{self.path} must take one image (1, height, width, 3). Received: inputs {shapes}")
        if not self._outputs:  # a file without signatures
            name = "features" if metadata_of(self.path).get("features") else "output"
            self._outputs = {name: self._interpreter.get_output_details()[0]}
        self._input, self.size, self.takes_levels = inputs[0], shapes[0][1:3], takes_levels(inputs[0])

    @property
    def details(self):
        """LiteRT's details of the input and of the outputs by name; None and {} for a file with input of any size."""
        return (None, {}) if self.size is None else (self._input, self._outputs)

    def __call__(self, image):
        """Computes the outputs for one image.

        Args:
            image: (height, width, 3), preprocessed for the file. It is float for a file with int8 input too.

        Returns:
            dict of arrays by name. They are float for a file with int8 or uint8 outputs too.

        Raises:
            ValueError: if the image has another shape, LiteRT cannot run the file, an output is not finite, or a
                feature is all zero.
        """
        if self.size is not None and np.shape(image) != (*self.size, 3):
            height, width = self.size
            raise ValueError(f"`images` must be (N, {height}, {width}, 3). Received: an image of {np.shape(image)}")
        try:
            found = self._computed(image)
        except RuntimeError as error:  # of a damaged file, which is not read before
            raise ValueError(f"{self.path} is not a TFLite file that LiteRT can run: {error}") from error
        for name, value in found.items():
            if not np.isfinite(value).all() or (name in FEATURES and not value.any()):
                rule = "that are finite and not all zero" if name in FEATURES else "that are finite"
                raise ValueError(
                    f"{self.path} must compute {name} {rule}. Received: {np.count_nonzero(~np.isfinite(value))} of "
                    f"{value.size} values are not finite, {np.count_nonzero(value == 0)} are zero"
                )
        return found

    def _computed(self, image):
        if self.size is None:
            return {name: value for run in self._runners.values() for name, value in run(picture=image).items()}
        self._interpreter.set_tensor(self._input["index"], quantized(image[None], self._input))
        self._interpreter.invoke()
        return {
            name: dequantized(self._interpreter.get_tensor(details["index"])[0].copy(), details)
            for name, details in self._outputs.items()
        }


def run_tflite(path, images):
    """Computes the outputs of a TFLite file of batch size 1 for each of several images.

    Args:
        path: the file.
        images: (N, H, W, 3), preprocessed for the file, but float for a file with int8 input; for a file with the
            pipeline, (H, W, 3) uint8 of any sizes.

    Returns:
        (N, ...) array, float for a file with int8 or uint8 outputs too; a dict of arrays by name if there are several
        outputs.

    Raises:
        ValueError: if there are no images, or images of another shape, LiteRT cannot run the file, an output is not
            finite, or a feature is all zero.
    """
    if not len(images):
        raise ValueError("`images` must be one image or more. Received: none")
    network = TFLiteNetwork(path)
    found = [network(np.asarray(image)) for image in images]
    outputs = {name: np.stack([row[name] for row in found]) for name in found[0]}
    return outputs if len(outputs) > 1 else outputs.popitem()[1]


def run_compiled(path, images, accelerator):
    """Outputs of a TFLite file in LiteRT's CompiledModel for each of several images.

    Args:
        path: a file that takes one image of one size, not of int8, and returns floats.
        images: (height, width, 3) each, as the file takes them.
        accelerator: row of `ACCELERATORS`.

    Returns:
        list of dicts of arrays by name.

    Raises:
        ValueError: if LiteRT cannot run the file there, or an output is not finite.
    """
    inputs, outputs = TFLiteNetwork(path).details
    floats = all(one["dtype"] == np.float32 for one in outputs.values())
    if inputs is None or not (inputs["dtype"] == np.float32 or takes_levels(inputs)) or not floats:
        raise ValueError(f"{path} takes images of any size or int8: only the Interpreter runs it")
    if _lacks_atomics():
        raise ValueError(f"{path} cannot run in CompiledModel, which needs an ARM processor with atomic instructions")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "images.npy"), np.stack(images).astype(inputs["dtype"]))
        # -P: the modules beside the program are not imported. Its errors are about LiteRT's own source files.
        command, nowhere = [sys.executable, "-P", COMPILED, path, accelerator, folder], subprocess.DEVNULL
        subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False)
        outputs = Path(folder, "outputs.npz")
        if not outputs.exists():
            raise ValueError(f"{path} cannot run on a {accelerator}: there is none here, or it lacks an op")
        with np.load(outputs) as file:
            found = [dict(zip(file, one, strict=True)) for one in zip(*file.values(), strict=True)]
    if not all(np.isfinite(value).all() for one in found for value in one.values()):
        raise ValueError(f"{path} must compute outputs that are finite. It does not on this {accelerator}")
    return found


def _lacks_atomics():
    """Whether this is an ARM processor before ARMv8.1, on which CompiledModel ends the process."""
    on_arm = sys.platform == "linux" and platform.machine() == "aarch64"
    return on_arm and "atomics" not in Path("/proc/cpuinfo").read_text().split()
