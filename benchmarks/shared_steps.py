"""Several jobs in shared steps beside the same jobs one after another: images a minute, and how far results differ.

Examples
--------
    python -m benchmarks.shared_steps                              # 4 jobs of `pocket` at 128 and 256 px: some minutes
    python -m benchmarks.shared_steps --jobs 8 --sizes 128 --steps 10
    python -m benchmarks.shared_steps --device cuda --json shared-steps.json

Both ways take the same steps of the same jobs in turns in one process, so that background load affects both alike.
In shared steps CLIP sees the views of all jobs in one batch; everything else is computed job by job. The results of
both ways are compared after the first step and after the last, in levels of 255. How far one thread fewer moves the
first job's result says what a difference in rounding comes to that nobody would call another result.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from clipstyler.acceleration_choice import choose
from clipstyler.composition import Guide
from clipstyler.config import Preset, resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.text_directions import text_guidance
from clipstyler.imaging import Picture, decode, fit
from clipstyler.openmp import spin_briefly
from clipstyler.preparation import prepare
from clipstyler.run_state import RunState
from clipstyler.stylizer import step

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
TEXTS = ("fire", "watercolor painting", "starry night", "a mosaic of glass")
LEAST_GAIN = 1.15
"""Shared steps are a default only where they are at least so many times as fast."""


@dataclass(frozen=True)
class Row:
    """One size.

    Attributes
    ----------
    alone_per_minute, shared_per_minute
        Jobs of the draft's number of steps that end per minute, by their steps.
    gain
        Median over the turns of how many times as fast shared steps are.
    first_difference
        Largest difference between both ways after one step, in levels of 255.
    mean_difference
        Between the results of both ways after the last step, in levels of 255.
    thread_difference
        The same between the first job alone and the same with one thread fewer.
    loss_difference
        The largest relative difference between the losses of both ways, averaged over the second half of the steps.
    same_bytes
        Whether the results agree byte for byte.
    """

    size: int
    jobs: int
    alone_per_minute: float
    shared_per_minute: float
    gain: float
    first_difference: float
    mean_difference: float
    thread_difference: float
    loss_difference: float
    same_bytes: bool


def states(encoders: EncoderSet, photo: Picture, size: int, jobs: int) -> list[RunState]:
    """Return prepared jobs, each with its text and its seed."""
    config = resolve(encoders.calibration, Preset.DRAFT, size=size)
    found = []
    for seed in range(jobs):
        text = TEXTS[seed % len(TEXTS)]
        source = encoders.calibration.source_text
        guidance = text_guidance(TorchEncoders(encoders), text, source, config.template_set)
        guide = Guide.of(guidance, config, encoders)
        state = RunState(fit(photo, size), guide.direction, encoders, config, seed, guide.text)
        for _ in prepare(state):
            pass
        found.append(state)
    return found


def shared(jobs: list[RunState]) -> list[float]:
    """Complete a step of every job, all in one; returns the losses."""
    return [report.losses.total for report in step(jobs)]


def one_by_one(jobs: list[RunState]) -> list[float]:
    """Complete a step of every job, one after another; returns the losses."""
    return [step([job])[0].losses.total for job in jobs]


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Return how long an action takes."""
    begun = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def measure(encoders: EncoderSet, photo: Picture, size: int, jobs: int, steps: int) -> Row:
    """Measure one size: both ways in turns, then results of both ways."""
    alone, together = states(encoders, photo, size, jobs), states(encoders, photo, size, jobs)
    alone_s, shared_s, first_difference = [], [], 0.0
    losses: tuple[list[list[float]], list[list[float]]] = [], []
    for turn in range(1 + steps):
        alone_s.append(seconds(lambda: losses[0].append(one_by_one(alone)), encoders.device))
        shared_s.append(seconds(lambda: losses[1].append(shared(together)), encoders.device))
        if turn == 0:
            first_difference = float(np.abs(levels(alone) - levels(together)).max())
    alone_s, shared_s = alone_s[1:], shared_s[1:]
    late = [np.array(rows)[-steps // 2 :].mean(axis=0) for rows in losses]
    apart = np.abs(levels(alone) - levels(together))
    whole = resolve(encoders.calibration, Preset.DRAFT).steps
    return Row(
        size=size,
        jobs=jobs,
        alone_per_minute=60 * jobs / (whole * statistics.median(alone_s)),
        shared_per_minute=60 * jobs / (whole * statistics.median(shared_s)),
        gain=statistics.median(a / b for a, b in zip(alone_s, shared_s, strict=True)),
        first_difference=first_difference,
        mean_difference=float(apart.mean()),
        thread_difference=float(
            np.abs(levels(alone[:1]) - with_fewer_threads(encoders, photo, size, 1 + steps)).mean()
        ),
        loss_difference=float(np.max(np.abs(late[0] - late[1]) / np.abs(late[0]))),
        same_bytes=not apart.any(),
    )


def levels(jobs: list[RunState]) -> NDArray[np.float64]:
    """Return what the networks show now, in levels of 255 that are not rounded."""
    with torch.no_grad():
        return np.stack([255 * state.render().cpu().double().numpy() for state in jobs])


def with_fewer_threads(encoders: EncoderSet, photo: Picture, size: int, steps: int) -> NDArray[np.float64]:
    """Return what the network of the first job shows after so many steps with one thread fewer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    job = states(encoders, photo, size, 1)
    for _ in range(steps):
        one_by_one(job)
    found = levels(job)
    torch.set_num_threads(threads)
    return found


def measure_all(device_name: str, sizes: list[int], jobs: int, steps: int) -> tuple[str, list[Row]]:
    """Measure every size in a process that computes as an optimizer does; returns its accelerations too."""
    torch.set_num_threads(os.cpu_count() or 1)
    device = torch.device(device_name)
    accelerations = choose("auto", device, own_process=True).accelerations
    encoders, photo = load("pocket", device, accelerations=accelerations), decode(PHOTO.read_bytes())
    return str(accelerations), [measure(encoders, photo, size, jobs, steps) for size in sizes]


def print_table(rows: list[Row], jobs: int, steps: int) -> None:
    """Print the rows; a gain that makes shared steps a default is green."""
    table = Table(title=f"{jobs} jobs of `pocket`, draft; differences after the first and after {steps + 1} steps")
    differences = ("first, largest", "last, mean", "a thread fewer", "loss", "same bytes")
    for heading in ("size", "one after another", "shared", "times as fast", *differences):
        table.add_column(heading, justify="right")
    for row in rows:
        color = "green" if row.gain >= LEAST_GAIN else "red"
        table.add_row(
            f"{row.size} px",
            f"{row.alone_per_minute:.2f} /min",
            f"{row.shared_per_minute:.2f} /min",
            f"[{color}]{row.gain:.3f}[/{color}]",
            f"{row.first_difference:.4f}",
            f"{row.mean_difference:.4f}",
            f"{row.thread_difference:.4f}",
            f"{row.loss_difference:.1e}",
            str(row.same_bytes),
        )
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=at_least_one, default=4, help="that share a step; default: 4")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[128, 256], help="default: 128 256")
    parser.add_argument(
        "--steps", type=at_least_one, default=20, help="measured steps of each, after one more; default: 20"
    )
    parser.add_argument("--device", default="cpu", help="default: cpu")
    figures.add_option(parser)
    arguments = parser.parse_args()
    spin_briefly()  # for the process that measures
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        accelerations, rows = pool.apply(
            measure_all, (arguments.device, arguments.sizes, arguments.jobs, arguments.steps)
        )
    print_table(rows, arguments.jobs, arguments.steps)
    measured = {"device": arguments.device, "accelerations": accelerations, "steps": arguments.steps}
    figures.write(arguments.json, measured | {"rows": [asdict(row) for row in rows]}, os.cpu_count())


if __name__ == "__main__":
    main()
