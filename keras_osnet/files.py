"""Files that are complete or absent, locks between processes, and bounded reading."""

import errno
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import socket
import stat
import tempfile
import time
import warnings
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST_JSON = 64 * 2**20  # bytes
LARGEST_ZIP_LIST = 4 * 2**20
DAY = 86_400  # seconds
LONGEST_STEM = 128  # bytes: hosts have names of up to 64, file systems take names of 255


def cache_folder():
    """Returns the folder of downloaded files: $KERAS_OSNET_CACHE, or ~/.cache/keras_osnet.

    Raises:
        OSError: if the user has no home folder, as in some containers, and no other folder is named.
    """
    folder = Path(os.environ.get("KERAS_OSNET_CACHE") or "~/.cache/keras_osnet")
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise OSError(f"$KERAS_OSNET_CACHE must name a folder, as there is no home folder for {folder}.") from error


def path_of(name, value):
    """Returns a path as a `Path`. ~ is the home folder; ~ with an unknown user stays as it is, as in a shell.

    Raises:
        ValueError: if the value of the argument `name` is no path.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"`{name}` must be a path. Received: {name}={value!r}")
    return Path(os.path.expanduser(value))


@contextmanager
def writing_atomically(path):
    """Opens a binary file that replaces `path` once it is complete.

    The data goes to a temporary file beside `path` whose name no other process uses. Temporary files that killed
    processes left behind are removed. A link stays, and the file that it points to is replaced. The new file has the
    permissions of the old one.

    Args:
        path: file to write.

    Yields:
        binary file object, open for writing.

    Raises:
        OSError: if the file cannot be written, for example on a full disk, or is a folder, pipe or device. `path` keeps
            its content, and no temporary file stays behind.
    """
    given, path = path, Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # root may replace /dev/null
        raise OSError(f"{given} cannot be written (it is no regular file).")
    _sweep(path)
    temporary = temporary_path(path)
    try:
        with open(temporary, "xb") as file:
            if path.exists():
                shutil.copymode(path, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{given} cannot be written ({error}). Its previous content, if any, is kept.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path, content):
    """Writes bytes. `path` holds either its previous content or all of the new one. Raises as `writing_atomically`."""
    with writing_atomically(path) as file:
        file.write(content)


def temporary_path(path):
    """Returns a new path beside `path` for a file of this process. `writing_atomically` removes it if it is left."""
    return path.with_name(f".{_stem(path)}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def require_writable(path, *, makes_folder=True):
    """Checks that a file can be written, before long work. It leaves no file.

    Args:
        path: file to write. It need not exist.
        makes_folder: whether its folder will be made. If False, the folder must exist.

    Raises:
        OSError: if the path is a folder, pipe or device or has too long a name, or its folder, or the nearest existing
            parent folder, cannot be written to.
    """
    makes_folder = makes_folder and not os.path.islink(path)  # nobody makes the folder that a link points to
    parents = Path(os.path.realpath(path) if os.path.islink(path) else path).absolute().parents
    folder = next(each for each in parents if os.path.lexists(each) or not makes_folder)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError("it is no regular file")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error}).") from error


def refuse_foreign(path, mark):
    """Refuses to replace a file of somebody else: one that is there and has no `mark` (bytes) in its first 64 kB.

    Raises:
        ValueError: if it is somebody else's.
    """
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if mark not in file.read(2**16):
                raise ValueError(f"{path} must be new, or written by this command before. It was left as it is.")


def write_json(path, value):
    """Writes plain values as JSON, indented, atomically.

    Raises:
        ValueError: if a number is NaN or infinite: JSON has no such numbers.
        OSError: as `writing_atomically`.
    """
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False).encode() + b"\n")


def read_bounded(path, largest):
    """Returns the content of a file of at most `largest` bytes.

    Raises:
        ValueError: if the file is larger, or is a pipe or device, from which a read may never return.
        OSError: if it cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"`path` must be the path of a file. Received: path={path!r}")
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} must be a regular file.")
    with open(path, "rb") as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)  # all that is asked for is allocated
    if len(content) > largest:
        raise ValueError(f"{path} must not exceed {largest:,} bytes.")
    return content


