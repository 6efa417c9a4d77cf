"""Strategies: which workers there are, how they wait for each other, and errors of a wrong cluster."""

import json
import os
import socket
import threading
import time

import pytest
import tensorflow as tf

from keras_osnet.training.replicas import worker_of
from keras_osnet.training.strategies import cluster, make_strategy, meet


def text(index=0, kind="worker", **jobs):
    """TF_CONFIG as the environment holds it."""
    return json.dumps({"cluster": jobs or {"worker": ["a:1", "b:2"]}, "task": {"type": kind, "index": index}})


CHIEF = {"chief": ["a.example.org:65535"], "worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}


@pytest.mark.parametrize("config", [text(1), text(0, "chief", **CHIEF), text(1, **CHIEF)])
def test_a_cluster_is_what_tf_config_says_even_within_slurm(config):
    assert cluster({"TF_CONFIG": config, "SLURM_STEP_NODELIST": "n[1-9]"}) == json.loads(config)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("worker a:1, index 0", "is not JSON"),
        ("[]", "the task is one of the cluster"),
        ('{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}', "the task is one of the cluster"),
        ('{"task": {"type": "worker", "index": 0}}', "KeyError: 'cluster'"),
        ('{"cluster": {"worker": ["a:1"]}}', "KeyError: 'task'"),
        (text(2), "IndexError"),
        (text(-1), "the task one of the chief and the workers"),
        (text("0"), "TypeError"),
        (text(0, "evaluator"), "KeyError: 'evaluator'"),
        (text(0, "ps", worker=["a:1"], ps=["b:1"]), "the task one of the chief and the workers"),
        (text(0, worker=["a:1", "b"]), "'b' has no valid port"),
        (text(0, worker=["a:1", "b:http"]), "'b:http' has no valid port"),
        (text(0, worker=["a:1", "b:1", "a:1"]), "each address once"),
        (text(0, chief=["a:1"], worker=["a:1", "b:1"]), "each address once"),
    ],
)
def test_a_wrong_tf_config_is_quoted_with_what_is_wrong_and_what_is_right(wrong, expected):
    with pytest.raises(ValueError, match="TF_CONFIG must be") as error:
        cluster({"TF_CONFIG": wrong})
    message = str(error.value)
    assert expected in message
    assert message.endswith(f"Received: TF_CONFIG={wrong}")
    assert '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}' in message


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """SLURM's command, which knows one list of machines."""
    command = tmp_path / "scontrol"
    command.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[9-10,2]" ] && printf "n9\\nn10\\nn2\\n"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def step(tasks, number="1"):
    return {"SLURM_STEP_NODELIST": "n[9-10,2]", "SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_PROCID": number}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_workers_of_a_slurm_step_stand_in_the_order_of_its_machines(scontrol, number):
    config = cluster(step("1(x3)", str(number)))
    assert config["cluster"] == {"worker": ["n9:12345", "n10:12345", "n2:12345"]}
    assert config["task"] == {"type": "worker", "index": number}


@pytest.mark.parametrize("tasks", ["2", "2(x3)", "1,2,1", "10", "11(x3)"])
def test_several_tasks_on_a_machine_are_refused(scontrol, tasks):
    with pytest.raises(ValueError, match="one task per machine") as error:
        cluster(step(tasks))
    assert str(error.value).endswith(f"Received: {tasks}")


@pytest.mark.parametrize("number", ["", "-1", "one", "1.0"])
def test_the_number_of_the_task_must_be_one(scontrol, number):
    with pytest.raises(ValueError, match=r"SLURM_PROCID must be the number of the task\. Received: '") as error:
        cluster(step("1(x3)", number))
    assert str(error.value).endswith(repr(number))


def test_a_missing_or_failing_scontrol_is_an_error_that_names_tf_config(scontrol, tmp_path, monkeypatch):
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho 'scontrol: error: no slurm.conf' >&2; exit 1\n")
    with pytest.raises(ValueError, match=r"set TF_CONFIG\. Received: scontrol: error: no slurm\.conf$"):
        cluster(step("1(x3)"))
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"set TF_CONFIG\. Received: .*No such file or directory: 'scontrol'"):
        cluster(step("1(x3)"))


