"""One optimiser step on a global batch, on every replica of a strategy."""

from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf

from keras_osnet.layers.convolution import on_cpus
from keras_osnet.training.execution import Execution


def right_class(labels, outputs):
    """1 for each picture whose largest logit is its label's, else 0."""
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return tf.cast(tf.argmax(logits, 1, labels.dtype) == labels, "float32")


def check_loss(loss, strategy, execution):
    """Refuses what no step can be made of.

    Raises:
        ValueError: if the loss mines the whole batch, and the batch is to be taken in parts or compiled by XLA over
            several replicas.
    """
    if not getattr(loss, "whole_batch", False):
        return
    if execution.accumulate > 1:
        raise ValueError(
            f"`accumulate` must be 1 for a loss that mines the whole batch. Received: accumulate={execution.accumulate}"
        )
    if strategy.num_replicas_in_sync > 1 and execution.jit:
        raise ValueError("`jit` must be False for a loss that mines the whole batch over several replicas.")


def train_step_function(
    model, loss, optimizer, strategy, *, head=None, accuracy=right_class, execution=Execution()  # noqa: B008
):  # fmt: skip
    """Makes the function that takes one optimiser step on a global batch.

    Args:
        model: network that gives logits, or a dict of outputs with "logits" among them.
        loss: `keras.losses.Loss` whose `call` gives one value per picture.
        optimizer: Keras optimiser, built.
        strategy: `tf.distribute.Strategy` in whose scope model and optimiser were made.
        head: names of the only layers to train; the network runs as in inference then. Default: all are trained.
        accuracy: function of labels and outputs that gives one number per picture.
        execution: `Execution`; of it `jit`, `accumulate` and `clip_norm`.

    Returns:
        function of (pictures, labels, wishes) that gives [mean loss, share of right answers, number of pictures, sums
        of the wishes over all replicas]. Wishes are float64 numbers by which the workers agree on something.

    Raises:
        ValueError: as `check_loss`.
    """
    layers = [model] if head is None else [model.get_layer(name) for name in head]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    replicas, parts = strategy.num_replicas_in_sync, execution.accumulate
    mines = getattr(loss, "whole_batch", False)
    gathers, scales = mines and replicas > 1, isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    # Whether a gradient is too large, or overflows, is to be asked of the sum, so that all replicas do the same.
    together = replicas > 1 and (execution.clip_norm or scales)
    check_loss(loss, strategy, execution)

    def gradients_of(pictures, labels, batch):
        with tf.GradientTape() as tape:
            outputs = model(pictures, training=head is None)
            if gathers:
                everyones = keras.tree.map_structure(partial(_gather, tf.distribute.get_replica_context()), outputs)
                # Every replica computes the loss of the whole batch: a share each, so that their sum is that loss.
                values = loss.call(tf.distribute.get_replica_context().all_gather(labels, 0), everyones) / replicas
            else:
                values = loss.call(labels, outputs)
            value = tf.reduce_sum(values) / tf.cast(batch, values.dtype)
            scaled = optimizer.scale_loss(value)
        right = tf.reduce_sum(tf.cast(accuracy(labels, outputs), value.dtype)) / tf.cast(batch, value.dtype)
        return [value, right, *tape.gradient(scaled, [variable.value for variable in variables])]

    compute = tf.function(gradients_of, autograph=False, jit_compile=True) if execution.jit else gradients_of

    def in_parts(pictures, labels, batch):
        """Part by part, each in the memory of the one before."""
        pictures, labels = (tf.reshape(x, (parts, -1, *x.shape[1:])) for x in (pictures, labels))
        nothing = [tf.zeros((), variables[0].dtype)] * 2 + [tf.zeros_like(variable.value) for variable in variables]
        _, *sums = tf.while_loop(
            lambda part, *_: part < parts,
            lambda part, *sums: (part + 1, *map(tf.add, sums, compute(pictures[part], labels[part], batch))),
            (0, *nothing),
            parallel_iterations=1,
        )
        return sums

    def replica_step(pictures, labels, wishes):
        context = tf.distribute.get_replica_context()
        own = tf.cast(tf.shape(pictures)[0], "float32")
        # Counted, not multiplied: replicas get unequal shares of a batch that they do not divide.
        batch = context.all_reduce("SUM", own)
        value, right, *gradients = (in_parts if parts > 1 else compute)(pictures, labels, batch)
        if together:
            gradients = context.all_reduce("SUM", list(gradients))
        if execution.clip_norm:
            limit = execution.clip_norm * (optimizer.dynamic_scale.value if scales else 1.0)
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        if together:
            gradients = [gradient / replicas for gradient in gradients]
        optimizer.apply(gradients, variables)  # sums them over replicas
        return tf.concat([tf.cast(tf.stack([value, right]), "float64"), [tf.cast(own, "float64")], wishes], 0)

    @tf.function(autograph=False)  # nothing to convert, and looking for it takes a sixth of the tracing
    def step(pictures, labels, wishes):
        return strategy.reduce("SUM", strategy.run(replica_step, (pictures, labels, wishes)), axis=None)

    def quickly_begun_step(pictures, labels, wishes):
        with _without_graph_passes():
            return step(pictures, labels, wishes)

    return quickly_begun_step if on_cpus() else step


@contextmanager
def _without_graph_passes():
    """TensorFlow's passes over a graph take 3 s of a first step, and bring OSNet's training nothing without a GPU.

    They do bring something to scoring, and what a function was first called with goes with each of its calls.
    """
    optimizer, name = tf.config.optimizer, "disable_meta_optimizer"
    before = optimizer.get_experimental_options()[name]
    optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        optimizer.set_experimental_options({name: before})


def _gather(context, output):
    """An output of all replicas, which `all_gather` gives without its static shape."""
    return tf.ensure_shape(context.all_gather(output, 0), (None, *output.shape[1:]))
