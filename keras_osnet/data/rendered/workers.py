"""Rendering processes, one for each core: started, fed with jobs, stopped."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

SCRIPT = Path(__file__).with_name("worker.py")
ERRORS = {error.__name__: error for error in (ImportError, ModuleNotFoundError, OSError, ValueError, FileNotFoundError)}


class Worker:
    """One rendering process."""

    def __init__(self):
        # One process a core is enough: the libraries' own threads would only wait for one another.
        environment = {**os.environ, "LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # In a process group of its own: Ctrl-C in a terminal is for the caller, which then ends this process.
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            process_group=0,
        )  # fmt: skip

    def ask(self, message):
        """Sends a message and returns the answer.

        Raises:
            the process's own ImportError, OSError or ValueError; OSError if the process is gone.
        """
        with suppress(OSError):  # of a process that is gone: its last words say why
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise OSError(f"A rendering process ended with code {self.process.wait()}.")
        answer = json.loads(line)
        if "error" in answer:
            raise ERRORS.get(answer["error"], OSError)(answer["message"])
        return answer.get("done")

    def close(self):
        self.process.kill()
        self.process.wait()
        with suppress(OSError):  # what is left to write is for nobody
            self.process.stdin.close()
        self.process.stdout.close()


def run(start, jobs, *, processes, report):
    """Does jobs in processes of their own, each job once, in no particular order.

    Args:
        start: {"workshop": row of jobs.WORKSHOPS, and its arguments}.
        jobs: the arguments of its method `do`, a dict each. It returns a number of images.
        processes: how many processes.
        report: function of (number of jobs done, number of jobs, number of images).

    Raises:
        ImportError: without moderngl. OSError: without EGL, or if a file cannot be written.
    """
    queue, lock, done = iter(jobs), threading.Lock(), [0, 0]
    workers = [Worker() for _ in range(min(processes, len(jobs)))]

    def work(worker):
        worker.ask(start)
        while True:
            with lock:
                job = next(queue, None)
            if job is None:
                return
            images = worker.ask(job)
            with lock:
                done[:] = done[0] + 1, done[1] + images
                report(done[0], len(jobs), done[1])

    pool = ThreadPoolExecutor(max(len(workers), 1))
    try:
        for finished in as_completed([pool.submit(work, worker) for worker in workers]):
            finished.result()
    finally:
        for worker in workers:
            worker.close()
        pool.shutdown(wait=True)
