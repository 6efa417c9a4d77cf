"""Programs of tests in processes of their own, for which TensorFlow is imported once and not in each.

Each process is a fork of one that has imported TensorFlow and Keras and done nothing with them: with memory, signals,
files and exit status of its own. A new Python imports for five seconds before it begins.
"""

import gc
import multiprocessing
import os
import runpy
import sys

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tensorflow", "keras"])


def start(script, arguments, environment, log):
    """Starts a program with arguments, further environment variables, and a file for what it prints."""
    process = FORKS.Process(target=_run, args=(str(script), list(map(str, arguments)), environment, str(log)))
    process.start()
    return process


def _run(script, arguments, environment, log):
    with open(log, "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.update(environment)
    gc.freeze()  # what is imported is no garbage
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
