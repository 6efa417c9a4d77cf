"""A process that renders people: reads jobs from standard input and answers on standard output, a line of JSON each.

It is started as a script (workers.py). TensorFlow and Mesa each bring their own LLVM, and a process that loads both
crashes; so the packages above this one, which may load Keras and its backend, are entered without running them.
"""

import json
import os
import sys
import types
from pathlib import Path


def enter_packages():
    """Makes `keras_osnet.data.rendered` importable without importing `keras_osnet` and `keras_osnet.data`."""
    data = Path(__file__).resolve().parents[1]
    for name, folder in (("keras_osnet", data.parent), ("keras_osnet.data", data)):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]


def main():
    """Answers {"ready"}, then {"done", ...} or {"error", "message"} for each job."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    try:
        enter_packages()
        from keras_osnet.data.rendered.jobs import WORKSHOPS

        start = json.loads(sys.stdin.readline())
        workshop = WORKSHOPS[start.pop("workshop")](**start)
        _say(answers, {"ready": True})
        for line in sys.stdin:
            _say(answers, {"done": workshop.do(**json.loads(line))})
    except (ImportError, OSError, ValueError) as error:
        _say(answers, {"error": type(error).__name__, "message": str(error)})


def _say(answers, content):
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
