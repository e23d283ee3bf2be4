"""A step of `pocket` on one thread and on all, alone and beside a busy process, by how long waiting threads spin.

Every cell is a process of its own, since that is decided while PyTorch is loaded; the optimizer's default is "briefly".

Examples
--------
  python -m benchmarks.threads
  python -m benchmarks.threads --seconds 20 --json threads.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import NamedTuple

from clipstyler_server.settings import Settings
from rich.table import Table

from benchmarks import figures
from clipstyler.openmp import SPINS

# Environment variables of each way of waiting.
_WAITING = {
    "long (OpenMP's default)": {},
    "briefly": {"GOMP_SPINCOUNT": str(SPINS)},
    "not at all": {"OMP_WAIT_POLICY": "PASSIVE"},
}


class Setting(NamedTuple):
    """How many threads compute, how long those that wait spin, and whether another process is busy."""

    threads: int
    waiting: str
    beside: bool


@dataclass(frozen=True)
class Row:
    """Median seconds a step in one setting, and how many times faster than one thread beside as many others that is."""

    threads: int
    waiting: str
    beside_a_busy_process: bool
    seconds: float
    times_faster: float


def settings() -> list[Setting]:
    """One thread, which never waits, then all by every way of waiting; alone, then beside a busy process."""
    cpus = Settings(threads=0).optimizer_threads
    return [
        setting
        for beside in (False, True)
        for setting in (Setting(1, "briefly", beside), *(Setting(cpus, waiting, beside) for waiting in _WAITING))
    ]


@contextmanager
def busy_process(wanted: bool) -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def measured(setting: Setting, seconds: float) -> float:
    """Median seconds per step, in a process with the priority of the server's optimizer."""
    environment = {k: v for k, v in os.environ.items() if k not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    environment |= _WAITING[setting.waiting]
    command = [sys.executable, "-m", "benchmarks.threads", "--child", str(setting.threads), "--seconds", str(seconds)]
    with busy_process(setting.beside):
        return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def child(threads: int, seconds: float) -> float:
    """Median seconds of a step in this process."""
    import torch  # the processes that only start others do without it

    from benchmarks.step import PHOTO, ours
    from clipstyler.config import Preset
    from clipstyler.encoders.registry import load
    from clipstyler.imaging import decode

    os.nice(Settings().nice)
    torch.set_num_threads(threads)
    action = ours(load("pocket"), decode(PHOTO.read_bytes()), Preset.DRAFT)
    action()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def rows(seconds: float) -> list[Row]:
    """Measure every setting; the first of each half is the reference."""
    found: list[Row] = []
    single = 0.0
    for setting in settings():
        taken = measured(setting, seconds)
        single = taken if setting.threads == 1 else single
        found.append(Row(*setting, seconds=round(taken, 4), times_faster=round(single / taken, 3)))
    return found


def table(measured_rows: list[Row]) -> Table:
    """Print the rows."""
    shown = Table("beside a busy process", "threads", "waiting threads spin", "step", "times faster")
    for row in measured_rows:
        beside = "yes" if row.beside_a_busy_process else "no"
        shown.add_row(beside, str(row.threads), row.waiting, f"{row.seconds:.2f} s", f"{row.times_faster:.2f}")
    return shown


def main() -> None:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.threads",
        description=purpose,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=12, help="of every setting; default: 12")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    figures.add_option(parser)
    arguments = parser.parse_args()
    if arguments.child:
        print(child(arguments.child, arguments.seconds))
        return
    found = rows(arguments.seconds)
    figures.show(table(found))
    figures.write(arguments.json, {"rows": [asdict(row) for row in found]})


if __name__ == "__main__":
    main()
