"""The directory that results go to: a manifest, the results, and the photos that are done or failed.

This process may be killed at any moment: a result and a line of the manifest are complete or not there, and what is
done twice gives the same file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inbox import Photo

MANIFEST, RESULTS, DONE, FAILED = "manifest.jsonl", "results", "done", "failed"
SUCCEEDED_STATUS, FAILED_STATUS = "succeeded", "failed"
_LOCK = ".lock"
_SHORT = 13
_LONGEST_STEM = 80


class OutboxInUseError(Exception):
    """Another pipeline writes here."""


class Outbox:
    """The manifest and the files of a pipeline; belongs to one process at a time.

    Parameters
    ----------
    directory
        Created if it is missing.

    Raises
    ------
    OutboxInUseError
        Another process has it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in (RESULTS, DONE, FAILED):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._lock = (directory / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutboxInUseError(f"{directory}: another pipeline writes here") from None
        self._manifest = directory / MANIFEST
        self._lines = {line["request_id"]: line for line in self._read_manifest()}

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    def line(self, request_id: str) -> Mapping[str, Any] | None:
        """Return what the manifest has about a photo; None if it is not finished."""
        return self._lines.get(request_id)

    def write_result(self, photo: Photo, request_id: str, data: bytes, image_format: str) -> str:
        """Write a result; returns its path below the directory."""
        name = f"{RESULTS}/{photo.path.stem[:_LONGEST_STEM]}-{request_id[:_SHORT]}.{image_format}"
        unfinished = self.directory / f"{name}.part"
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.directory / name)
        return name

    def record(self, line: Mapping[str, Any]) -> None:
        """Append a line to the manifest, in one write."""
        data = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        descriptor = os.open(self._manifest, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, data) < len(data):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, "the manifest cannot be written completely", str(self._manifest))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines[line["request_id"]] = line

    def put_away(self, photo: Photo, status: str) -> None:
        """Move a photo out of the inbox, unless another one has taken its place there meanwhile."""
        if not photo.is_unchanged:
            return
        folder = self.directory / (DONE if status == SUCCEEDED_STATUS else FAILED)
        target = folder / photo.path.name
        if target.exists():
            target = folder / f"{photo.path.stem[:_LONGEST_STEM]}-{photo.digest[:_SHORT]}{photo.path.suffix}"
        _move(photo.path, target)

    def _read_manifest(self) -> list[dict[str, Any]]:
        """Read the manifest, without a last line that a crash cut: its photo is still in the inbox."""
        if not self._manifest.exists():
            return []
        complete, _, cut = self._manifest.read_bytes().rpartition(b"\n")
        if cut:
            os.truncate(self._manifest, len(complete) + 1 if complete else 0)
        return [json.loads(line) for line in complete.splitlines()]


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished = target.with_name(f".{target.name}.part")
        shutil.copy2(source, unfinished)
        unfinished.replace(target)
        source.unlink()
