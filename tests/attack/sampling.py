"""Resident memory and descriptors of the server's processes, by their names, sampled until cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import psutil

FRONT = "front"
_SAMPLE_S = 0.05
_DESCRIPTORS_EVERY = 10  # samples: counting them costs more


def children(record: Path) -> list[tuple[str, int]]:
    """Return the names and process ids of all processes that the server started, in order."""
    lines = (line.split() for line in record.read_text().splitlines())
    return [(name.removeprefix("clipstyler-"), int(pid)) for name, pid in lines]


def running(pid: int) -> psutil.Process | None:
    """Return a process that has not ended; None if it has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    return None


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


class ProcessSampler:
    """Keeps the peaks of each process; of several with the same name, that of the largest.

    Parameters
    ----------
    front_pid
        Process id of the server.
    record
        File that names its children.
    """

    def __init__(self, front_pid: int, record: Path) -> None:
        self._front = psutil.Process(front_pid)
        self._record = record
        self._ended: set[int] = set()
        self.restart()

    def restart(self) -> None:
        """Forget the peaks."""
        self._peaks: dict[str, int] = {}
        self._descriptors = 0

    def figures(self) -> dict[str, object]:
        """Return the peaks in bytes, and the most descriptors of the front process."""
        return {"peak_bytes": dict(self._peaks), "most_descriptors": self._descriptors}

    async def run(self) -> None:
        """Sample until cancelled."""
        number = 0
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._sample()
                if number % _DESCRIPTORS_EVERY == 0:
                    self._descriptors = max(self._descriptors, self._front.num_fds())
            number += 1
            await asyncio.sleep(_SAMPLE_S)

    def _sample(self) -> None:
        for name, pid in [(FRONT, self._front.pid), *children(self._record)]:
            if pid in self._ended:
                continue
            if size := resident_bytes(pid):
                self._peaks[name] = max(self._peaks.get(name, 0), size)
            else:
                self._ended.add(pid)
