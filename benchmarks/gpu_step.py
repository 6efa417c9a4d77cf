"""Training steps on a GPU: images a second and peak memory, beside torchreid's network in PyTorch.

    KERAS_BACKEND=jax python benchmarks/gpu_step.py [--widths 1.0 0.25] [--batch-size 64] [--output FILE.json]

Keras' `compile` and `fit` train OSNet on the backend that KERAS_BACKEND names; `jit_compile` stays "auto". PyTorch
trains torchreid's network (read by its file's path) eagerly and by torch.compile, with channels first and last: the
table shows the faster layout, the file both. mixed_bfloat16 is Keras' dtype policy, and autocast in PyTorch. Loss and
optimiser are alike. On a GPU, float32 lets the matrix units round to TF32 everywhere, as convolutions do by default.

The same random batch comes in every step. It lies on the device beforehand, except that TensorFlow's tf.data copies it
there in each step, within the time shown. A chunk is an epoch of `--steps` steps: what the first one takes beyond the
median of the others is "compiling". Each candidate has its own process, and its peak is of the whole life, compiling
included: bytes in use on the GPU, or the resident set without one.
"""

import argparse  # not tyro, as the others: a machine with a GPU may have little more than Keras and a backend
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

CLASSES, CHUNKS = 751, 5
DEFAULTS = {
    "gpu": {"widths": [1.0, 0.25], "batch_size": 64, "height": 256, "steps": 30, "modes": ["eager", "torch.compile"]},
    "cpu": {"widths": [0.25], "batch_size": 8, "height": 64, "steps": 2, "modes": ["eager"]},
}
PACKAGES = ("keras", "jax", "tensorflow", "torch", "torchreid", "numpy")
# A process is to take the memory that it needs, not all there is.
MEMORY = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}


# Of the module: the GPU's name, empty or False without one, and the most bytes that were in use on it.
GPUS = {
    "jax": (
        lambda jax: jax.local_devices()[0].platform != "cpu" and jax.local_devices()[0].device_kind,
        lambda jax: jax.local_devices()[0].memory_stats()["peak_bytes_in_use"],
    ),
    "tensorflow": (
        lambda tf: " + ".join(
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")
        ),
        lambda tf: tf.config.experimental.get_memory_info("GPU:0")["peak"],
    ),
    "torch": (
        lambda torch: torch.cuda.is_available() and torch.cuda.get_device_name(),
        lambda torch: torch.cuda.max_memory_allocated(),
    ),
}


def random_batch(task):
    import numpy as np

    generator, shape = np.random.default_rng(0), (task["batch_size"], task["height"], task["height"] // 2, 3)
    return generator.normal(size=shape).astype("float32"), generator.integers(0, CLASSES, shape[0]).astype("int32")


def train_keras(task, clock):
    import keras

    from keras_osnet import OSNet
    from keras_osnet.losses import LabelSmoothedCrossEntropy
    from keras_osnet.optimizers import SGD

    keras.config.set_dtype_policy(task["precision"])
    model = OSNet(task["width"], input_shape=(task["height"], task["height"] // 2, 3), classes=CLASSES)
    model.compile(SGD(), LabelSmoothedCrossEntropy())
    if task["framework"] == "tensorflow":  # which would ask a generator through Python, and copy more
        import tensorflow as tf

        data = tf.data.Dataset.from_tensors(random_batch(task)).repeat().prefetch(tf.data.AUTOTUNE)
    else:
        batch = tuple(keras.ops.convert_to_tensor(values) for values in random_batch(task))
        data = (batch for _ in itertools.count())
    # The end of an epoch makes the loss a Python number, and so waits for the device.
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock())
    clock()
    model.fit(data, epochs=1 + CHUNKS, steps_per_epoch=task["steps"], shuffle=False, verbose=0, callbacks=[callback])


def train_torch(task, clock):
    found = importlib.util.find_spec("torchreid")
    path = task["file"] or next(Path(found.submodule_search_locations[0]).rglob("models/osnet.py"))
    spec = importlib.util.spec_from_file_location("torchreid_osnet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import torch

    name = f"osnet_x{float(task['width'])}".replace(".", "_")
    device, layout = "cuda" if task["gpu"] else "cpu", getattr(torch, task["layout"])
    if task["gpu"]:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    network = getattr(module, name)(num_classes=CLASSES, pretrained=False, loss="softmax").train()
    network = network.to(device, memory_format=layout)
    pictures, labels = (torch.from_numpy(values).to(device) for values in random_batch(task))
    pictures, labels = pictures.permute(0, 3, 1, 2).contiguous(memory_format=layout), labels.long()
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.065, momentum=0.9, weight_decay=5e-4)
    forward = torch.compile(network) if task["mode"] == "torch.compile" else network
    clock()
    for step in range((1 + CHUNKS) * task["steps"]):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=task["precision"] == "mixed_bfloat16"):
            value = loss(forward(pictures), labels)
        value.backward()
        optimizer.step()
        if (step + 1) % task["steps"] == 0:
            if task["gpu"]:
                torch.cuda.synchronize()
            clock()


def measure(task):
    """What the process of one candidate finds out; without a candidate, whether there is a GPU."""
    name, peak = GPUS[task["framework"]]
    if "candidate" not in task:
        return {"gpu": name(importlib.import_module(task["framework"]))}
    times = []
    (train_torch if "mode" in task else train_keras)(task, lambda: times.append(time.perf_counter()))
    first, *chunks = [after - before for before, after in itertools.pairwise(times)]
    seconds = statistics.median(chunks)
    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images_per_second": task["batch_size"] * task["steps"] / seconds,
        "chunk_seconds": chunks,
        "compile_seconds": max(0.0, first - seconds),
        "peak_bytes": peak(importlib.import_module(task["framework"])) if task["gpu"] else resident,
    }


