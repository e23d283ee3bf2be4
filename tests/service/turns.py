"""Lets a scripted job make its steps one by one, so that no time decides what a test sees."""

from __future__ import annotations

from pathlib import Path

from clipstyler.v1.event_pb2 import StylizationEvent


class Turns:
    """The steps that a job with `turns=PATH` in its text may make.

    Parameters
    ----------
    folder
        In which `path` is, the file that lets it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "turns"

    def allow(self, steps: int) -> None:
        """Let the job make so many steps in all."""
        self.path.write_bytes(b"." * steps)

    def follow(self, event: StylizationEvent) -> None:
        """Let the job make the step after an event: each step is seen before the next one is made."""
        if event.HasField("started"):
            self.allow(1)
        if event.HasField("progress"):
            self.allow(event.progress.step + 1)
