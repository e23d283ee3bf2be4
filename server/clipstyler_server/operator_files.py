"""Files that the operator names: regular ones only. Opening a pipe would wait for its writer; a device has no end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting.

    Raises
    ------
    OSError
        It cannot be opened, or is a pipe, device or directory.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path) -> bytes:
    """Read a file. Raises `OSError` if it cannot be read, or is no regular file."""
    with open_regular(path) as file:
        return file.read()
