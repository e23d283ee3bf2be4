"""Files that decide about access: only their owner may change them, and not everybody may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from clipstyler_server.operator_files import open_regular

_NOT_OTHERS = stat.S_IWGRP | stat.S_IRWXO
_ROOT = 0


class IdentityError(Exception):
    """Files or settings of identity cannot be used; the message says which, why, and what to do."""


class Fingerprint(NamedTuple):
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified_ns: int


def read_private(path: Path) -> bytes:
    """Read a file that nobody but its owner may write and others may not read.

    Raises
    ------
    IdentityError
        It cannot be read, or its mode or owner permits more.
    """
    try:
        with open_regular(path) as file:
            _check(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error


def fingerprint(path: Path) -> Fingerprint | None:
    """Return what tells one content of a file from the next; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Fingerprint(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {_ROOT, os.geteuid()}:
        raise IdentityError(f"{path} belongs to another user: make it the server's own, or root's")
    if found.st_mode & _NOT_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise IdentityError(f"{path} has mode {mode:04o}: others must not read or change it; chmod 600 {path}")