def test_without_tf_config_and_slurm_the_error_names_both():
    with pytest.raises(ValueError, match=r"needs TF_CONFIG, .* or a SLURM step"):
        cluster({"PATH": "/bin"})


@pytest.fixture
def other():
    """A port where nobody listens yet, which nobody else can get."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        yield other


def address_of(bound):
    return f"127.0.0.1:{bound.getsockname()[1]}"


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return address_of(free)


def between(own, other, index):
    """TF_CONFIG of a worker before or behind the other one."""
    return {
        "cluster": {"worker": [own, other] if index == 0 else [other, own]},
        "task": json.loads(text(index))["task"],
    }


@pytest.mark.parametrize("index", [0, 1])
def test_workers_meet_at_once_where_the_other_listens(other, index):
    other.listen()
    own, began = free_address(), time.monotonic()
    meet(between(own, address_of(other), index), 30)
    assert time.monotonic() - began < 5
    other.settimeout(5)
    other.accept()[0].close()
    socket.create_server(("", int(own.rpartition(":")[2]))).close()  # the port is free for TensorFlow


def test_a_worker_waits_for_one_that_comes_later_and_answers_it(other):
    own = free_address()

    def come():
        socket.create_connection(own.split(":"), timeout=5).close()  # else it never listens
        other.listen()

    later, began = threading.Timer(1, come), time.monotonic()
    later.start()
    meet(between(own, address_of(other), 0), 30)
    assert time.monotonic() - began >= 1
    later.join()


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_never_comes_is_named(other, index):
    began = time.monotonic()
    with pytest.raises(TimeoutError) as error:
        meet(between(free_address(), address_of(other), index), 0.5)
    assert f"Worker {1 - index} at {address_of(other)} did not answer within 0.5 s" in str(error.value)
    assert 0.5 <= time.monotonic() - began < 5


def test_a_port_that_is_in_use_is_named(other):
    other.listen()
    with pytest.raises(OSError, match=f"port of this worker, {address_of(other)} of TF_CONFIG, is in use"):
        meet(between(address_of(other), free_address(), 0), 30)


@pytest.mark.parametrize(
    ("name", "replicas", "expected"),
    [
        ("horovod", 0, r"`strategy` must be one of \['auto', 'one', .*Received: strategy='horovod'"),
        ("auto", -1, "`replicas` must be 0 or more.*Received: -1"),
        ("one", 2, "at most 1 with strategy one.*Received: 2"),
        ("tpu", 2, "`replicas` must be 0 with strategy tpu, which uses all cores. Received: replicas=2"),
        ("mirrored", 3, "`replicas` must not exceed the 2 GPUs.*Received: replicas=3"),
    ],
)
def test_a_strategy_that_is_not_possible_is_refused(monkeypatch, name, replicas, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [f"{kind}:0", f"{kind}:1"])
    with pytest.raises(ValueError, match=expected):
        make_strategy(name, replicas)


def test_several_replicas_of_a_worker_without_gpu_are_refused_before_it_waits_for_others(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text(worker=["127.0.0.1:1", "127.0.0.1:2"]))
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", lambda *_: None)
    with pytest.raises(ValueError, match="`replicas` must be 0 or 1 with strategy multiworker where there is no GPU"):
        make_strategy("multiworker", 2, wait=0)


@pytest.mark.parametrize(("name", "replicas"), [("auto", 0), ("auto", 1), ("one", 0), ("one", 1)])
def test_one_device_needs_no_strategy_and_is_its_own_chief(name, replicas):
    strategy = make_strategy(name, replicas)
    assert strategy is tf.distribute.get_strategy()
    assert worker_of(strategy) == (0, 1)


@pytest.mark.parametrize(("kind", "index", "expected"), [("chief", 0, (0, 3)), ("worker", 1, (2, 3))])
def test_workers_are_counted_from_the_chief_on(monkeypatch, kind, index, expected):
    class Cluster:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"chief": ["a:1"], "worker": ["b:1", "c:1"]}), task_type=kind, task_id=index
        )

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Cluster)
    assert worker_of(Cluster()) == expected
