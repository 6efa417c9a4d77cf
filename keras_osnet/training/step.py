"""The training step: one update of the optimizer on a global batch, on every replica of a strategy."""

from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf

from keras_osnet.layers.norms import on_cpus
from keras_osnet.losses.base import class_indices
from keras_osnet.training.settings import Execution, Numerics


def correct_class(labels, outputs):
    """Returns 1 for each image whose label has the largest logit, else 0."""
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return tf.cast(tf.argmax(logits, 1, "int32") == tf.cast(class_indices(labels), "int32"), "float32")


def check_loss(loss, strategy, numerics, execution):
    """Refuses settings that a loss over the whole batch does not allow.

    Raises:
        ValueError: if the loss compares the images of the batch, and the batch is split into pieces, or XLA compiles
            the step of several replicas.
    """
    if not getattr(loss, "whole_batch", False):
        return
    if numerics.accumulate > 1:
        raise ValueError(
            f"`accumulate` must be 1 for a loss that mines the whole batch. Received: accumulate={numerics.accumulate}"
        )
    if strategy.num_replicas_in_sync > 1 and execution.jit:
        raise ValueError("`jit` must be False for a loss that mines the whole batch over several replicas.")


def train_step_function(
    model, loss, optimizer, strategy, *, head=None, accuracy=correct_class,
    numerics=Numerics(), execution=Execution(),  # noqa: B008
):  # fmt: skip
    """Returns the function that updates the weights on a global batch.

    Args:
        model: network that returns logits, or a dict of outputs with "logits" among them.
        loss: `keras.losses.Loss` whose `call` returns one value per image.
        optimizer: Keras optimizer, built.
        strategy: `tf.distribute.Strategy` in whose scope model and optimizer were created.
        head: names of the layers to train. The network then runs in inference mode. Default: all layers.
        accuracy: function of labels and outputs that returns one value per image.
        numerics: `Numerics`; its `accumulate` and `clip_norm` are used.
        execution: `Execution`; its `jit` is used.

    Returns:
        function of (images, labels, requests) that returns [mean loss, fraction of correct predictions, number of
        images, sums of the requests over all replicas]. Requests are float64 values with which the workers agree on a
        checkpoint or a stop.

    Raises:
        ValueError: as `check_loss`; if `head` is a single name, or `accumulate` does not divide a replica's images.
    """
    if isinstance(head, str):  # its letters are no layers
        raise ValueError(f"`head` must be a list of names of layers. Received: head={head!r}")
    layers = [model] if head is None else [model.get_layer(name) for name in head]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    replicas, pieces = strategy.num_replicas_in_sync, numerics.accumulate
    mines = getattr(loss, "whole_batch", False)
    gathers, scales = mines and replicas > 1, isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    # Clipping and loss scaling need the norm of the summed gradient, so that all replicas do the same.
    sums_first = replicas > 1 and (numerics.clip_norm or scales)
    check_loss(loss, strategy, numerics, execution)
    apply = _apply_function(optimizer, variables) if replicas == 1 else None

    def gradients_of(images, labels, batch):
        with tf.GradientTape() as tape:
            outputs = model(images, training=head is None)
            if gathers:
                gathered = keras.tree.map_structure(partial(_gather, tf.distribute.get_replica_context()), outputs)
                # Every replica computes the loss of the whole batch. Divided, their sum is that loss.
                values = loss.call(tf.distribute.get_replica_context().all_gather(labels, 0), gathered) / replicas
            else:
                values = loss.call(labels, outputs)
            value = tf.reduce_sum(values) / tf.cast(batch, values.dtype)
            for added in model.losses:  # of regularizers: a share of each, since values are summed
                value += tf.reduce_sum(tf.cast(added, value.dtype)) / (replicas * pieces)
            scaled = optimizer.scale_loss(value)
        correct = tf.reduce_sum(tf.cast(accuracy(labels, outputs), value.dtype)) / tf.cast(batch, value.dtype)
        return [value, correct, *tape.gradient(scaled, [variable.value for variable in variables])]

    compute = tf.function(gradients_of, autograph=False, jit_compile=True) if execution.jit else gradients_of

    def in_pieces(images, labels, batch):
        """Computes one piece after the other, so that the pieces share their memory."""
        if (images.shape[0] or 0) % pieces:
            raise ValueError(f"`accumulate` must divide the {images.shape[0]} images. Received: accumulate={pieces}")
        images, labels = (tf.reshape(x, (pieces, -1, *x.shape[1:])) for x in (images, labels))
        exact = keras.backend.result_type(variables[0].dtype, "float32")  # a loss may be in half precision
        nothing = [tf.zeros((), exact)] * 2 + [tf.zeros_like(variable.value) for variable in variables]
        unused = set()  # places of the weights that the loss does not use: they have no gradient

        def added(piece, *sums):
            parts = compute(images[piece], labels[piece], batch)
            unused.update(place for place, part in enumerate(parts) if part is None)
            pairs = zip(sums, parts, strict=True)
            return piece + 1, *(total if part is None else total + tf.cast(part, total.dtype) for total, part in pairs)

        _, *sums = tf.while_loop(
            lambda piece, *_: piece < pieces,
            added,
            (0, *nothing),
            parallel_iterations=1,
        )
        return [None if place in unused else total for place, total in enumerate(sums)]

    def replica_step(images, labels, requests):
        context = tf.distribute.get_replica_context()
        own = tf.cast(tf.shape(images)[0], "float32")
        # Summed: the parts are unequal if the replicas do not divide the batch.
        batch = context.all_reduce("SUM", own) if replicas > 1 else own
        value, correct, *gradients = (in_pieces if pieces > 1 else compute)(images, labels, batch)
        updated = variables
        if sums_first:
            # A weight that the loss does not use has no gradient.
            updated = [v for v, gradient in zip(variables, gradients, strict=True) if gradient is not None]
            gradients = context.all_reduce("SUM", [gradient for gradient in gradients if gradient is not None])
        if numerics.clip_norm:
            limit = numerics.clip_norm * (optimizer.dynamic_scale.value if scales else 1.0)
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        if sums_first:
            gradients = [gradient / replicas for gradient in gradients]
        if tf.distribute.has_strategy():
            optimizer.apply(gradients, updated)  # sums them over replicas
        else:
            apply(gradients)
        return tf.concat([tf.cast(tf.stack([value, correct]), "float64"), [tf.cast(own, "float64")], requests], 0)

    @tf.function(autograph=False)  # AutoGraph has nothing to convert and takes a sixth of the tracing
    def step(images, labels, requests):
        return strategy.reduce("SUM", strategy.run(replica_step, (images, labels, requests)), axis=None)

    return step


