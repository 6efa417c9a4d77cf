"""What a network gives for many pictures, computed on all replicas of all workers."""

import numpy as np
import tensorflow as tf

from keras_osnet.strategies import worker_of


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
    local = strategy.num_replicas_in_sync // workers

    def of(context):
        first = context.replica_id_in_sync_group % local == 0
        return tf.constant(rows if first else rows[:0])

    return strategy.gather(strategy.experimental_distribute_values_from_function(of), axis=0).numpy()


def predictor(network, strategy):
    """A function from a batch of pictures, an (n, H, W, 3) array, to what the network gives for it.

    The batch is spread over this worker's replicas; the first batch's size is that of all, shorter ones are filled up.
    """
    _, workers = worker_of(strategy)
    local, size = strategy.num_replicas_in_sync // workers, 0

    # Replicas have running statistics of their own while they train: here, as in a saved network, their mean.
    norms = [variable for variable in network.variables if variable.synchronization == "on_read"]

    @tf.function
    def compute(batch):
        return strategy.run(lambda pictures: network(pictures, training=False), (batch,))

    def predict(batch):
        nonlocal size
        for variable in norms:
            variable.assign(np.asarray(variable))
        count, size = len(batch), size or -(-len(batch) // local) * local
        batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), batch.dtype)])
        parts = np.split(batch, local)
        values = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % local])
        )
        return np.concatenate([part.numpy() for part in strategy.experimental_local_results(compute(values))])[:count]

    return predict
