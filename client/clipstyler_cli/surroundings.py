"""What a process may lack: a home directory, as users of a container do, a working directory, and a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clipstyler.home import ensure_home

_PIPED_COLUMNS = "160"  # help is not cut


def prepare() -> None:
    """Set up the environment of this process and its children: a home directory, and the width of piped help."""
    ensure_home()
    if sys.stdout is None or not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", _PIPED_COLUMNS)


def is_working_directory_gone() -> bool:
    """Whether the working directory was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
