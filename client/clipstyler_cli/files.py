"""Output files: checked before any work, and never left half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from clipstyler_cli.errors import UsageError

IMAGE_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
ANIMATION_SUFFIXES = {".gif": "GIF", ".webp": "WEBP"}


def format_of(path: Path, suffixes: dict[str, str], flag: str) -> str:
    """Return the format that a file's suffix stands for.

    Raises
    ------
    UsageError
        The suffix is unknown, or the directory does not exist.
    """
    image_format = suffixes.get(path.suffix.lower())
    if image_format is None:
        raise UsageError(f"{flag}: {path.name!r} must end in one of {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{flag}: the directory {path.parent} does not exist; create it first")
    return image_format


def read_photo(path: Path, argument: str) -> bytes:
    """Read a photo that the command line names.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{argument}: {path}: {error.strerror or error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.close()
            umask = os.umask(0)
            os.umask(umask)
            Path(file.name).chmod(0o666 & ~umask)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
