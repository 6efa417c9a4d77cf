"""What a network gives for many pictures, computed on all replicas of all workers."""

import numpy as np
import tensorflow as tf

from keras_osnet.training.strategies import worker_of


def own_share(strategy, count):
    """The slice of `count` pictures that this worker computes; the workers' slices in order are all of them."""
    index, workers = worker_of(strategy)
    each = -(-count // workers)
    return slice(min(index * each, count), min((index + 1) * each, count))


def gathered(strategy, rows):
    """The rows (n, ...) of all workers in order, given each worker's own; every worker has to call it."""
    _, workers = worker_of(strategy)
    if workers == 1:
        return rows
    local, kind = strategy.num_replicas_in_sync // workers, rows.dtype
    rows = rows.astype("int64") if kind.kind == "b" else rows  # which TensorFlow does not gather

    def of(context):
        first = context.replica_id_in_sync_group % local == 0
        return tf.constant(rows if first else rows[:0])

    values = strategy.experimental_distribute_values_from_function(of)
    return strategy.gather(values, axis=0).numpy().astype(kind)


def share_statistics(network):
    """Gives all replicas the mean of their running statistics, as a saved network has it.

    Every worker has to call it, once before it computes its share: shares differ in their number of batches.
    """
    for variable in network.variables:
        if variable.synchronization == "on_read":
            variable.assign(np.asarray(variable))


def predictor(network, strategy):
    """A function from a batch of pictures, an (n, H, W, 3) array, to what the network gives for it.

    The batch is spread over this worker's replicas; shorter ones are filled up to the longest so far.
    """
    _, workers = worker_of(strategy)
    local, size = strategy.num_replicas_in_sync // workers, 0

    @tf.function
    def compute(batch):
        return strategy.run(lambda pictures: network(pictures, training=False), (batch,))

    def predict(batch):
        nonlocal size
        count = len(batch)
        size = max(size, -(-count // local) * local)
        batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), batch.dtype)])
        parts = np.split(batch, local)
        values = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % local])
        )
        return np.concatenate([part.numpy() for part in strategy.experimental_local_results(compute(values))])[:count]

    return predict
