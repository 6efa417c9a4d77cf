"""The outputs of a network by JAX."""

import numpy as np


class JaxFunction:
    """The outputs of a network with its current weights, by programs for 1, 2, 4, ... images.

    JAX compiles each batch size anew, for seconds. Batches are padded to the next power of two.
    """

    def __init__(self, network):
        self._network, self._programs = network, {}

    def __call__(self, batch):
        weights = self.weights()
        return run(self.program(padded_size(batch), weights), weights, batch)

    def weights(self):
        """The values of all variables, in an order that freezing layers does not change."""
        return [variable.value for variable in self._network.variables]

    def program(self, size, weights):
        """The program for a number of images and for weights of these types: `quantize` changes them."""
        key = size, tuple((weight.shape, weight.dtype) for weight in weights)
        if key not in self._programs:
            self._programs[key] = self._compiled(size, weights)
        return self._programs[key]

    def _compiled(self, size, weights):
        import jax

        network, places = self._network, {id(variable): i for i, variable in enumerate(self._network.variables)}
        parts = network.trainable_variables, network.non_trainable_variables
        trainable, others = ([places[id(variable)] for variable in part] for part in parts)

        def outputs(weights, images):
            values = [weights[i] for i in trainable], [weights[i] for i in others]
            return network.stateless_call(*values, images, training=False)[0]

        # XLA's optimization makes batches 15 % faster, and a single image not; without it, the first is there earlier.
        options = {"xla_backend_optimization_level": 0} if size == 1 else None
        images = jax.ShapeDtypeStruct((size, *network.inputs[0].shape[1:]), "float32")
        return jax.jit(outputs, compiler_options=options).lower(weights, images).compile()


def padded_size(batch):
    return 1 << (len(batch) - 1).bit_length()


def run(program, weights, batch):
    """Returns the outputs of a batch by the program for its padded size: dict of NumPy arrays (n, length)."""
    padding = np.zeros((padded_size(batch) - len(batch), *batch.shape[1:]), batch.dtype)
    outputs = program(weights, np.concatenate([batch, padding]))
    return {name: np.asarray(rows)[: len(batch)] for name, rows in outputs.items()}
