"""What follows the last map: the embedding, and the layers that losses need after it in training."""

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import count, known, number
from keras_osnet.layers.composite import Composite, call_part
from keras_osnet.layers.initial import Normal
from keras_osnet.layers.norms import BatchNorm, array_of


def full_precision(dtype):
    """The variable dtype of a policy, and at least float32: what follows the last map keeps its digits."""
    return keras.backend.result_type(keras.dtype_policies.get(dtype).variable_dtype, "float32")


def dense_settings(dtype=None):
    """What all dense layers after the last map have in common: weights from N(0, .01), full precision."""
    return {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01), "dtype": full_precision(dtype)}


def dense_head(classes, *, use_bias=True, dtype=None, name=None):
    """Dense layer from features to logits: (B, features) -> (B, classes)."""
    return keras.layers.Dense(classes, use_bias=use_bias, name=name, **dense_settings(dtype))


# Neck of the embedding -> whether its norm has a shift, and a ReLU follows.
NECKS = {"fc": True, "bnneck": False}


@keras.saving.register_keras_serializable(package="keras_osnet")
class GeneralizedMeanPooling(keras.layers.Layer):
    """Generalised-mean pooling over all pixels of a map, with a learned power.

    f_c = (1 / HW sum_hw max(x_hwc, epsilon)^p)^(1/p): the mean for p = 1, and towards the maximum as p grows. It is
    computed in the policy's variable dtype, and at least float32: powers of half precision would overflow.

    Args:
        power: p at the start, positive. Default 3.
        epsilon: smallest value of the map, positive: the power has no derivative at 0. Default 1e-6.

    Input shape: (B, H, W, C). Output shape: (B, C).

    Reference: Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation (TPAMI 2019), Equation 3.
    """

    def __init__(self, power=3.0, epsilon=1e-6, dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.power = number("power", power, "a positive number", lambda p: p > 0)
        self.epsilon = number("epsilon", epsilon, "a positive number", lambda e: e > 0)

    def build(self, input_shape):
        self.p = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.power), name="p")

    def call(self, inputs):
        p = ops.convert_to_tensor(self.p)
        maps = ops.maximum(ops.cast(inputs, p.dtype), self.epsilon)
        # Relative to the largest value, so that no power overflows.
        largest = ops.stop_gradient(ops.max(maps, axis=(1, 2), keepdims=True))
        means = ops.mean(ops.power(maps / largest, p), axis=(1, 2))
        return ops.squeeze(largest, axis=(1, 2)) * ops.power(means, 1 / p)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "power": self.power, "epsilon": self.epsilon}


