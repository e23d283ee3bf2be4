"""Files on their way between machines: a message that names one carries its contents instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipstyler.events import Result
from clipstyler.imaging import ImageFile
from clipstyler_server.spool import PixelFile, create
from clipstyler_server.workers.messages import PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.applications import Applied, Apply, StyleFile

_File = PixelFile | StyleFile | ImageFile


@dataclass(frozen=True)
class Parcel:
    """A file and its contents."""

    file: _File
    data: bytes

    @classmethod
    def of(cls, file: _File) -> Parcel:
        """Read a file.

        Raises
        ------
        OSError
            It cannot be read.
        """
        return cls(file, file.path.read_bytes())

    def unpacked(self, path: Path) -> Any:
        """Write the file; returns what the message named, there.

        Raises
        ------
        OSError
            It cannot be written.
        """
        with create(path) as file:
            file.write(self.data)
        return replace(self.file, path=path)


def pack_command(command: Any) -> Any:
    """Return a command with the contents of its files; raises `OSError` if one cannot be read."""
    match command:
        case PhotoReady(_, PixelFile() as photo):
            return replace(command, photo=Parcel.of(photo))
        case Apply():
            second = Parcel.of(command.second) if command.second else None
            style, photo = Parcel.of(command.style), Parcel.of(command.photo)
            return replace(command, style=style, second=second, photo=photo)
    return command


def unpack_command(command: Any, directory: Path) -> Any:
    """Write the files of a command into a directory of this machine; raises `OSError`."""
    match command:
        case PhotoReady(job_id, Parcel() as photo):
            return replace(command, photo=photo.unpacked(directory / f"{job_id}.photo"))
        case Apply(number):
            style, second, photo = (
                parcel and parcel.unpacked(directory / f"style-{number}.{kind}")
                for kind, parcel in (("first", command.style), ("second", command.second), ("photo", command.photo))
            )
            target = directory / f"style-{number}.result"
            return replace(command, style=style, second=second, photo=photo, target=target)
    return command


def pack_message(message: Any) -> Any:
    """Return a message with the contents of its file, which is deleted here."""
    match message:
        case TaskEvent(_, Result(image=ImageFile() as image) as result):
            return replace(message, event=replace(result, image=_taken(image)))  # type: ignore[arg-type]
        case Applied(_, ImageFile() as image):
            return replace(message, end=_taken(image))  # type: ignore[arg-type]
    return message


def unpack_message(message: Any, target: Path | None) -> Any:
    """Write the file of a message to its target in the front's spool; raises `OSError`."""
    match message:
        case TaskEvent(_, Result(image=Parcel() as image) as result) if target:
            return replace(message, event=replace(result, image=image.unpacked(target)))
        case Applied(_, Parcel() as image) if target:
            return replace(message, end=image.unpacked(target))
    return message


def _taken(file: ImageFile) -> Parcel:
    parcel = Parcel.of(file)
    file.path.unlink(missing_ok=True)
    return parcel