def _apply_function(optimizer, variables):
    """Returns the `tf.function` of gradients that updates the variables, the same one for the same settings.

    Keras calls `all_reduce` without a strategy too. TensorFlow registers its gradient for ever, and with it the graph
    in which it is called. That graph is this one, traced once, and not the whole step of each round of an adaptation.
    """
    functions, settings = optimizer.__dict__.setdefault("apply_functions", {}), optimizer.get_config()
    update = settings["inner_optimizer"]["config"] if "inner_optimizer" in settings else settings
    if isinstance(update.get("learning_rate"), float):
        del update["learning_rate"]  # a variable, which the graph reads
    key = repr(settings), *map(id, variables)
    if key not in functions:
        functions[key] = tf.function(lambda gradients: optimizer.apply(gradients, variables), autograph=False)
    return functions[key]


@contextmanager
def quick_start():
    """Within the block, TensorFlow does not optimize the graphs of training steps on CPUs.

    That takes 3 s of the first step and does not speed up OSNet's training on CPUs. It does speed up inference.
    The option must be the same in every call of a function, so that all steps run within this block.
    """
    if not on_cpus("tensorflow"):
        yield
        return
    optimizer, name = tf.config.optimizer, "disable_meta_optimizer"
    before = optimizer.get_experimental_options().get(name, False)
    optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        optimizer.set_experimental_options({name: before})


def _gather(context, output):
    """Gathers an output from all replicas, and restores the static shape that `all_gather` loses.

    TensorFlow gathers no bfloat16.
    """
    rows = tf.cast(output, "float32") if output.dtype == "bfloat16" else output
    return tf.cast(tf.ensure_shape(context.all_gather(rows, 0), (None, *output.shape[1:])), output.dtype)
