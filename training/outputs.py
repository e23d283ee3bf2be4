"""Outputs of long work, checked before it begins."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from clipstyler.output_files import Output, check_outputs

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def check_output(
    parser: argparse.ArgumentParser,
    path: Path | None,
    option: str = "--out",
    suffixes: Collection[str] = (),
    inputs: Iterable[Path] = (),
) -> None:
    """End the command with an error if a file cannot be written there, or is an input; its folder may be missing."""
    if path is not None:
        _check(parser, [Output(option, path, suffixes)], Output(option, path.parent), inputs)


def check_folder(parser: argparse.ArgumentParser, path: Path, option: str = "--out") -> None:
    """End the command with an error if no files can be written into a folder; it may be missing."""
    _check(parser, [], Output(option, path))


def _check(
    parser: argparse.ArgumentParser, files: Sequence[Output], folder: Output, inputs: Iterable[Path] = ()
) -> None:
    try:
        check_outputs(files, directories=[folder], inputs=inputs)
    except ValueError as error:
        parser.error(str(error))