def in_a_process(task):
    environment = {**os.environ, **MEMORY, "KERAS_BACKEND": task["framework"]}
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # it was killed, or died within a library
        result = {"error": [f"exit status {done.returncode}", *done.stderr.strip().splitlines()][-1]}
    return {**task, "images_per_second": 0.0, **result}


def tasks(backend, gpu, settings):
    sizes = {name: settings[name] for name in ("batch_size", "height", "steps")}
    for width, precision in itertools.product(settings["widths"], ("float32", "mixed_bfloat16")):
        task = {"width": width, "precision": precision, "gpu": gpu, **sizes}
        yield {"candidate": f"keras_osnet, Keras on {backend}", "framework": backend, **task}
        for mode, layout in itertools.product(settings["modes"], ("contiguous_format", "channels_last")):
            peer = {"candidate": f"torchreid, PyTorch {mode}", "framework": "torch", "mode": mode, "layout": layout}
            yield {**peer, "file": settings["torchreid_file"], **task}


def table(rows):
    """Markdown; of the two layouts the faster."""
    yield "| candidate | width | precision | images/s | of PyTorch's best | peak, GiB | compiling, s |"
    yield "| --- " * 7 + "|"
    for (width, precision), group in itertools.groupby(rows, lambda row: (row["width"], row["precision"])):
        group = list(group)
        best = max((row["images_per_second"] for row in group if "mode" in row), default=0)
        for name, layouts in itertools.groupby(group, lambda row: row["candidate"]):
            row = max(layouts, key=lambda row: row["images_per_second"])
            cells = [row.get("error", "").replace("|", "/"), "", "", ""]
            if "error" not in row:
                cells = [f"{row['images_per_second']:.1f}", f"{row['images_per_second'] / best:.2f}x" if best else ""]
                cells += [f"{row['peak_bytes'] / 2**30:.2f}", f"{row['compile_seconds']:.1f}"]
            name += f", {row['layout']}" if "layout" in row else ""
            yield "| " + " | ".join([name, f"x{width:g}", precision, *cells]) + " |"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=float, nargs="+", help="default 1.0 0.25, without a GPU 0.25")
    parser.add_argument("--batch-size", type=int, help="default 64, without a GPU 8")
    parser.add_argument("--height", type=int, help="of the pictures, twice their width; default 256, without a GPU 64")
    parser.add_argument("--steps", type=int, help="of a chunk; default 30, without a GPU 2")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="PyTorch's side too")
    parser.add_argument("--torchreid-file", help="its models/osnet.py, where torchreid is not installed")
    parser.add_argument("--output", type=Path, help="a JSON file for all of it")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("widths", "batch_size", "height", "steps"):
        value = getattr(options, name)
        if value is not None and not all(0 < one < math.inf for one in (value if name == "widths" else [value])):
            raise SystemExit(f"`{name}` must be positive. Received: {name}={value}")
    if options.output and not options.output.parent.is_dir():
        raise SystemExit(f"`output` must be in a folder that exists. Received: output={options.output}")
    return options


def main(options):
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    found = in_a_process({"framework": backend})
    if "error" in found:
        rule = f"`KERAS_BACKEND` must be {', '.join(GPUS)}, and installed."
        raise SystemExit(f"{rule} Received: KERAS_BACKEND={backend} ({found['error']})")
    defaults = DEFAULTS["gpu" if found["gpu"] else "cpu"]
    settings = vars(options) | {name: value for name, value in defaults.items() if not vars(options).get(name)}
    facts = {
        "command": f"KERAS_BACKEND={backend} python {shlex.join(sys.argv)}",
        "machine": found["gpu"] or f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {one.name: one.version for one in importlib.metadata.distributions() if one.name in PACKAGES},
    }
    print(f"{facts['command']}\n{facts['machine']}:", *itertools.chain(*facts["versions"].items()))
    print(f"batch {settings['batch_size']}, {settings['height']} x {settings['height'] // 2}")
    if not found["gpu"]:
        print(f"There is no GPU that {backend} sees: small unless asked otherwise, and without torch.compile.")
    peers = importlib.util.find_spec("torch") and (options.torchreid_file or importlib.util.find_spec("torchreid"))
    if options.peers and not peers:
        print("PyTorch or torchreid is not installed: not measured.")
    settings["modes"] = settings["modes"] if options.peers and peers else []
    rows = []
    for task in tasks(backend, found["gpu"], settings):
        rows.append(in_a_process(task))
        print(json.dumps(rows[-1]), file=sys.stderr)
        if options.output:  # each time: a run may be cut short
            options.output.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    print("", *table(rows), sep="\n")
    return int(all("error" in row for row in rows))


if __name__ == "__main__":
    chosen = arguments()
    if chosen.task is None:
        sys.exit(main(chosen))
    try:
        answer = measure(chosen.task)
    except Exception as error:  # whatever a framework raises becomes a row; its first line says what is wrong
        answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
    print("\n" + json.dumps(answer))
