"""Files that pass between processes: photos at the size of their results, and results on their way to the storage.

Nothing large travels through a pipe or is held by the front process.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clipstyler.imaging import Picture
from clipstyler.masking import Levels

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk."""
_OWNER_ONLY = 0o700


@dataclass(frozen=True)
class PixelFile:
    """Decoded pixels in a file: 8-bit RGB by rows, then alpha by rows if there is any."""

    path: Path
    width: int
    height: int
    has_alpha: bool

    def load(self) -> Picture:
        """Map the file: its pixels are read as they are used."""
        pixels = np.asarray(np.memmap(self.path, np.uint8, "r"))
        count = self.width * self.height
        rgb = pixels[: 3 * count].reshape(self.height, self.width, 3)
        alpha = pixels[3 * count :].reshape(self.height, self.width) if self.has_alpha else None
        return Picture(rgb, alpha)


@dataclass(frozen=True)
class MaskFile:
    """The light of a mask in a file, 8 bits a pixel by rows."""

    path: Path
    width: int
    height: int

    def load(self) -> Levels:
        """Map the file: its pixels are read as they are used."""
        return np.asarray(np.memmap(self.path, np.uint8, "r")).reshape(self.height, self.width)


@dataclass(frozen=True)
class Spool:
    """A directory of such files, on the file system of the stored images; readable by its owner only."""

    directory: Path

    def photo(self, job_id: str, number: int) -> Path:
        """Return where the photo of a job is written, by the number of the run."""
        return self.directory / f"{job_id}-{number}.photo"

    def mask(self, job_id: str, number: int) -> Path:
        """Return where the mask of a job is written, by the number of the run."""
        return self.directory / f"{job_id}-{number}.mask"

    def result(self, job_id: str) -> Path:
        """Return where the result of a job is written."""
        return self.directory / f"{job_id}.result"

    def clear(self) -> None:
        """Delete what an earlier run of the server left; no job may run meanwhile."""
        shutil.rmtree(self.directory, ignore_errors=True)


def create(path: Path) -> BinaryIO:
    """Open a file of a spool for writing, from its beginning.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path.parent.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb")


def remove(path: Path) -> None:
    """Delete a file of a spool, if it exists and can be deleted."""
    with suppress(OSError):
        path.unlink()


def write_pixels(picture: Picture, path: Path) -> PixelFile:
    """Write the pixels of a picture.

    Raises
    ------
    OSError
        They cannot be written; nothing is left behind.
    """
    _write(path, picture.rgb, picture.alpha)
    return PixelFile(path, picture.width, picture.height, picture.alpha is not None)


def write_mask(levels: Levels, path: Path) -> MaskFile:
    """Write the light of a mask; raises as `write_pixels`."""
    _write(path, np.ascontiguousarray(levels))
    return MaskFile(path, levels.shape[1], levels.shape[0])


def _write(path: Path, *planes: Levels | None) -> None:
    try:
        with create(path) as file:
            for plane in planes:
                if plane is not None:
                    file.write(plane.data)
    except OSError:
        remove(path)
        raise
