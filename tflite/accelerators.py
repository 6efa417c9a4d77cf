"""LiteRT's CompiledModel: TFLite files of one size on the processor, a GPU or an NPU."""

import atexit
import os
import platform
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ACCELERATORS = ("cpu", "gpu", "npu")


for _stream in range(3):  # of a daemon they are closed, and the next file that is opened would get what is printed
    try:
        os.fstat(_stream)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def _report(kind, error, trace):
    """Prints one line for Ctrl-C during the imports of a script, which may take seconds."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report


def why_not():
    """Returns why CompiledModel cannot run on this machine, or "".

    LiteRT 2.3 ends the process on ARM processors before ARMv8.1, such as those of the Raspberry Pi 3 and 4: its GPU
    library, which it loads for the CPU too, is compiled with atomic instructions.
    """
    if sys.platform == "linux" and platform.machine() == "aarch64":
        if "atomics" not in Path("/proc/cpuinfo").read_text().split():
            return "LiteRT's CompiledModel needs an ARM processor with atomic instructions (ARMv8.1)"
    try:
        import ai_edge_litert.compiled_model  # noqa: F401
    except ImportError as error:
        return f"ai-edge-litert is too old: {error}"
    return ""


class Compiled:
    """A TFLite file whose input and outputs are of one size, compiled for an accelerator. `why_not` must return "".

    Args:
        path: the file.
        accelerator: row of `ACCELERATORS`.
        threads: of the processor.
        signature: of the file, which has one input.
        name: of the output that is read.

    Raises:
        ValueError: if this machine has no such accelerator, or it cannot run all of the file.
    """

    def __init__(self, path, accelerator, threads, signature, name):
        from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options

        self.signature, self.name, whole = signature, name, False
        options = Options(HardwareAccelerator[accelerator.upper()], cpu_options=CpuOptions(num_threads=threads))
        atexit.register(_end_log, self)  # which also keeps LiteRT from ending, and from logging that, before
        with quiet():
            try:
                self.model = CompiledModel.from_file(str(path), options=options)
                whole = accelerator == "cpu" or self.model.is_fully_accelerated()
                named = self.model.get_signature_list()[signature]
                (source,), inputs = named["inputs"], self.model.get_input_tensor_details(signature)
                self.inputs = {source: self.model.create_input_buffer_by_name(signature, source)}
                outputs = named["outputs"]
                self.outputs = {key: self.model.create_output_buffer_by_name(signature, key) for key in outputs}
                self.inputs[source].write(np.zeros(inputs[source]["shape"], inputs[source]["dtype"]))
                self.result = self.model.get_output_tensor_details(signature)[name]
            except RuntimeError:  # whose text is about LiteRT's own source files
                pass
        if not whole:
            raise ValueError(f"{path} cannot run on the {accelerator.upper()}: there is none here, or it lacks an op")

    def run(self, prepared):
        """The output for an array of the input's shape and type, without the axis of the batch."""
        for source in self.inputs.values():
            source.write(prepared)
        self.model.run_by_name(self.signature, self.inputs, self.outputs)
        shape = self.result["shape"]
        return self.outputs[self.name].read(int(np.prod(shape)), np.dtype(self.result["dtype"])).reshape(shape)[0]


@contextmanager
def quiet():
    """Keeps LiteRT's log, dozens of lines for each file, from standard output and error. It has no setting for that."""
    if sys.stdout:
        sys.stdout.flush()
    saved = {stream: os.dup(stream) for stream in (1, 2)}
    silence(*saved)
    try:
        yield
    finally:
        for stream, copy in saved.items():
            os.dup2(copy, stream)
            os.close(copy)


def silence(*streams):
    """Sends what is written to file descriptors from now on nowhere."""
    with open(os.devnull, "w") as nowhere:
        for stream in streams:
            os.dup2(nowhere.fileno(), stream)


def _end_log(compiled):
    silence(2)
