"""Workers and their replicas: which one this process is, and values and inference on all of them."""

import numpy as np
import tensorflow as tf


def worker_of(strategy):
    """Returns (index, count) of this process among the workers. Worker 0 is the chief."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict()
    before = len(jobs.get("chief", ())) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(len(jobs.get(job, ())) for job in ("chief", "worker"))


def is_chief(strategy):
    """Returns whether this process is the chief, which writes all files."""
    return worker_of(strategy)[0] == 0


def own_slice(strategy, count):
    """Returns the slice of `count` images that this worker computes. The workers' slices in order are all images."""
    index, workers = worker_of(strategy)
    each = -(-count // workers)
    return slice(min(index * each, count), min((index + 1) * each, count))


def gathered(strategy, rows):
    """Concatenates each worker's rows (n, ...) in the order of the workers. Every worker has to call it."""
    _, workers = worker_of(strategy)
    if workers == 1:
        return rows
    local, kind = strategy.num_replicas_in_sync // workers, rows.dtype
    rows = rows.astype("int64") if kind.kind == "b" else rows  # TensorFlow does not gather booleans

    def value(context):
        first = context.replica_id_in_sync_group % local == 0
        return tf.constant(rows if first else rows[:0])

    values = strategy.experimental_distribute_values_from_function(value)
    return strategy.gather(values, axis=0).numpy().astype(kind)


def average_statistics(network):
    """Sets the running statistics of all replicas to their mean, which a saved network holds.

    Every worker has to call it before its first batch: workers may differ in their number of batches.
    """
    for variable in network.variables:
        if variable.synchronization == "on_read":
            variable.assign(np.asarray(variable))


def compile_on_replicas(network, strategy):
    """Returns a function from a batch (n, H, W, 3) to the network's outputs, as arrays.

    The batch is spread over this worker's replicas. A batch shorter than an earlier one is padded to its length.
    """
    _, workers = worker_of(strategy)
    local, size = strategy.num_replicas_in_sync // workers, 0

    @tf.function(autograph=False)
    def compute(batch):
        return strategy.run(lambda images: network(images, training=False), (batch,))

    def predict(batch):
        nonlocal size
        count = len(batch)
        size = max(size, -(-count // local) * local)
        parts = np.split(np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), batch.dtype)]), local)
        values = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % local])
        )

        def gathered_here(rows):
            return np.concatenate([part.numpy() for part in strategy.experimental_local_results(rows)])[:count]

        return tf.nest.map_structure(gathered_here, compute(values))

    return predict
