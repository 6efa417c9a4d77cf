"""Layers made of other layers: a data flow that is written once, and parts that are shown and saved as in a model."""

from functools import partial

import keras


def sublayers(layer):
    """Lists all layers inside a model or layer, at any depth, each once and after the layer that holds it."""
    found = {}
    for part in parts_of(layer):
        for each in (part, *sublayers(part)):
            found.setdefault(id(each), each)
    return list(found.values())


def parts_of(layer):
    """Lists the layers that a model or layer holds directly."""
    if hasattr(layer, "layers"):
        return list(layer.layers)
    # Other layers hold them in attributes, where Keras too looks for them when it saves a layer.
    names = [name for name in dir(layer) if not (name.startswith("_") or hasattr(keras.layers.Layer, name))]
    held = [getattr(layer, name, None) for name in names]
    # Keras on PyTorch has dicts whose keys cannot be sorted, which `flatten` does.
    values = keras.tree.flatten([list(value.values()) if isinstance(value, dict) else value for value in held])
    return [value for value in values if isinstance(value, keras.layers.Layer) and value is not layer]


class Composite(keras.layers.Layer):
    """Base of the layers that are made of other layers.

    A subclass lists `parts` and writes `flow`; `make` creates what depends on the input's shape. As with a nested
    model, `layers`, `get_layer` and `summary(expand_nested=True)` show the parts, and the config keeps the flags
    `trainable` and the dtype policies in which parts differ from the layer that holds them.

    Attributes:
        parts: names of the attributes that hold layers, or lists of layers, in the order of the data flow.
    """

    parts = ()

    def flow(self, inputs, run):
        """The data flow: `run(layer, inputs)` stands for each call of a part, and all else is `keras.ops`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `flow`.")

    def operations(self, put, name, source):
        """Adds the layer in evaluation, its norms folded, to a graph of plain operations. Export calls it.

        Args:
            put: function (name, op, *sources, weights=None, **settings) that adds an operation and returns its name:
                see `keras_osnet.export.graph.Node`. Besides its ops there is "multiply", by a positive constant of each
                channel: weights {"factor": (C,)}.
            name: of the operation, or prefix of those of several.
            source: name of the operation before, or a list of them.

        Returns:
            the name of the last operation.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `operations` to be exported.")

    def make(self, input_shape):
        """Creates the parts that depend on the shape of the input. Default: none do."""

    def build(self, input_shape):
        self.make(input_shape)
        self.flow(symbolic(input_shape, self.compute_dtype), build_part)
        for part in self.layers if not self.trainable else ():
            part.trainable = False  # the flag of a new layer does not reach its parts
        restore_parts(self, getattr(self, "_saved_parts", {}))

    def call(self, inputs, training=None):
        return self.flow(inputs, partial(call_part, training=training))

    @property
    def layers(self):
        """The parts, in the order of the data flow."""
        found = []
        for name in self.parts:
            part = getattr(self, name, None)
            found += part if isinstance(part, (list, tuple)) else [part]
        return [layer for layer in found if layer is not None]

    get_layer = keras.Model.get_layer

    def __dir__(self):
        # Keras saves the weights of a part under the first attribute in alphabetical order that holds it. `layers`
        # must not be that attribute: it would rename the weights in the files.
        return [name for name in super().__dir__() if name != "layers"]

    def get_config(self):
        changed = changed_parts(self) if self.built else getattr(self, "_saved_parts", {})
        return super().get_config() | ({"changed_parts": {k: dict(v) for k, v in changed.items()}} if changed else {})

    @classmethod
    def from_config(cls, config):
        settings = {name: value for name, value in config.items() if name != "changed_parts"}
        layer = cls(**settings)
        layer._saved_parts = config.get("changed_parts", {})  # most parts do not exist before `build`
        return layer


def symbolic(shape, dtype):
    """A symbolic tensor of a shape, or the same structure of them."""
    return keras.tree.map_shape_structure(lambda each: keras.KerasTensor(each, dtype), shape)


def shape_of(inputs):
    """The shape of a tensor, or the same structure of them."""
    return keras.tree.map_structure(lambda each: tuple(each.shape), inputs)


def call_part(layer, inputs, training=None):
    """Calls a layer. As `run` of `flow` it computes the output."""
    return layer(inputs, training=training)


def build_part(layer, inputs):
    """Builds a layer for symbolic inputs and returns its symbolic output. As `run` of `flow` it builds all parts."""
    if not layer.built:
        layer.build(shape_of(inputs))
    return symbolic(layer.compute_output_shape(shape_of(inputs)), layer.compute_dtype)


def changed_parts(layer):
    """How layers at any depth differ from the one that holds each: path -> trainable, dtype, quantization_config."""
    found = {}
    for part in getattr(layer, "layers", ()):
        if isinstance(part, keras.layers.InputLayer):
            continue
        state = {"trainable": part.trainable} if part.trainable != layer.trainable else {}
        policy = keras.dtype_policies.serialize(part.dtype_policy)
        if policy != keras.dtype_policies.serialize(layer.dtype_policy):
            state["dtype"] = policy
        if getattr(part, "quantization_config", None) is not None:
            state["quantization_config"] = keras.saving.serialize_keras_object(part.quantization_config)
        if state:
            found[part.name] = state
        found |= {f"{part.name}/{path}": inner for path, inner in changed_parts(part).items()}
    return found


def restore_parts(layer, changed):
    """Gives the layers inside a built one the states that `changed_parts` returned."""
    for path in sorted(changed, key=lambda path: path.count("/")):  # a flag reaches the parts below, which come later
        part = layer
        for name in path.split("/"):
            part = part.get_layer(name)
        state = changed[path]
        if "trainable" in state:
            part.trainable = state["trainable"]
        if "quantization_config" in state:
            part.quantize(config=keras.saving.deserialize_keras_object(state["quantization_config"]))
        elif "dtype" in state:
            part.dtype_policy = keras.dtype_policies.get(state["dtype"])


def freeze_alike(layer, other, left_out=()):
    """Freezes the layers inside a built one as those of the same names in another one, except some at the top."""
    for part in other.layers:
        if part.name not in left_out:
            layer.get_layer(part.name).trainable = part.trainable
    flags = {path: {"trainable": state["trainable"]} for path, state in changed_parts(other).items()
             if "trainable" in state and path.split("/")[0] not in left_out}  # fmt: skip
    restore_parts(layer, flags)
