"""Files of the command: outputs checked before any work, and finished results that are never lost."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer

from clipstyler.input_files import read_whole
from clipstyler.output_files import Output, write_whole
from clipstyler_cli.errors import UsageError, flag_of
from clipstyler_cli.statuses import EXIT_FAILED
from clipstyler_cli.terminal import complain

IMAGE_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
ANIMATION_SUFFIXES = {".gif": "GIF", ".webp": "WEBP"}
SHEET_SUFFIXES = {".png": "PNG"}


def read_photo(path: Path, argument: str) -> bytes:
    """Read a photo, or another file, that the command line names.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    try:
        return read_whole(path)
    except OSError as error:
        raise UsageError(f"{argument}: {path}: {error.strerror or error}") from error


class Delivery:
    """Writes what is finished; if that fails, it is written elsewhere, the place is printed, and the exit code is 1.

    Attributes
    ----------
    written
        Where the outputs are, in the order in which they were written.
    """

    def __init__(self) -> None:
        self._failed = False
        self.written: list[Path] = []

    def write(self, output: Output, data: bytes) -> Path:
        """Write a finished output and return where it is.

        Raises
        ------
        OSError
            It could not be written anywhere.
        """
        place = output.path
        try:
            write_whole(place, data)
        except OSError as error:
            place = _write_elsewhere(output.path, data, error)
            self.fail(output, f"{error.strerror or error}; written to {place} instead")
        self.written.append(place)
        return place

    def fail(self, output: Output, problem: str) -> None:
        """Print what went wrong with an output."""
        self._failed = True
        complain(f"error: {flag_of(output.field, {})}: {output.path}: {problem}")

    def finish(self) -> None:
        """Exit with 1 if an output is not where it was asked for.

        Raises
        ------
        typer.Exit
            One is not.
        """
        if self._failed:
            raise typer.Exit(EXIT_FAILED)


def places_beside(path: Path) -> Iterator[Path]:
    """Yield unused paths for an output that cannot be written to its own: beside it, here, and in a temporary place."""
    name = f"clipstyler-{secrets.token_hex(4)}{path.suffix}"
    for directory in (path.parent, Path(), Path(tempfile.gettempdir())):
        yield directory / name


def _write_elsewhere(path: Path, data: bytes, failure: OSError) -> Path:
    for place in places_beside(path):
        try:
            write_whole(place, data)
        except OSError:
            continue
        return place
    raise failure
