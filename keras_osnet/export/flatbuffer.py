"""What the converter has no option for, changed in the finished TFLite file."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def unpacked(content):
    """A TFLite file's bytes as `ModelT`."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model):
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_buffer(model, content):
    """Adds a buffer to a `ModelT` and returns its number."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def with_float_kernels(content, kernels):
    """The bytes of a dynamic TFLite file with some of its int8 kernels in float32: LiteRT then reckons there in float.

    A kernel is known by its numbers: rounded, they are those of the file.

    Args:
        content: bytes of the file.
        kernels: (height, width, in, out), depthwise (height, width, channels, 1) or dense (in, out) float32 arrays as
            they were before the converter rounded them. Those that it left in float may be among them.
    """
    model = unpacked(content)
    kernels = [np.moveaxis(kernel, -1, 0) for kernel in kernels]
    tensors, added, replaced = [tensor for graph in model.subgraphs for tensor in graph.tensors], {}, set()
    for tensor in tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.INT8 or data is None:
            continue
        rounded, steps = data.view(np.int8).reshape(tensor.shape), _steps(tensor)
        for i, kernel in enumerate(kernels):
            if kernel.shape == rounded.shape and (np.abs(rounded * steps - kernel) <= 0.501 * steps).all():
                replaced.add(tensor.buffer)
                if i not in added:  # signatures share their kernels
                    added[i] = with_buffer(model, kernel.astype("<f4").tobytes())
                tensor.buffer = added[i]
                tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
                break
    for i in replaced - {tensor.buffer for tensor in tensors}:
        model.buffers[i].data = None
    return packed(model)


def _steps(tensor):
    """The steps of an int8 tensor, to be multiplied with its numbers."""
    steps, shape = tensor.quantization.scale, [1] * len(tensor.shape)
    shape[tensor.quantization.quantizedDimension] = -1
    return steps.reshape(shape) if len(steps) > 1 else steps