def read_json(path, *, largest=LARGEST_JSON):
    """Reads a JSON file of at most `largest` bytes.

    Raises:
        ValueError: if the file is larger, is not JSON, holds NaN or a number that no float can hold, or is nested too
            deeply.
        OSError: if it cannot be read.
    """
    content = read_bounded(path, largest)
    try:
        return json.loads(content, parse_constant=_finite, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON file. Received: {type(error).__name__}: {error}") from error


def _finite(text):
    if not math.isfinite(float(text)):
        raise ValueError(f"{text:.20}{'...' * (len(text) > 20)} is not a finite number")
    return float(text)


def _integer(text):
    _finite(text)
    return int(text)


def read_history(path, names):
    """Reads a metrics.jsonl: in each line a JSON object of finite numbers, `names` among them. No file has no lines.

    Other lines, such as half a line of a killed process, are left out with a warning.

    Raises:
        OSError: if the file cannot be read.
    """
    history, damaged = [], []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            found = json.loads(line)
            if not (found.keys() >= names and all(math.isfinite(value) for value in found.values())):
                raise ValueError
            history.append(found)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            damaged.append(number)
    if damaged:
        warnings.warn(f"{path} is damaged in lines {damaged}. They are left out.", stacklevel=2)
    return history


@contextmanager
def locked(path, *, seconds=60.0):
    """Holds the lock of `path` against other processes and threads. The lock is a file `.NAME.lock` beside it.

    Args:
        path: file or folder to change. It need not exist; its parent folder must.
        seconds: time to wait for another holder. 0: do not wait.

    Raises:
        TimeoutError: if another process still holds the lock after `seconds`.
    """
    from filelock import FileLock, Timeout  # here: reading an image or running a .tflite file needs no locks

    path = Path(os.path.realpath(path))
    lock = FileLock(path.with_name(f".{_stem(path)}.lock"))
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise TimeoutError(f"{path} is locked by another process, also after {seconds:g} s.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reading(path, form, keep=()):
    """Turns every exception about the content of `path` into a ValueError that names the file.

    Libraries document few of their exceptions: a damaged archive may raise BadZipFile, KeyError, TypeError and others.
    Errors of the file system and MemoryError keep their type.

    Args:
        path: file to read.
        form: required form of the file, for the message: "a PyTorch checkpoint".
        keep: exception types that keep their type.

    Raises:
        ValueError: if the content is not of that form.
        OSError: if the file cannot be opened or read.
    """
    try:
        yield
    except (MemoryError, *keep):
        raise
    except Exception as error:
        # For damaged content, h5py and Pillow raise OSError without a number, zipfile tries to seek before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        what = str(error) or type(error).__name__
        raise ValueError(f"`path` must be {form}. Received: path={path}, but {what}") from error


def open_zip(file):
    """Opens a zip archive whose list of entries takes at most 4 MB; `zipfile` reads lists of any size into memory.

    Args:
        file: binary file, open for reading.

    Returns:
        `zipfile.ZipFile`.

    Raises:
        ValueError: if the list is larger.
        zipfile.BadZipFile: if it is no zip archive.
    """
    file.seek(max(file.seek(0, os.SEEK_END) - 2**16 - 22, 0))
    tail = file.read()
    # Signatures of the record at the end and of its 64-bit form, which `zipfile` prefers; where the list's size is.
    for record, first, last in ((b"PK\x05\x06", 12, 16), (b"PK\x06\x06", 40, 48)):
        start = tail.rfind(record)
        if start >= 0 and int.from_bytes(tail[start + first : start + last], "little") > LARGEST_ZIP_LIST:
            raise ValueError(f"its list of zip entries has more than {LARGEST_ZIP_LIST:,} bytes")
    return zipfile.ZipFile(file)


def _stem(path):
    """Returns the name of a file, or a hash of a name so long that no hidden file beside it could contain it."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= LONGEST_STEM else hashlib.sha256(name).hexdigest()


def _sweep(path):
    """Removes temporary files of `path` whose process has ended. Where that cannot be known, they go after a day."""
    stem = _stem(path)
    for name in glob.glob(f".{glob.escape(stem)}.*.tmp", root_dir=path.parent, include_hidden=True):
        host, process, _ = ("", "", *name.removesuffix(".tmp")[len(stem) + 2 :].rsplit(".", 2))[-3:]
        temporary = path.with_name(name)
        ended = _has_ended(process) if host == socket.gethostname() else None
        try:
            if ended or (ended is None and time.time() - temporary.stat().st_mtime > DAY):
                temporary.unlink()
        except (FileNotFoundError, PermissionError):
            pass  # another process removed it, or it is another user's


def _has_ended(process):
    """Returns whether a process of this machine has ended; None where that cannot be known."""
    if os.name != "posix" or not process.isdigit():
        return None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
