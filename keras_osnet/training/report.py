"""Reports of a finished training: report.json and training.png."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import tensorflow as tf

from keras_osnet.files import write_json, writing_atomically
from keras_osnet.training.replicas import is_chief
from keras_osnet.training.work_dir import about


def write_run_report(work_dir, history, strategy):
    """Writes report.json (command, versions, machine, commit, time, speed, peak memory) and training.png (curves).

    All workers may call it; the chief writes. Without a finished epoch nothing is written.

    Args:
        work_dir: folder of the run.
        history: the list of dicts that `train` returns.
        strategy: `tf.distribute.Strategy` of the training.
    """
    if not is_chief(strategy) or not history:
        return
    from keras_osnet.visual.figures import training_figure  # matplotlib

    found = {
        **about(),
        "commit": _commit(),
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "strategy": type(strategy).__name__,
        "replicas": strategy.num_replicas_in_sync,
        "epochs": len(history),
        "minutes": round(sum(line["seconds"] for line in history) / 60, 2),
        "images_per_second": round(median(line["images_per_second"] for line in history), 1),
        "waiting_for_data": round(median(line.get("waiting", 0.0) for line in history), 4),
        "peak_memory_bytes": peak_memory(),
        "last_epoch": history[-1],
    }
    write_json(Path(work_dir) / "report.json", found)
    with writing_atomically(Path(work_dir) / "training.png") as file:
        training_figure(history).savefig(file, format="png", dpi=150)


def peak_memory():
    """Returns the peak memory in bytes: a dict of GPUs, or without a GPU that of this process. None on Windows."""
    gpus = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]
    if gpus:
        return {name: tf.config.experimental.get_memory_info(name)["peak"] for name in gpus}
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor():
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _commit():
    """Returns the commit of the checkout of this file, with a + if it has changes. None without a checkout."""
    outputs = []
    for command in ("ls-files --error-unmatch report.py", "rev-parse HEAD", "status --porcelain -uno"):
        try:
            done = subprocess.run(["git", *command.split()], cwd=Path(__file__).parent, capture_output=True, text=True)
        except OSError:
            return None
        if done.returncode:
            return None
        outputs.append(done.stdout.strip())
    return outputs[1] + "+" * bool(outputs[2])
