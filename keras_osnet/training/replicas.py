"""Workers and their replicas: which one this process is, and values and inference on all of them."""

from contextlib import suppress
from functools import cache

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
    return strategy.experimental_local_results(_gather_function(strategy)(values))[0].numpy().astype(kind)


def final_barrier(strategy):
    """Waits until all workers have called it: a process that ends earlier cuts off what another one still receives.

    A worker that has ended already is passed over.
    """
    with suppress(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError):
        gathered(strategy, np.array([True]))


@cache
def _gather_function(strategy):
    """Returns the function that gathers a value of each replica. `strategy.gather` traces its own in every call."""

    def own(rows):  # TensorFlow looks for the device of an op: `identity`
        return tf.distribute.get_replica_context().all_gather(tf.identity(rows), 0)

    @tf.function(autograph=False, reduce_retracing=True)
    def gather(values):
        return strategy.run(own, (values,))

    return gather


def averaging_function(network, strategy):
    """Returns the function that sets the running statistics of all replicas to their mean, as a saved network has it.

    Every worker has to call it before its first batch: workers may differ in their number of batches.
    """
    variables = [variable for variable in network.variables if variable.synchronization == "on_read"]

    def average():
        context = tf.distribute.get_replica_context()
        means = context.all_reduce("MEAN", [tf.identity(variable.value) for variable in variables])
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    return tf.function(lambda: strategy.run(average), autograph=False) if variables else lambda: None


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
