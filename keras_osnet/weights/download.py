"""Files from the network, checked and kept in a cache folder. Needs neither Keras nor NumPy.

The standard library is enough: `keras.utils.get_file` neither writes atomically nor has a time-out, and pooch would
save eight lines of the transfer and bring six packages.
"""

import hashlib
import http.client
import os
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from keras_osnet.files import cache_folder, locked, write_atomically, writing_atomically

TIMEOUT = 30.0  # seconds without an answer, or with less than LEAST_RATE
LEAST_RATE = 1024  # bytes per second
LARGEST = 2**28  # bytes of a file whose size is unknown
LOCK_SECONDS = 3600.0  # to wait for another process that downloads the same file
BLOCK = 2**18
LONGEST_NAME = 200  # bytes of an address' name that a file keeps: file systems take names of 255


class _AddressError(Exception):
    """An address did not deliver the file. It is not an OSError, which is an error of the disk."""


def mirrored(addresses, *names):
    """Returns the addresses, after those of the mirror $KERAS_OSNET_MIRROR if it is set: MIRROR/NAME for each name."""
    mirror = os.environ.get("KERAS_OSNET_MIRROR", "").rstrip("/")
    first = [f"{mirror}/{quote(name)}" for name in dict.fromkeys(names)] if mirror else []
    return [*first, *addresses]


def fetch(name, addresses, *, sha256=None, size=None, check=None, timeout=TIMEOUT):
    """Returns the path of a file in the cache folder. Downloads the file if it is absent or damaged.

    If its SHA-256 is unknown, the SHA-256 of the downloaded file is written beside it, as NAME.sha256.

    Args:
        name: name of the file in the cache folder.
        addresses: http(s) or file addresses, tried in order.
        sha256, size: SHA-256, and size in bytes, of the file; None if unknown.
        check: function of a path that raises ValueError if the file cannot be the right one.
        timeout: seconds that an address may be silent, or slower than 1 kB/s.

    Raises:
        OSError: if no address delivers the file, or the cache folder cannot be written. The error names the addresses,
            the size, and the path for a file that is copied by hand.
    """
    path, failures = cache_folder() / name, {}
    if _is_there(path, sha256, check):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, seconds=LOCK_SECONDS):
            if _is_there(path, sha256, check):  # another process has just written it
                return path
            for address in addresses:
                try:
                    digest = _download(address, path, sha256, size, check, timeout)
                except _AddressError as error:
                    failures[address] = f" ({error})"
                    continue
                if sha256 is None:
                    _write_note(path, digest)
                return path
        problem = "cannot be downloaded"
    except OSError as error:
        problem = f"cannot be kept in the cache folder, which $KERAS_OSNET_CACHE moves: {error}"
    listed = "".join(f"\n  {address}{failures.get(address, '')}" for address in addresses)
    bytes_ = "" if size is None else f" ({size:,} bytes)"
    wrong = " What is there is damaged, or another file." * os.path.isfile(path)
    raise OSError(f"{name}{bytes_} {problem}\nIt can be put there by hand, as {path}.{wrong} Its addresses:{listed}")


def fetch_url(url, *, check=None, timeout=TIMEOUT):
    """Fetches any address. Files with the same name at different addresses have different paths in the cache folder."""
    name = os.fsdecode(os.fsencode(Path(urlsplit(url).path).name or "file")[-LONGEST_NAME:])
    return fetch(f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}", [url], check=check, timeout=timeout)


def file_sha256(path):
    """Returns the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(address, path, sha256, size, check, timeout):
    """Downloads an address to `path`, which is written if the file is complete and correct. Returns its SHA-256."""
    with writing_atomically(path) as file:
        for block in _blocks(address, path.name, size, timeout):
            file.write(block)
        file.flush()
        digest = file_sha256(file.name)
        if sha256 not in (None, digest):
            raise _AddressError(f"its SHA-256 is {digest}, not {sha256}")
        try:
            if sha256 is None and check is not None:
                check(Path(file.name))
        except ValueError as error:
            raise _AddressError(f"not the file: {error}") from error
    return digest


def _blocks(address, name, size, timeout):
    """Yields the content of an address, piece by piece."""
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "keras_osnet"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            if total is not None and (total > LARGEST if size is None else total != size):
                raise _AddressError(f"it has {total:,} bytes, not {'at most ' * (size is None)}{size or LARGEST:,}")
            done = before = 0
            since = time.monotonic()
            while block := response.read1(BLOCK):
                done += len(block)
                if done > (size or LARGEST):
                    raise _AddressError(f"it has more than {size or LARGEST:,} bytes")
                yield block
                _show_progress(name, done, total or size)
                if time.monotonic() - since > timeout:
                    if done - before < LEAST_RATE * timeout:
                        raise _AddressError(f"slower than {LEAST_RATE:,} bytes/s for {timeout:g} s")
                    before, since = done, time.monotonic()
            if done != (size or total or done):
                raise _AddressError(f"the connection ended after {done:,} of {size or total:,} bytes")
    # ValueError: an address that is none.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _AddressError(str(error) or type(error).__name__) from error


def _show_progress(name, done, total):
    if not (sys.stderr and sys.stderr.isatty()):
        return
    part = f"{done / total:4.0%} of " if total else ""
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{name}: {part}{(total or done) / 1e6:.1f} MB{end}")
    sys.stderr.flush()


def _is_there(path, sha256, check):
    """Returns whether the cache has the undamaged file. A file of unknown hash was copied there: it gets a note."""
    known = sha256 or _noted(path)
    if known is not None:
        return path.is_file() and file_sha256(path) == known
    try:
        if not path.is_file():
            return False
        if check is not None:
            check(path)
    except ValueError:
        return False
    with suppress(OSError):  # a cache folder that is read only
        _write_note(path, file_sha256(path))
    return True


def _note(path):
    return path.with_name(f"{path.name}.sha256")


def _write_note(path, sha256):
    write_atomically(_note(path), f"{sha256}  {path.name}\n".encode())


def _noted(path):
    """Returns the hash that was written beside a file, or None."""
    try:
        return _note(path).read_text().split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        return None
