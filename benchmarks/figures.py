"""Measurements as a table, and as a file with the machine and the versions they belong to."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.arguments import output_file

_WIDTH_OF_FILES = 160  # characters
_PACKAGES = ("torch", "onnxruntime-gpu", "onnxruntime", "grpcio")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file."""
    parser.add_argument("--json", type=output_file, help="also write the figures, the machine and the versions here")


def show(*parts: Any, **options: Any) -> None:
    """Print as `rich.console.Console.print` does; into a file or a pipe in wide lines, so that no cell is cut off."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_FILES
    console.print(*parts, **options)


def write(path: Path | None, figures: Mapping[str, Any], threads: int | None = None) -> None:
    """Write measurements if a file was named.

    Parameters
    ----------
    path
        The file; None: nothing is written.
    figures
        By name; anything that JSON can hold.
    threads
        That the arithmetic ran on, where that matters.
    """
    if path is None:
        return
    machine = {"processor": processor(), "cores": os.cpu_count()} | ({"threads": threads} if threads else {})
    versions = {"python": platform.python_version()} | _versions()
    path.write_text(json.dumps({"machine": machine, "versions": versions, **figures}, indent=2) + "\n")


def processor() -> str:
    """Return the name of the processor, if the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found
