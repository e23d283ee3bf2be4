"""Encodes a result into a file, unless the work is to end meanwhile; then nothing is left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile, ImageMetadata, Picture, encode_into
from clipstyler_server.observability import logs
from clipstyler_server.spool import NO_SPACE, create, remove
from clipstyler_server.workers.engine import FailureKind, TaskFailed


def write_image(picture: Picture, image_format: ImageFormat, path: Path, check: Callable[[], None]) -> ImageFile:
    """Encode a picture into a file.

    Parameters
    ----------
    picture, image_format
        What, and how.
    path
        Of the file.
    check
        Called before each part is written: an exception of it ends the work.

    Raises
    ------
    TaskFailed
        It cannot be written.
    """
    try:
        with create(path) as file:
            writer = _Writer(file, check)
            encode_into(cast("BinaryIO", writer), picture, image_format)
    except OSError as error:
        remove(path)
        raise not_written(error) from error
    except BaseException:
        remove(path)
        raise
    digest = writer.digest.hexdigest()
    return ImageFile(path, ImageMetadata(image_format, picture.width, picture.height, writer.size, digest))


class _Writer:
    """A file that calls back before it writes, and digests what is written."""

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write the next bytes."""
        self._check()
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)


def not_written(error: OSError) -> TaskFailed:
    """Return how work ends whose result cannot be written."""
    failed = storage_failure(error)
    logs.get_logger().error("result_not_written", problem=failed.problem)
    return failed


def storage_failure(error: OSError) -> TaskFailed:
    """Return how work ends whose files cannot be read or written."""
    kind = FailureKind.STORAGE_FULL if error.errno in NO_SPACE else FailureKind.STORAGE_UNAVAILABLE
    return TaskFailed(kind, error.strerror or str(error))
