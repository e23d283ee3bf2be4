"""Seconds per step and memory with each acceleration of a CPU, each in a process of its own.

Examples
--------
    python -m benchmarks.accelerations                                # everything: some ten minutes on two cores
    python -m benchmarks.accelerations --works pocket-256 vit-paper   # some of it
    python -m benchmarks.accelerations --sizes 256 512 1024 2048      # `pocket` by size: seconds and memory
    python -m benchmarks.accelerations --works vit-paper --combinations off bf16 --steps 49   # how the losses part
    python -m benchmarks.accelerations --json accelerations.json

`vit-*` is ViT-B/32 and VGG19 at full size, initialized at random. A process measures one combination, because the
allocator cannot forget what it kept, and works as the optimizer of a server does, preparation included. Combinations
are taken in turns, so that background load affects all alike. "Apart" is the largest relative difference of the loss
from that of the first combination, over all steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import acceleration_names, at_least_one

OFF = "off"
PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


class Work(NamedTuple):
    """What is stylized: encoders, size in pixels, patches, and the combinations that are measured."""

    encoders: str
    size: int
    patches: int
    combinations: tuple[str, ...]


_POCKET = (OFF, "memory", "channels_last", "memory,channels_last")
_BY_SIZE = (OFF, "memory,channels_last")
_SIZE_PATCHES = 16
_VIT = (OFF, "memory", "bf16", "channels_last", "memory,bf16,channels_last")
WORKS = {
    "pocket-256": Work("pocket", 256, 16, _POCKET),
    "pocket-512": Work("pocket", 512, 16, _POCKET),
    "pocket-1024": Work("pocket", 1024, 16, (OFF, "memory,channels_last")),
    "vit-draft": Work("vit-b-32", 256, 16, _VIT),
    "vit-paper": Work("vit-b-32", 512, 64, (OFF, "bf16", "memory,bf16,channels_last")),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: median seconds per step, how many times as fast as with none, and memory.

    `peak_mib` is the peak of the process over what it has with encoders loaded, `process_mib` that of the whole
    process. `pause_s` is the longest time in a step without a place to stop at. `losses` are those of all steps, and
    `apart` is by how much they differ from those of the first row of a work at most, as a fraction.
    """

    work: str
    accelerations: str
    step_s: float
    ratio: float
    peak_mib: int
    process_mib: int
    pause_s: float
    losses: list[float]
    apart: float = 0.0


