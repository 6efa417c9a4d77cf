"""Trains on one device and on two replicas, whole and resumed, and prints as JSON how far the results differ.

python replicas_against_one.py FOLDER
"""

# ruff: noqa: E402 (TensorFlow is set up before the package is imported)

import json
import sys
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

tf.config.experimental.enable_op_determinism()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_osnet import OSNet
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.pipeline import training_batches
from keras_osnet.layers import ConvNorm
from keras_osnet.losses import BatchHardTriplet, LabelSmoothedCrossEntropy, WeightedSum, with_objective
from keras_osnet.optimizers import SGD, AMSGrad, StepSchedule
from keras_osnet.training.execution import synchronize_norms
from keras_osnet.training.loop import train
from keras_osnet.training.settings import Execution, Numerics
from tests.training.small import convolutional

folder, result = sys.argv[1], {}
rng = np.random.default_rng(0)
paths, labels = [], np.arange(13) % 3
for i, label in enumerate(labels):
    paths.append(f"{folder}/{i:02d}.png")
    pixels = rng.integers(0, 128, (40, 20, 3)) + 127 * np.eye(3, dtype=int)[label]
    Image.fromarray(pixels.astype("uint8")).save(paths[-1])


def convolutions():
    layers = [
        ConvNorm(6, 3, name="conv"),
        keras.layers.GlobalMaxPooling2D(name="pool"),
        keras.layers.Dense(3, name="classifier"),
    ]
    return keras.Sequential([keras.Input((32, 16, 3)), *layers], name="net")


def osnet():
    model = OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)
    synchronize_norms(model)
    return model


def run(work_dir, network, epochs, batches, rate, strategy=None, callbacks=(), loss=None):
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        model, optimizer = network(), SGD(rate, momentum=0.9, l2=5e-4, nesterov=True)
    history = train(
        model, lambda first_step: batches(first_step), loss=loss or LabelSmoothedCrossEntropy(0.1),
        optimizer=optimizer, epochs=epochs,
        steps_per_epoch=3, work_dir=f"{folder}/{work_dir}", strategy=strategy, callbacks=callbacks,
    )  # fmt: skip
    timed = ("seconds", "images_per_second", "waiting")
    return state_of(model), [{k: v for k, v in line.items() if k not in timed} for line in history]


def state_of(model):
    return {v.path: np.asarray(v) for v in model.variables}


def difference(first, second, part=""):
    return max(float(np.abs(value - second[name]).max()) for name, value in first.items() if part in name)


def from_files(epochs):
    settings = Augmentation(flip=0.5, crop=0.5, erase=0.5)
    return lambda first_step: training_batches(
        paths, labels, size=(32, 16), batch_size=4, augmentation=settings, seed=5, epochs=epochs, first_step=first_step
    )


falling = StepSchedule(0.05, 3, (2,), warmup_epochs=0.5)
whole, whole_history = run("whole", convolutions, 4, from_files(4), falling)
half, _ = run("parts", convolutions, 2, from_files(2), falling)
parts, parts_history = run("parts", convolutions, 4, from_files(4), falling)
result["resumed"], result["last two epochs"] = difference(whole, parts), difference(whole, half)
result["the same history"] = whole_history == parts_history

keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")  # so that only rounding of 1e-16 tells one device from two
images = rng.normal(size=(12, 32, 16, 3)) + 2 * np.eye(3)[labels[:12]][:, None, None]
data = tf.data.Dataset.from_tensor_slices((images, labels[:12].astype("int32"))).batch(4, drop_remainder=True)
rate, states = keras.optimizers.schedules.ExponentialDecay(0.02, 9, 0.5), []


class Keep(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        states.append(state_of(self.model))


one, one_history = run("one", osnet, 8, data.repeat().skip, rate, callbacks=[Keep()])
again, _ = run("one", osnet, 8, data.repeat().skip, rate)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two, two_history = run("two", osnet, 1, data.skip, rate, strategy)
result["losses"], result["accuracy"] = [line["loss"] for line in one_history], one_history[-1]["accuracy"]
result["read back"] = difference(one, again)
result["dtypes"] = sorted({str(v.dtype) for v in two.values()})
result["replicas"] = difference(states[0], two)
result["running statistics of replicas"] = difference(states[0], two, "moving")
result["logs of replicas"] = [abs(one_history[0][k] - two_history[0][k]) for k in ("loss", "accuracy")]
calls = []
called, called_history = run("called", convolutions, 5, data.repeat().skip, rate, strategy, callbacks=[
    keras.callbacks.EarlyStopping("loss", mode="max", patience=1),  # takes a loss that falls for one that gets worse
    keras.callbacks.ModelCheckpoint(f"{folder}/kept.keras"),
    keras.callbacks.TensorBoard(f"{folder}/board"),
    keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: calls.append((epoch, logs["loss"]))),
])  # fmt: skip
result["called"], result["epochs"] = calls, [line["loss"] for line in called_history]
kept = state_of(keras.models.load_model(f"{folder}/kept.keras")).values()
result["kept"] = max(float(np.abs(a - b).max()) for a, b in zip(kept, called.values(), strict=True))


class Alone(BatchHardTriplet):
    whole_batch = False


def joint():
    network = convolutional((32, 16), 8)
    outputs = {"features": network.output, "logits": keras.layers.Dense(3, name="classifier")(network.output)}
    model = keras.Model(network.input, outputs)
    synchronize_norms(model)
    return model


