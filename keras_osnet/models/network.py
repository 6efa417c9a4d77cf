"""What the package's trainable models share."""

import keras

# Modes of `quantize` whose result comes back from a file.
QUANTIZATIONS = ("int8", "int4", "float8")


class Network(keras.Model):
    """Functional model whose training step is traced once, and which is quantized only as it can be saved."""

    def make_train_function(self, force=False):
        # TensorFlow traces a step twice if the optimiser creates its variables in it. `fit` with Adam took twice as
        # long to its first step.
        if self.optimizer is not None and not self.optimizer.built and self.trainable_variables:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force=force)

    def quantize(self, mode=None, config=None, **kwargs):
        """Quantizes the dense layers, as `keras.Model.quantize` does. The convolutions stay as they are.

        Raises:
            ValueError: for another mode than "int8", "int4" and "float8". Nothing is changed.
        """
        found = getattr(config, "mode", mode)
        if found not in QUANTIZATIONS:
            raise ValueError(f"`mode` must be one of {list(QUANTIZATIONS)}. Received: mode={found!r}")
        # Keras before 3.12 has no `config`.
        super().quantize(mode, **kwargs, **({} if config is None else {"config": config}))