def measure_here(encoders: str, size: int, patches: int, accelerations: str, steps: int) -> dict[str, Any]:
    """Measure one combination in this process."""
    from clipstyler.openmp import spin_briefly

    spin_briefly()  # before PyTorch is imported
    import torch

    from clipstyler.acceleration_choice import choose, retain_memory_for
    from clipstyler.config import resolve
    from clipstyler.encoders.registry import load
    from clipstyler.encoders.torch_encoders import TorchEncoders
    from clipstyler.evaluation.text_directions import text_guidance
    from clipstyler.imaging import decode, fit
    from clipstyler.interruption import StopPoints
    from clipstyler.preparation import prepare
    from clipstyler.run_state import RunState
    from clipstyler.stylizer import step

    choice = choose(accelerations, torch.device("cpu"), own_process=True)
    loaded = load(encoders, accelerations=choice.accelerations)
    config = resolve(loaded.calibration, size=size, patches=patches, enlarge=True)
    guidance = text_guidance(TorchEncoders(loaded), "fire", "a Photo", "plain")
    direction, text = (torch.from_numpy(row) for row in (guidance.direction, guidance.style))
    before = psutil.Process().memory_info().rss
    photo = fit(decode(PHOTO.read_bytes()), size, enlarge=True)
    if choice.accelerations.memory:
        retain_memory_for(photo.width, photo.height)
    state = RunState(photo, direction, loaded, config, seed=0, text=text)
    for _ in prepare(state):
        pass
    checks: list[float] = []
    stops = StopPoints(lambda: checks.append(time.perf_counter()), state.net, loaded.clip, loaded.content)
    durations, pauses, losses = [], [], []
    for _ in range(1 + steps):
        checks.clear()
        begun = time.perf_counter()
        with stops:
            (report,) = step([state], stops.check)
        durations.append(time.perf_counter() - begun)
        losses.append(report.losses.total)
        moments = [begun, *checks, begun + durations[-1]]
        pauses.append(max(after - earlier for earlier, after in itertools.pairwise(moments)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "step_s": statistics.median(durations[1:]),
        "pause_s": max(pauses[1:]),
        "peak_mib": (peak - before) // 2**20,
        "process_mib": peak // 2**20,
        "losses": losses,
    }


def measure(name: str, work: Work, steps: int, rounds: int, directory: Path) -> list[Row]:
    """Measure the combinations of a work in turns."""
    encoders = str(directory) if work.encoders == "vit-b-32" else work.encoders
    found: dict[str, list[dict[str, Any]]] = {combination: [] for combination in work.combinations}
    for _ in range(rounds):
        for combination, outcomes in found.items():
            task = [encoders, work.size, work.patches, combination, steps]
            command = [sys.executable, "-m", "benchmarks.accelerations", "--task", json.dumps(task)]
            outcomes.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    rows = [_row(name, combination, outcomes) for combination, outcomes in found.items()]
    return [replace(row, ratio=rows[0].step_s / row.step_s, apart=_apart(rows[0], row)) for row in rows]


def _apart(first: Row, row: Row) -> float:
    return max(abs(loss - plain) / abs(plain) for plain, loss in zip(first.losses, row.losses, strict=True))


def _row(name: str, combination: str, outcomes: list[dict[str, Any]]) -> Row:
    step_s = statistics.median(outcome["step_s"] for outcome in outcomes)
    peak_mib, process_mib = (max(int(outcome[name]) for outcome in outcomes) for name in ("peak_mib", "process_mib"))
    pause_s = max(outcome["pause_s"] for outcome in outcomes)
    return Row(name, combination, step_s, 1.0, peak_mib, process_mib, pause_s, outcomes[0]["losses"])


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table(title="Accelerations of a CPU")
    for heading in (
        "work",
        "accelerations",
        "step",
        "times as fast",
        "peak",
        "whole process",
        "longest pause",
        "apart",
    ):
        table.add_column(heading, justify="left" if heading in {"work", "accelerations"} else "right")
    for row in rows:
        speed = (f"{row.step_s:.2f} s", f"{row.ratio:.2f}")
        memory = (f"{row.peak_mib} MiB", f"{row.process_mib} MiB")
        table.add_row(row.work, row.accelerations, *speed, *memory, f"{row.pause_s:.2f} s", f"{row.apart:.2%}")
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), help="default: all")
    parser.add_argument(
        "--sizes", nargs="+", type=at_least_one, help="measure `pocket` at these sizes instead", metavar="PX"
    )
    parser.add_argument(
        "--combinations",
        nargs="+",
        type=acceleration_names,
        metavar="NAMES",
        help="accelerations; default: those of each work",
    )
    parser.add_argument(
        "--steps", type=at_least_one, default=3, help="measured steps of each, after one more; default: 3"
    )
    parser.add_argument("--rounds", type=at_least_one, default=1, help="processes per combination; default: 1")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    figures.add_option(parser)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(measure_here(*arguments.task)))
        return
    import torch

    works = {name: WORKS[name] for name in arguments.works}
    if arguments.sizes:
        works = {f"pocket-{size}": Work("pocket", size, _SIZE_PATCHES, _BY_SIZE) for size in arguments.sizes}
    if arguments.combinations:
        combinations = tuple(arguments.combinations)
        works = {name: work._replace(combinations=combinations) for name, work in works.items()}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        if any(work.encoders == "vit-b-32" for work in works.values()):
            from benchmarks.random_checkpoints import write_encoders
            from benchmarks.step import vit_b_32_config

            write_encoders(path, vit_b_32_config())
        rows = [
            row for name, work in works.items() for row in measure(name, work, arguments.steps, arguments.rounds, path)
        ]
    print_table(rows)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, torch.get_num_threads())


if __name__ == "__main__":
    main()
