"""Reads and edits TFLite files. No other module uses LiteRT's generated schema."""

from collections import Counter
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def ops_of(path):
    """Returns the count of each op in a TFLite file, in all its signatures, by name. Raises as `read`."""
    return read(path, _count_ops)


def metadata_entry(path, name):
    """Returns the bytes of a metadata entry of a TFLite file, or None without such an entry. Raises as `read`."""

    def find(model):
        buffers = [entry.buffer for entry in model.metadata or () if entry.name == name.encode()]
        return bytes(model.buffers[buffers[0]].data) if buffers else None

    return read(path, find)


def read(path, function=lambda model: model):
    """Returns the result of `function` for a TFLite file as LiteRT's `ModelT`. Default: the `ModelT` itself.

    Raises:
        ValueError: if the file is damaged or not a TFLite file.
        OSError: if it cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        if not schema.Model.ModelBufferHasIdentifier(content, 0):
            raise ValueError("its identifier is not TFL3")
        return function(schema.ModelT.InitFromPackedBuf(content, 0))
    except Exception as error:  # damaged offsets raise struct.error, IndexError, TypeError, MemoryError and others
        raise ValueError(f"{path} must be a TFLite file. Received: {type(error).__name__}: {error}") from error


def _count_ops(model):
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [model.operatorCodes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators]
    found = Counter(
        (code.customCode or b"").decode() or names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes
    )
    return dict(sorted(found.items()))


def edited(content, *, entries, signatures, float_kernels=()):
    """Returns the converter's bytes with metadata and signatures, and the count of each op in them.

    Tensors other than inputs and outputs get short names. The converter's names are long and do not contain layers.

    Args:
        content: bytes of a TFLite file with one subgraph, or with the converter's own signatures.
        entries: metadata, bytes by name.
        signatures: for a file without signatures, dict of key to the names of the outputs that the signature returns.
            The outputs of the subgraph are all of these, in sorted order.
        float_kernels: see `_restore_float_kernels`.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for graph in model.subgraphs:
        kept = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            tensor.name = tensor.name if i in kept else str(i).encode()
    if float_kernels:
        _restore_float_kernels(model, float_kernels)
    for name, value in entries.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, _add_buffer(model, value)
        model.metadata = [*(model.metadata or []), entry]
    if signatures:
        _sign(model, signatures)
    builder = flatbuffers.Builder(len(content) + 2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), _count_ops(model)


def _sign(model, signatures):
    """Adds signatures of the first subgraph."""
    (graph, *_), names = model.subgraphs, sorted(name for outputs in signatures.values() for name in outputs)
    tensors = dict(zip(names, graph.outputs, strict=True))
    for name, index in tensors.items():
        graph.tensors[index].name = name
    model.signatureDefs = []
    for key, outputs in signatures.items():
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, 0
        signature.inputs = [_named(graph.tensors[graph.inputs[0]].name, graph.inputs[0])]
        signature.outputs = [_named(name, tensors[name]) for name in outputs]
        model.signatureDefs.append(signature)


def _named(name, index):
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name, index
    return tensor


def _add_buffer(model, content):
    """Adds a buffer to a `ModelT` and returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _restore_float_kernels(model, kernels):
    """Restores kernels in float32 that the converter rounded to int8, so that LiteRT computes their layers in float.

    A kernel is identified by its values, which are equal to those of the file after rounding.

    Args:
        model: `ModelT` of a file with dynamic range.
        kernels: (height, width, in, out), depthwise (height, width, channels, 1) or dense (in, out) float32 arrays from
            before the rounding. They may include kernels that the converter left in float.
    """
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
                    added[i] = _add_buffer(model, kernel.astype("<f4").tobytes())
                tensor.buffer = added[i]
                tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
                break
    for i in replaced - {tensor.buffer for tensor in tensors}:
        model.buffers[i].data = None


def _steps(tensor):
    """Returns the scales of an int8 tensor, in a shape that can be multiplied with its values."""
    scales, shape = tensor.quantization.scale, [1] * len(tensor.shape)
    shape[tensor.quantization.quantizedDimension] = -1
    return scales.reshape(shape) if len(scales) > 1 else scales
