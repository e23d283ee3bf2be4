"""The folder of an unfinished video: what is done stays done, until the result is complete."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clipstyler.output_files import write_whole
from clipstyler_cli.errors import UsageError

if TYPE_CHECKING:
    from clipstyler.imaging import Picture
    from clipstyler.video.shots import Shot

SUFFIX = ".unfinished"


@dataclass(frozen=True)
class Plan:
    """What was found in a video.

    Attributes
    ----------
    shots
        In order, without gaps.
    times
        Of every frame, in units of the video's time base.
    """

    shots: Sequence[Shot]
    times: Sequence[int]


class Work:
    """Everything of a run that is done already; files appear complete or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def seed(self) -> int:
        """The seed that was drawn for the run."""
        found: int = self._json("run.json")["seed"]
        return found

    def plan(self) -> Plan | None:
        """Return what was found in the video, if it was looked through."""
        from clipstyler.video.shots import Shot

        if not (self.folder / "shots.json").exists():
            return None
        found = self._json("shots.json")
        return Plan([Shot(*shot) for shot in found["shots"]], found["times"])

    def keep_plan(self, plan: Plan) -> None:
        """Keep what was found in the video."""
        self._write("shots.json", json.dumps({"shots": plan.shots, "times": plan.times}).encode())

    def keep_key_frames(self, shot: int, frames: Sequence[tuple[Picture, Picture]]) -> None:
        """Keep the key frames of a shot, each with the frame before it."""
        for number, pair in enumerate(frames):
            for picture, kind in zip(pair, ("frame", "before"), strict=True):
                self._write(f"shot-{shot:05}-{number}-{kind}.png", _png(picture))

    def key_frames(self, shot: int) -> list[tuple[Picture, Picture]]:
        """Return the key frames of a shot, each with the frame before it."""
        paths = sorted(self.folder.glob(f"shot-{shot:05}-*-frame.png"))
        return [(_picture(path), _picture(path.with_name(path.name.replace("frame", "before")))) for path in paths]

    def style(self) -> bytes | None:
        """Return the file of the style, if it was fitted."""
        from clipstyler.style import load_style

        path = self.folder / "look.style"
        if not path.exists():
            return None
        with _undamaged(path):
            data = path.read_bytes()
            load_style(data)
        return data

    def keep_style(self, data: bytes) -> None:
        """Keep the file of the style."""
        self._write("look.style", data)

    def frames_done(self) -> int:
        """Return how many frames were drawn, from the first one on."""
        return sum(1 for _ in self.folder.glob("frame-*.png"))

    def keep_frame(self, number: int, picture: Picture) -> None:
        """Keep a drawn frame; they come in order."""
        self._write(f"frame-{number:07}.png", _png(picture))

    def frame(self, number: int) -> Picture:
        """Return a drawn frame."""
        return _picture(self.folder / f"frame-{number:07}.png")

    def remove(self) -> None:
        """Remove all of it."""
        self.forget()
        shutil.rmtree(self.folder)

    def forget(self) -> None:
        """Remove what was asked for: without it the rest is nothing to go on with, however much of it is there."""
        (self.folder / "run.json").unlink(missing_ok=True)

    def request(self) -> Mapping[str, Any]:
        """Return what was asked for."""
        found: Mapping[str, Any] = self._json("run.json")["request"]
        return found

    def _json(self, name: str) -> Any:
        with _undamaged(self.folder / name):
            return json.loads((self.folder / name).read_text())

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self.folder / name, data)


@contextmanager
def work_of(out: Path, request: Mapping[str, Any], seed: int, *, restart: bool) -> Iterator[Work]:
    """Open the folder of an unfinished run, or make one; no other process works in it meanwhile.

    Parameters
    ----------
    out
        The result.
    request
        All that it depends on, as JSON has it.
    seed
        For a new run.
    restart
        Whether an unfinished run is discarded.

    Raises
    ------
    UsageError
        An unfinished run asks for something else, is at work, or is damaged.
    """
    from filelock import FileLock, Timeout

    folder = out.with_name(out.name + SUFFIX)
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"OUT: {out} is being made by another process") from None
    try:
        work = Work(folder)
        _check_request(work, request, seed, restart)
        yield work
    finally:
        lock.release()


def _check_request(work: Work, request: Mapping[str, Any], seed: int, restart: bool) -> None:
    """Compare what an unfinished run asks for; a new run begins if there is none."""
    run = work.folder / "run.json"
    if run.exists() and not restart:
        found = work.request()
        names = [name for name, value in request.items() if found.get(name) != value]
        if names:
            raise UsageError(
                f"OUT: {work.folder} has an unfinished run with other settings ({', '.join(names)}): repeat that "
                "command to go on with it, or discard it with --restart"
            )
        return
    work.forget()
    for path in work.folder.iterdir():
        if path.name != "lock":
            path.unlink()
    write_whole(run, json.dumps({"request": dict(request), "seed": seed}, indent=2).encode())


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.rgb).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _picture(path: Path) -> Picture:
    from clipstyler.imaging import Picture

    with _undamaged(path), Image.open(path) as image:
        return Picture(np.asarray(image))


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Name a file that cannot be read, such as one that a crash of the machine cut off, and the way out."""
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises them all
        raise UsageError(f"OUT: {path} is damaged ({error}): discard the unfinished run with --restart") from error
