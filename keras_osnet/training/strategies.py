"""`tf.distribute` strategies by name, and the workers of a cluster."""

import json
import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager

import tensorflow as tf

PORT = 12345  # of workers under SLURM
NEEDED = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def make_strategy(name="auto", replicas=0, *, wait=600.0):
    """Makes a `tf.distribute` strategy. Call it before TensorFlow makes a tensor.

    Args:
        name: row of `STRATEGIES`. "one": one device, without `tf.distribute`'s overhead. "mirrored": the GPUs of this
            machine. "multiworker": the GPUs of all machines in the environment variable TF_CONFIG, or in SLURM's
            variables. "tpu": the TPU in TPU_NAME, or that of this machine. "auto": "mirrored" for several replicas,
            else "one".
        replicas: number of GPUs of each machine. Without a GPU "mirrored" makes logical CPUs, for tests. 0: all GPUs,
            or, without a GPU, 2 logical CPUs ("mirrored") or the CPU ("multiworker").
        wait: seconds that "multiworker" waits for the other workers. Default 600.

    Raises:
        ValueError: for an unknown name, too many replicas, or a TF_CONFIG that names no cluster with this worker.
        OSError: if the port of this worker is in use.
        TimeoutError: if a worker does not answer. The error names it with its address.
        RuntimeError: if logical CPUs are needed after TensorFlow has made a tensor.

    Reference: https://www.tensorflow.org/guide/distributed_training
    """
    if name not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {list(STRATEGIES)}. Received: strategy={name!r}")
    if replicas < 0 or (name == "one" and replicas > 1):
        raise ValueError(f"`replicas` must be 0 or more, and at most 1 with strategy one. Received: {replicas}")
    return STRATEGIES[name](replicas, wait)


@contextmanager
def missing_workers_named():
    """Turns TensorFlow's errors about a worker that has ended into a ConnectionError that names it."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        lines = str(error).splitlines()
        reason = next((line for line in lines if "/task:" in line), lines[0])
        raise ConnectionError(
            f"Another worker is gone: {reason.strip()}. Start all workers again; they resume from the checkpoint."
        ) from error


def _auto(replicas, wait):
    return _mirrored(replicas, wait) if replicas > 1 else tf.distribute.get_strategy()


def _one(replicas, wait):
    return tf.distribute.get_strategy()


def _mirrored(replicas, wait):
    return tf.distribute.MirroredStrategy(_devices(replicas, without_gpu=2))


def _multiworker(replicas, wait):
    config = cluster(os.environ)
    devices = _devices(replicas, without_gpu=1)  # an error before the other workers are waited for
    if len(devices) > 1 and devices[0].startswith("CPU"):
        raise ValueError(
            "`replicas` must be 0 or 1 with strategy multiworker where there is no GPU: TensorFlow uses one CPU of "
            f"each machine. Received: replicas={replicas}"
        )
    meet(config, wait)
    os.environ["TF_CONFIG"] = json.dumps(config)
    communication = {"GPU": "NCCL", "CPU": "RING"}[devices[0].split(":")[0]]
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation[communication]
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(replicas, wait):
    if replicas:
        raise ValueError(f"`replicas` must be 0 with strategy tpu, which uses all cores. Received: replicas={replicas}")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(os.environ.get("TPU_NAME", "local"))
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(f"`strategy` tpu needs a TPU, this machine's own or TPU_NAME's. Received: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


STRATEGIES = {"auto": _auto, "one": _one, "mirrored": _mirrored, "multiworker": _multiworker, "tpu": _tpu}


def _devices(replicas, without_gpu):
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or len(gpus) or without_gpu
    if gpus and len(gpus) < count:
        raise ValueError(f"`replicas` must not exceed the {len(gpus)} GPUs. Received: replicas={replicas}")
    if gpus:
        tf.config.set_visible_devices(gpus[:count], "GPU")
    elif count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(count)]


def cluster(environment):
    """Returns the workers and the index of this process, as a dict in the form of TF_CONFIG.

    Args:
        environment: mapping with TF_CONFIG, or with the variables of a SLURM step of one task per machine.

    Raises:
        ValueError: if both are missing, or name no cluster with this worker; or if `scontrol` is missing or fails.
    """
    if "TF_CONFIG" not in environment:
        return _of_slurm(environment)
    text = environment["TF_CONFIG"]

    def wrong(what):
        return ValueError(f"TF_CONFIG must be {NEEDED}, {what}. Received: TF_CONFIG={text}")

    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(f"but is not JSON ({error})") from error
    try:
        addresses, task = addresses_of(config), config["task"]
        own = config["cluster"][task["type"]][task["index"]]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise wrong(f"where the task is one of the cluster ({type(error).__name__}: {error})") from error
    bad = [a for a in addresses if not (isinstance(a, str) and re.fullmatch(r"\S+:\d{1,5}", a) and _port(a) < 65536)]
    if bad:
        raise wrong(f"with a port in each address; {bad[0]!r} has no valid port")
    if len(set(addresses)) < len(addresses) or own not in addresses or task["index"] < 0:
        raise wrong("each address once, the task one of the chief and the workers")
    return config


def addresses_of(config):
    """Returns all "host:port" of a TF_CONFIG, the chief's first."""
    return [*config["cluster"].get("chief", ()), *config["cluster"]["worker"]]


def _port(address):
    return int(address.rsplit(":", 1)[1])


def _of_slurm(environment):
    if not {"SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID"} <= environment.keys():
        raise ValueError(f"`strategy` multiworker needs TF_CONFIG, {NEEDED}, or a SLURM step (srun). Found: neither")
    if not re.fullmatch(r"1(\(x\d+\))?", environment["SLURM_STEP_TASKS_PER_NODE"]):
        tasks = environment["SLURM_STEP_TASKS_PER_NODE"]
        raise ValueError(f"SLURM must start one task per machine (--ntasks-per-node=1). Received: {tasks}")
    if not environment["SLURM_PROCID"].isdecimal():
        raise ValueError(f"SLURM_PROCID must be the number of the task. Received: {environment['SLURM_PROCID']!r}")
    # TensorFlow's own SlurmClusterResolver sorts n10 before n9 and confuses the addresses of the tasks.
    command = ["scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"]]
    try:
        machines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise ValueError(
            f"`scontrol` must name the machines of the SLURM step. Without it, set TF_CONFIG. Received: {said}"
        ) from error
    workers = [f"{machine}:{PORT}" for machine in machines]
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": int(environment["SLURM_PROCID"])}}


def meet(config, wait):
    """Waits until every worker answers at its address. TensorFlow would wait without a limit.

    Raises:
        OSError: if the port of this worker is in use.
        TimeoutError: if a worker does not answer within `wait` seconds.
    """
    addresses, task = addresses_of(config), config["task"]
    own = config["cluster"][task["type"]][task["index"]]
    deadline, both = time.monotonic() + wait, socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        listener = socket.create_server(
            ("", _port(own)), family=family, dualstack_ipv6=both, backlog=2 * len(addresses)
        )
    except OSError as error:
        raise OSError(f"The port of this worker, {own} of TF_CONFIG, is in use: {error}") from error
    with listener:
        for address in addresses:
            host = address.rsplit(":", 1)[0].strip("[]")
            while True:
                try:
                    socket.create_connection((host, _port(address)), timeout=5).close()
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise TimeoutError(
                            f"Worker {addresses.index(address)} at {address} did not answer within {wait:g} s ({error})"
                        ) from error
                    time.sleep(0.2)
