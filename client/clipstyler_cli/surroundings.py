"""What a process may lack: a home directory, as users of a container do, a working directory, and a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clipstyler.descriptors import open_missing
from clipstyler.home import ensure_home

_PIPED_COLUMNS = "160"  # help is not cut


def prepare() -> None:
    """Set up this process and its children: standard descriptors, a home directory, and the width of piped help."""
    open_missing()
    ensure_home()
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", _PIPED_COLUMNS)


def is_working_directory_gone() -> bool:
    """Whether the working directory was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
