"""The three standard descriptors, which a process may be started without: `command 2>&-`."""

from __future__ import annotations

import os
import sys

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_missing() -> None:
    """Open the null device as what is missing of standard input, output and error, here and in child processes.

    Otherwise the next file, pipe or socket takes the free number, and what is written to standard error goes into it.
    """
    for descriptor, (name, mode) in enumerate(_MODES.items()):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False, encoding="utf-8", errors="replace"))  # noqa: SIM115 - stays open