def with_triplets(triplet):
    return WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits"), (0.7, triplet, "features")])


alike = data.map(lambda images, labels: (images, labels % 2))  # two of each identity, on whichever replica
mined = with_triplets(BatchHardTriplet(5.0))
one_mined, _ = run("mined one", joint, 1, alike.skip, 0.002, loss=mined)
two_mined, _ = run("mined two", joint, 1, alike.skip, 0.002, strategy, loss=mined)
two_alone, _ = run("alone", joint, 1, alike.skip, 0.002, strategy, loss=with_triplets(Alone(5.0)))
result["mining of replicas"] = difference(one_mined, two_mined)
result["mining of each replica alone"] = difference(one_mined, two_alone)


def plain():
    classifier = keras.layers.Dense(3, kernel_regularizer="l2", name="classifier")
    layers = [keras.layers.AveragePooling2D(8), keras.layers.Flatten(), classifier]
    return keras.Sequential([keras.Input((32, 16, 3)), *layers], name="plain")


def in_bfloat16():
    """Logits and features in half precision, and a head that no loss uses."""
    image, half = keras.Input((32, 16, 3)), {"dtype": "mixed_bfloat16"}
    features = keras.layers.Flatten(**half)(keras.layers.AveragePooling2D(8, **half)(image))
    sizes = {"logits": 3, "unused": 2}
    heads = {name: keras.layers.Dense(size, name=name, **half)(features) for name, size in sizes.items()}
    return keras.Model(image, {"features": features, **heads})


PAIRS = WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits"), (1.0, BatchHardTriplet(), "features")])
# Two epochs in each way, on one device and on two replicas: how far their ends are apart, and from the start.
sgd = partial(SGD, 0.02, momentum=0.9, l2=5e-4)
averaged = partial(sgd, use_ema=True, ema_momentum=0.9)
WAYS = {
    "in pieces": (Numerics(accumulate=2), Execution(), sgd),
    "compiled": (Numerics(), Execution(jit=True), sgd),
    "clipped": (Numerics(clip_norm=0.1), Execution(), sgd),
    "averaged": (Numerics(ema=0.9), Execution(), averaged),
    "all four": (Numerics(accumulate=2, clip_norm=0.1, ema=0.9), Execution(jit=True), averaged),
    "AMSGrad": (Numerics(), Execution(), partial(AMSGrad, 0.02, l2=5e-4)),
}
SCALED = Numerics(), Execution(), lambda: keras.optimizers.LossScaleOptimizer(sgd())


def both(name, way, data=data, model_of=plain, loss=LabelSmoothedCrossEntropy(0.1)):  # noqa: B008
    """[difference of one device and two replicas, of start and end], and the loss scale."""
    ends, (numerics, execution, make) = [], way
    for chosen in (None, strategy):
        keras.utils.set_random_seed(1)
        with (chosen or tf.distribute.get_strategy()).scope():
            model, optimizer = model_of(), make()
        before = state_of(model)
        train(
            model, lambda first_step: data.repeat().skip(first_step), loss=loss, optimizer=optimizer, epochs=2,
            steps_per_epoch=3, work_dir=f"{folder}/{name} {len(ends)}", strategy=chosen, numerics=numerics,
            execution=execution,
        )  # fmt: skip
        ends.append(state_of(model))
    return [difference(*ends), difference(before, ends[0])], float(np.asarray(getattr(optimizer, "dynamic_scale", 0)))


def regularised(chosen):
    """A weight of 1 after a step of size 1 that only its regularisation, .1 w^2, moves."""
    with (chosen or tf.distribute.get_strategy()).scope():
        image = keras.Input((2,))
        dense = keras.layers.Dense(3, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.1))
        model, loss = with_objective(keras.Model(image, dense(image)), 2)
        model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    model.get_layer("classifier").kernel.assign(np.zeros((3, 2)))
    model.fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]), batch_size=4, verbose=0, shuffle=False)
    return float(np.asarray(dense.kernel)[0, 0])


def with_an_empty_replica():
    """Whether all variables are finite after 5 images in batches of 4: one replica gets none of the last batch."""
    with strategy.scope():
        model = convolutions()
        model.compile(keras.optimizers.SGD(0.0), LabelSmoothedCrossEntropy(0.1), jit_compile=False)
    model.fit(images[:5], labels[:5], batch_size=4, verbose=0, shuffle=False)
    return all(np.isfinite(value).all() for value in state_of(model).values())


result["regularised"], result["finite"] = [regularised(None), regularised(strategy)], with_an_empty_replica()
result["ways"] = {name: both(name, way)[0] for name, way in WAYS.items()}
result["clipped pairs"] = both("clipped pairs", WAYS["clipped"], model_of=in_bfloat16, loss=PAIRS)[0]
# In 16 bits the gradient of an image with large values overflows, on one of the replicas: both must leave the step out.
keras.config.set_dtype_policy("mixed_float16")
large = images.astype("float32")
large[3] *= 200
halves = tf.data.Dataset.from_tensor_slices((large, labels[:12].astype("int32"))).batch(4, drop_remainder=True)
differences, scale = both("16 bits", SCALED, halves)
result["16 bits"] = [*differences, scale]
print(json.dumps(result))
