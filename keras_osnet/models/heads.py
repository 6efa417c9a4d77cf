"""What follows the last map: the embedding."""

import keras
from keras import ops

from keras_osnet.layers import BatchNorm


@keras.saving.register_keras_serializable(package="keras_osnet")
class Embedding(keras.layers.Layer):
    """Fully connected layer that makes the feature: dense (with bias) -> BN -> ReLU.

    f = ReLU(BN(W x + b)), computed and returned in the policy's variable dtype (float32 under mixed precision).

    Args:
        units: length of the feature. 512 in the paper, at every width.

    Input shape: (B, C). Output shape: (B, units), non-negative, not L2-normalised.

    Reference: paper, Table 1 (fc) and Section 4.1 ("512-D feature vectors extracted from the last FC layer").
    """

    def __init__(self, units=512, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.norm = BatchNorm(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((input_shape[0], self.units))

    def call(self, inputs, training=None):
        return ops.relu(self.norm(self.dense(inputs), training=training))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