class Neck(Composite):
    """Base of the layers that make the feature: `linear`, then `norm` and, for the neck "fc", a ReLU."""

    def linear(self, inputs, run):
        """Returns what the norm takes, (B, units). `run`: see `Composite.flow`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `linear`.")

    def flow(self, inputs, run):
        outputs = run(self.norm, self.linear(inputs, run))
        return ops.relu(outputs) if NECKS[self.neck] else outputs

    def before_norm(self, inputs):
        """The symbolic input of the norm, for a symbolic input of this layer."""
        return self(inputs, before_norm=True)  # a part that is called alone would be a second layer of a loaded model

    def call(self, inputs, training=None, before_norm=False):
        return self.linear(inputs, call_part) if before_norm else super().call(inputs, training=training)


@keras.saving.register_keras_serializable(package="keras_osnet")
class Embedding(Neck):
    """Fully connected layer that makes the feature, computed in the policy's variable dtype, and at least float32.

        fc:      f = ReLU(BN(W x + b)), the paper's
        bnneck:  f = BN(W x + b), where the norm has no shift. Losses that compare features take W x + b, before the
                 norm: `before_norm`

    Args:
        units: length of the feature. 512 in the paper, at every width.
        neck: "fc" (default) or "bnneck", a row of `NECKS`.

    Input shape: (B, C). Output shape: (B, units), not L2-normalised; non-negative for "fc".

    Reference: paper, Table 1 (fc) and Section 4.1 ("512-D feature vectors extracted from the last FC layer"); Luo et
        al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification (CVPRW 2019), Section 3.5 (BNNeck).
    """

    parts = ("dense", "norm")

    def __init__(self, units=512, neck="fc", dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.units, self.neck = count("units", units), known("neck", neck, NECKS)
        settings = dense_settings(self.dtype_policy) | {"kernel_initializer": Normal(stddev=0.01)}
        self.dense = keras.layers.Dense(units, name="dense", **settings)
        self.norm = BatchNorm(center=NECKS[neck], dtype=self.dtype_policy, name="norm")

    def linear(self, inputs, run):
        return run(self.dense, inputs)

    def operations(self, put, name, source):
        weights = self.norm.folded(array_of(self.dense.kernel), array_of(self.dense.bias))
        return put(name, "dense", source, weights=weights, relu=NECKS[self.neck])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "neck": self.neck}


def unit_vectors(vectors, axis=-1):
    """x / |x| along an axis, for vectors of any size: no square over- or underflows. 0 stays 0, with a finite gradient.

    Args:
        vectors: floating-point tensor.
        axis: along which the entries of one vector lie. Default the last.
    """
    # The direction does not depend on the size, so that dividing by a constant leaves its gradient as it is.
    largest = ops.stop_gradient(ops.max(ops.abs(vectors), axis=axis, keepdims=True))
    vectors = vectors / ops.where(largest > np.finfo("float32").tiny, largest, 1.0)
    squares = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    return vectors / ops.sqrt(ops.where(squares > 0, squares, 1.0))


class ClassLayer(keras.layers.Layer):
    """(B, features) -> one value per class, (B, classes), in the policy's variable dtype and at least float32."""

    def __init__(self, classes, dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.classes = count("classes", classes)

    def build(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(f"`features` must be (batch, features). Received: features.shape={input_shape}")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable(package="keras_osnet")
class Centers(ClassLayer):
    """Half the squared distance of a feature to a learned centre of every class, for `CenterLoss`.

    d_k = 1/2 |x - c_k|^2, never negative. Its derivative by x is x - c_k, that by c_k is gradient_scale (c_k - x).
    The centres start as N(0, 1).

    The centres are trained by the optimiser of the network, while the loss has a small weight w, often 5e-4, in the
    sum: their gradient is w gradient_scale / B sum_{i: y_i = k} (c_k - x_i) for a batch of B. With SGD of learning
    rate r and momentum u, these values of gradient_scale give known rules:

        (1 - u) / (w r)                     c_k moves by -1/B sum_i (c_k - x_i): the code of Luo et al. for ReID,
                                            which divides the centres' gradient by the weight and has an SGD of rate .5
                                            for them, on squared distances without the half; its weight is w / 2
        a B (1 - u) / ((1 + n) w r)         c_k moves by -a / (1 + n) sum_i (c_k - x_i), with n the images of class
                                            k in the batch: Wen et al., Equation 4, where a = .5. With P x K batches
                                            n = K

    r is the starting rate; the centres slow down with its schedule. Under Adam or AMSGrad the scale cancels, and the
    centres move by about r a step whatever it is. L2 decay of the optimiser reaches the centres unscaled.

    Args:
        classes: number of centres.
        gradient_scale: positive factor on the gradient of the centres alone. Default 1.

    Input shape: (B, features). Output shape: (B, classes), float32 also under a half precision policy.

    Reference: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition (ECCV 2016), Section
        3.2; Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification (CVPRW 2019).
    """

    def __init__(self, classes, gradient_scale=1.0, **kwargs):
        super().__init__(classes, **kwargs)
        self.gradient_scale = number("gradient_scale", gradient_scale, "a positive number", lambda scale: scale > 0)

    def build(self, input_shape):
        super().build(input_shape)
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.centers = self.add_weight(shape=(self.classes, input_shape[-1]), initializer=normal, name="centers")

    def call(self, inputs):
        learned = ops.convert_to_tensor(self.centers)
        fixed = ops.stop_gradient(learned)
        # From the centres' mean, which is no part of any difference: a common offset, as features after a ReLU have,
        # would cost digits.
        origin = ops.mean(fixed, axis=0)
        features = inputs - origin
        centers = fixed - origin + self.gradient_scale * (learned - fixed)
        squares = ops.sum(ops.square(features), axis=1, keepdims=True) + ops.sum(ops.square(centers), axis=1)
        halves = squares / 2 - ops.matmul(features, ops.transpose(centers))
        # Rounding may leave less than 0. Only the value is raised to 0: the derivative stays x - c.
        return halves + ops.stop_gradient(ops.relu(halves) - halves)

    def get_config(self):
        return {**super().get_config(), "gradient_scale": self.gradient_scale}


@keras.saving.register_keras_serializable(package="keras_osnet")
class CosineClassifier(ClassLayer):
    """Cosine of the angle between a feature and a learned direction of every class, for `MarginSoftmax`.

    cos(theta_k) = max_s w_ks x / (|w_ks| |x|), without bias: a class may have several directions s, so that its hard or
    mislabelled images have one of their own. Rounding may leave it a last digit beyond -1 .. 1.

    Args:
        classes: number of classes.
        directions: number of directions of each class. Default 1.

    Input shape: (B, features). Output shape: (B, classes), float32 also under a half precision policy.

    Reference: Wang et al., CosFace (CVPR 2018), Section 3.1; Deng et al., ArcFace (CVPR 2019), Section 2.1; Deng et
        al., Sub-center ArcFace (ECCV 2020), Section 3.2, for several directions.
    """

    def __init__(self, classes, directions=1, **kwargs):
        super().__init__(classes, **kwargs)
        self.directions = count("directions", directions)

    def build(self, input_shape):
        super().build(input_shape)
        normal = keras.initializers.RandomNormal(stddev=0.01)
        shape = input_shape[-1], self.classes * self.directions
        self.kernel = self.add_weight(shape=shape, initializer=normal, name="kernel")

    def call(self, inputs):
        cosines = ops.matmul(unit_vectors(inputs), unit_vectors(ops.convert_to_tensor(self.kernel), axis=0))
        return ops.max(ops.reshape(cosines, (-1, self.classes, self.directions)), axis=2)

    def get_config(self):
        return {**super().get_config(), "directions": self.directions}
