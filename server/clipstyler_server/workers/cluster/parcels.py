"""Files on their way between machines: a message that names some travels with their contents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipstyler.events import Result
from clipstyler.imaging import ImageFile
from clipstyler_server.observability import logs
from clipstyler_server.spool import PixelFile, create, remove
from clipstyler_server.workers.engine import TaskFailed
from clipstyler_server.workers.messages import Cancel, PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.applications import Applied, Apply, CancelApply
from clipstyler_server.workers.optimizer.image_files import storage_failure

# Fields of commands that name files.
_FILES = ("photo", "mask", "style", "second")


@dataclass(frozen=True)
class Parcel:
    """A message, and the contents of the files that it names, by field; a file that is gone has none."""

    message: Any
    contents: Mapping[str, bytes]


def pack_command(command: Any) -> Any:
    """Return a command with the contents of its files, if it names any; one that is gone is missed where it is read.

    Raises
    ------
    OSError
        A file that is there cannot be read.
    """
    match command:
        case PhotoReady(_, PixelFile()) | Apply():
            return _packed(command)
    return command


def unpack_command(parcel: Any, directory: Path) -> Any:
    """Write the files of a command into a directory of this machine; raises `OSError`."""
    match parcel:
        case Parcel(PhotoReady(job_id, number=number) as command, contents):
            paths = {name: directory / f"{job_id}-{number}.{name}" for name in contents}
            return _unpacked(command, contents, paths)
        case Parcel(Apply(number) as command, contents):
            paths = {name: directory / f"style-{number}.{name}" for name in contents}
            return replace(_unpacked(command, contents, paths), target=directory / f"style-{number}.result")
    return parcel


def undeliverable(command: PhotoReady | Apply, error: OSError) -> tuple[TaskEvent | Applied, Cancel | CancelApply]:
    """Return how the work ends whose files cannot be read or written, and the command that stops it elsewhere."""
    failed = storage_failure(error)
    logs.get_logger().error("files_not_delivered", problem=failed.problem)
    if isinstance(command, Apply):
        return Applied(command.number, failed), CancelApply(command.number)
    return TaskEvent(command.job_id, failed), Cancel(command.job_id)


def files_in(directory: Path, job_id: str) -> list[Path]:
    """Return the photos and the mask of a job that were written."""
    return list(directory.glob(f"{job_id}-*"))


def pack_message(message: Any) -> Any:
    """Return a message with the contents of its image, which is deleted here; raises `OSError`."""
    match message:
        case TaskEvent(_, Result(image=ImageFile() as image)) | Applied(_, ImageFile() as image):
            parcel = Parcel(message, {"image": image.path.read_bytes()})
            remove(image.path)
            return parcel
    return message


def unpack_message(parcel: Parcel, target: Path) -> Any:
    """Write the image of a message to its target in the front's spool; raises `OSError`."""
    _write(target, parcel.contents["image"])
    message = parcel.message
    if isinstance(message, Applied):
        return replace(message, end=_moved(message.end, target))
    return replace(message, event=replace(message.event, image=_moved(message.event.image, target)))


def with_end(message: Any, end: TaskFailed) -> Any:
    """Return a message that ends its work in another way."""
    return replace(message, end=end) if isinstance(message, Applied) else replace(message, event=end)


def _packed(command: PhotoReady | Apply) -> Parcel:
    contents: dict[str, bytes] = {}
    for name in _FILES:
        if file := getattr(command, name, None):
            with suppress(FileNotFoundError):
                contents[name] = file.path.read_bytes()
    return Parcel(command, contents)


def _unpacked(message: Any, contents: Mapping[str, bytes], paths: Mapping[str, Path]) -> Any:
    for name, data in contents.items():
        _write(paths[name], data)
    return replace(message, **{name: _moved(getattr(message, name), paths[name]) for name in contents})


def _moved(file: Any, path: Path) -> Any:
    return replace(file, path=path)


def _write(path: Path, data: bytes) -> None:
    with create(path) as file:
        file.write(data)
