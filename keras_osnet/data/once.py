"""Folders that are made on first use: whole or not at all, by one process, however many ask for them."""

import os
import re
import secrets
import shutil

from keras_osnet.files import locked

LONGEST = 3600.0  # seconds to wait for another process that makes the same folder


def make_once(folder, write):
    """Makes a folder that is not there yet. What killed processes left of it is removed.

    Args:
        folder: `Path`.
        write: function that fills the temporary folder whose path it is given.

    Raises:
        OSError: if nothing can be written there.
        TimeoutError: if another process takes more than an hour.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder, seconds=LONGEST):
        for left in folder.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(folder.name)}-[0-9a-f]{{16}}", left.name):
                shutil.rmtree(left, ignore_errors=True)
        if folder.is_dir():
            return
        part = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
        try:
            part.mkdir()
            write(part)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
