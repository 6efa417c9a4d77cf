"""Imports Keras and TensorFlow without their messages at import. Scripts import this module first."""

import os
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec

# TensorFlow's log is of no use to users. On CPUs without AVX-512 TensorFlow leaves oneDNN off, and a training step then
# takes 1.6 times as long (recipes/README.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _report(kind, error, trace):
    """Prints one line for Ctrl-C during the imports, which take seconds."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report


NOTICES = b"I0000 ", b"WARNING: All log messages before absl", b"INFO: Created TensorFlow Lite"


@contextmanager
def without_notices():
    """Drops log lines of the C++ code of TensorFlow and LiteRT that no setting switches off."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            os.write(2, b"".join(line for line in file if not line.startswith(NOTICES)))


with without_notices():
    import keras  # noqa: F401

    if find_spec("tensorflow"):
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
