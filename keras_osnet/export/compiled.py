"""Outputs of a TFLite file in LiteRT's CompiledModel, in a process of its own, which `litert.run_compiled` starts.

    python compiled.py FILE ACCELERATOR FOLDER     FOLDER/images.npy -> FOLDER/outputs.npz, unless LiteRT cannot run it

Where a GPU is asked for and there is none, LiteRT 2.3 damages the memory of the process: TensorFlow's next dataset
ended it.
"""

import os
import sys

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator


def outputs_of(model, image):
    """dict of arrays by name, for an image (1, height, width, 3)."""
    found = {}
    for key, named in model.get_signature_list().items():
        inputs = {name: model.create_input_buffer_by_name(key, name) for name in named["inputs"]}
        outputs = {name: model.create_output_buffer_by_name(key, name) for name in named["outputs"]}
        for source in inputs.values():
            source.write(image)
        model.run_by_name(key, inputs, outputs)
        for name, details in model.get_output_tensor_details(key).items():
            shape = details["shape"]
            found[name] = outputs[name].read(int(np.prod(shape)), np.dtype(details["dtype"])).reshape(shape)[0]
    return found


def main(path, accelerator, folder):
    model = CompiledModel.from_file(path, HardwareAccelerator[accelerator])
    found = [outputs_of(model, image[None]) for image in np.load(os.path.join(folder, "images.npy"))]
    unfinished = os.path.join(folder, "unfinished.npz")
    np.savez(unfinished, **{name: np.stack([one[name] for one in found]) for name in found[0]})
    os.replace(unfinished, os.path.join(folder, "outputs.npz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
