"""SIGTERM, Ctrl-C and SIGHUP: a training writes a checkpoint and stops."""

import signal
import threading
import time
from contextlib import contextmanager

import numpy as np

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class Stopped(Exception):
    """A signal stopped the training after a checkpoint. The same command resumes it.

    Attributes:
        signal: number of the signal; SIGTERM's if only another worker received one.
    """

    def __init__(self, message, signal=signal.SIGTERM):
        super().__init__(message)
        self.signal = int(signal)


class _Requests:
    """Returns whether this worker requests [a checkpoint, a stop]. The chief's clock requests checkpoints."""

    def __init__(self, minutes, chief):
        self.minutes, self.chief, self.saved, self.signal = minutes, chief, time.monotonic(), 0

    def __call__(self):
        due = self.chief and time.monotonic() - self.saved > 60 * self.minutes
        if due:
            self.saved = time.monotonic()
        return np.array([due, self.signal > 0], "float64")

    def stopped(self, when):
        message = f"Stopped {when}; the checkpoint is written. The same command resumes the run."
        return Stopped(message, self.signal or signal.SIGTERM)


@contextmanager
def stop_requests(minutes, chief):
    """Handles the signals within a block. Yields a function that returns this worker's requests: [checkpoint, stop].

    Args:
        minutes: time between checkpoints within an epoch.
        chief: whether this worker is the chief. Other workers do not request checkpoints.
    """
    requests, before = _Requests(minutes, chief), {}

    def receive(number, frame):
        requests.signal = number
        if signal.SIGINT in before:  # a second Ctrl-C stops at once
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    # Python allows handlers in the main thread only. Signals that the process ignores (nohup) stay ignored.
    if threading.current_thread() is threading.main_thread():
        before |= {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, receive)
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
