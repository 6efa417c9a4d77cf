"""Files that several programs may write, as in keras_osnet.files, folders of images, and what command lines share."""

import argparse
import hashlib
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

WAIT = 60.0  # seconds for another program's lock
DAY = 86_400  # seconds after which leftovers are removed whose process is unknown
LONGEST_STEM = 128  # bytes: hosts have names of up to 64, file systems take names of 255
MOST_THREADS = 256  # from some thousands on, LiteRT ends the process


@contextmanager
def locked(path):
    """Holds the lock of a file against other processes: the file `.NAME.lock` beside it.

    Raises:
        OSError: if another process still holds the lock after a minute.
    """
    path, end = Path(path).resolve(), time.monotonic() + WAIT
    with open(path.with_name(f".{_stem(path)}.lock"), "a+b") as file:
        while not _lock(file):
            if time.monotonic() > end:
                raise TimeoutError(f"{path} is locked by another program, also after {WAIT:g} s")
            time.sleep(0.02)
        yield  # closing the file releases the lock


@contextmanager
def replacing(path, mode="wb", **options):
    """Opens a file that replaces `path` in one step at the end. If that fails, `path` stays as it was.

    Temporary files that killed programs left beside it are removed. The new file has the permissions of the old one.
    """
    path = Path(path).resolve()
    _sweep(path)
    temporary = path.with_name(f".{_stem(path)}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, mode.replace("w", "x"), **options) as file:
            if path.exists():
                shutil.copymode(path, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _lock(file):
    """Whether the lock could be taken."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stem(path):
    """The name of a file, or a hash of a name so long that no hidden file beside it could contain it."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= LONGEST_STEM else hashlib.sha256(name).hexdigest()


def _sweep(path):
    """Removes the temporary files of processes that have ended. Where that cannot be known, they go after a day."""
    start, host = f".{_stem(path)}.", socket.gethostname()
    for file in path.parent.iterdir():
        if file.name.startswith(start) and file.name.endswith(".tmp"):
            owner, _, process = file.name.removeprefix(start).rpartition(".")[0].rpartition(".")[0].rpartition(".")
            ended = _has_ended(process) if owner == host else None
            try:
                if ended or (ended is None and time.time() - file.stat().st_mtime > DAY):
                    file.unlink()
            except (FileNotFoundError, PermissionError):
                pass  # another program removed it, or it is another user's


def _has_ended(process):
    """Whether a process of this machine has ended; None where that cannot be known."""
    if os.name != "posix" or not process.isdigit():
        return None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def require_writable(path):
    """Raises a ValueError where no file can be written, before long work."""
    if (path.exists() and not path.is_file()) or not path.resolve().parent.is_dir():  # root may replace /dev/null
        raise ValueError(f"{path} must be a regular file in a folder that exists")
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise ValueError(f"{path} must be in a folder that can be written. Received: {error}") from error


def refuse_foreign(path, start):
    """Raises a ValueError as `require_writable`, or where a file is that does not begin with `start` (bytes)."""
    require_writable(path)
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(len(start)) != start:
                raise ValueError(f"{path} must be new, or written by this command before. It was left as it is")


def list_images(folder, suffixes):
    """The image files in a folder, by name, and its other entries. Hidden ones, as `._1.jpg` of macOS, are left out."""
    entries = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    images = [path for path in entries if path.suffix.lower() in suffixes and path.is_file()]
    found = set(images)
    return images, [path for path in entries if path not in found]


def whole(most):
    """Type of an argument: an integer from 1 to `most`."""

    def positive(text):
        if not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be 1 .. {most}. Received: {text}")
        return int(text)

    return positive


def execute(main):
    """Calls the `main` of a script. Prints an error as one line, and exits with a status other than 0 then."""
    try:
        main()
        if sys.stdout:  # a daemon has none
            sys.stdout.flush()
    except BrokenPipeError:  # what read the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:  # LiteRT raises the third
        sys.exit(f"error: {str(error) or type(error).__name__}")
