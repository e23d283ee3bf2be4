"""Types of command-line options, which are checked before any work begins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from clipstyler.acceleration import parse
from clipstyler.options import ConfigError
from clipstyler.output_files import Output, check_outputs

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def at_least_one(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def acceleration_names(text: str) -> str:
    """Read the names of accelerations."""
    try:
        parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def output_file(text: str) -> Path:
    """Read the path of a file that can be written."""
    return _writable(text)


def picture_file(text: str) -> Path:
    """Read the path of a picture that can be written."""
    return _writable(text, _PICTURES)


def output_folder(text: str) -> Path:
    """Read the path of a folder that can be filled; it may be missing."""
    path = Path(text)
    _check([], [Output("output", path)])
    return path


def _writable(text: str, suffixes: tuple[str, ...] = ()) -> Path:
    path = Path(text)
    _check([Output("output", path, suffixes)], [])
    return path


def _check(files: Sequence[Output], folders: Sequence[Output]) -> None:
    try:
        check_outputs(files, directories=folders)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("output: ")) from error
