"""Generates folders on first use. A folder is either complete or absent, and one of several processes writes it."""

import os
import re
import secrets
import shutil

from keras_osnet.files import locked

LONGEST = 3600.0  # seconds to wait for another process that makes the same folder


def make_folder(folder, write):
    """Makes a folder, unless it exists. Removes the temporary folders of killed processes.

    Args:
        folder: `Path`.
        write: function that fills the temporary folder that it receives.

    Raises:
        OSError: if the folder cannot be written.
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
        temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
        try:
            temporary.mkdir()
            write(temporary)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
