"""Outputs of long work, checked before it begins."""

from __future__ import annotations

import argparse
from pathlib import Path

from clipstyler.output_files import Output, check_outputs


def check_output(parser: argparse.ArgumentParser, path: Path | None, option: str = "--out") -> None:
    """End the command with an error if a file cannot be written there; its folder may be missing."""
    if path is None:
        return
    try:
        check_outputs([Output(option, path)], directories=[Output(option, path.parent)])
    except ValueError as error:
        parser.error(str(error))
