"""Seconds per step, ours plain and accelerated beside the authors' algorithm, measured in one run.

Examples
--------
    python -m benchmarks.step                          # everything: some minutes on two cores
    python -m benchmarks.step --encoders pocket        # one set of encoders
    python -m benchmarks.step --steps 5 --json step.json

`vit-b-32` is initialized at random: speed does not depend on the weights, and no download is needed. The reference
(`benchmarks/reference.py`) is the algorithm as published; it knows CLIP and VGG19 only, so `pocket` is compared with
the reference on `vit-b-32`, which says what the bundled encoders save. Accelerated steps, with what a server would
choose on this machine, run in a process of their own, because the allocator cannot forget what it kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import open_clip
import torch
import torchvision
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.random_checkpoints import write_encoders
from benchmarks.reference import ReferenceRun
from clipstyler.acceleration_choice import choose
from clipstyler.config import PRESETS, Preset, resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.text_directions import text_direction
from clipstyler.imaging import Picture, decode, fit
from clipstyler.openmp import spin_briefly
from clipstyler.run_state import RunState
from clipstyler.stylizer import step

ARCHITECTURE = "ViT-B-32-quickgelu"
PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


@dataclass(frozen=True)
class Row:
    """One line of the table: median seconds per step, and how many times as fast as the reference."""

    encoders: str
    preset: str
    accelerations: str
    ours_s: float
    reference_s: float
    ratio: float


Timed = tuple[str, str, Callable[[], object]]
"""Encoders, accelerations, and one step of ours with them."""


def median_seconds(actions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median duration of each action, taken in turns after one unmeasured round."""
    durations: list[list[float]] = [[] for _ in actions]
    for _ in range(1 + repeats):
        for action, taken in zip(actions, durations, strict=True):
            begun = time.perf_counter()
            action()
            taken.append(time.perf_counter() - begun)
    return [statistics.median(taken[1:]) for taken in durations]


def vit_b_32_config() -> dict[str, Any]:
    """Return open_clip's configuration of ViT-B/32."""
    config: dict[str, Any] = open_clip.get_model_config(ARCHITECTURE)
    return config


def random_vit_b_32(directory: Path) -> Path:
    """Write ViT-B/32 and VGG19 at full size, initialized at random, as they are loaded from; returns the directory."""
    return write_encoders(directory / "vit-b-32-random", vit_b_32_config())


def fire_direction(encoders: EncoderSet) -> torch.Tensor:
    """Return the direction that both algorithms follow, (D,)."""
    return torch.from_numpy(text_direction(TorchEncoders(encoders), "fire", "a Photo", "plain")).to(encoders.device)


def ours(encoders: EncoderSet, photo: Picture, preset: Preset) -> Callable[[], object]:
    """One step of ours as an action."""
    config = resolve(encoders.calibration, preset, enlarge=True)
    direction = fire_direction(encoders)
    state = RunState(fit(photo, config.size, enlarge=True), direction, encoders, config, seed=0)
    return lambda: step([state])


def reference(encoders: EncoderSet, photo: Picture, preset: Preset) -> Callable[[], object]:
    """One step of the authors' algorithm as an action, on open_clip's own ViT-B/32."""
    config = resolve(encoders.calibration, preset)
    fitted = fit(photo, config.size, enlarge=True)
    content = torch.from_numpy(fitted.rgb.copy()).permute(2, 0, 1)[None].float().to(encoders.device) / 255
    direction = fire_direction(encoders)
    clip = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE)).eval().to(encoders.device)
    vgg = torchvision.models.vgg19().features.eval().requires_grad_(False).to(encoders.device)
    return ReferenceRun(content, direction, clip, vgg, config).step


@contextmanager
def accelerated(name: str, encoders: str, preset: Preset) -> Iterator[Timed]:
    """Yield the accelerated step of a process that runs as an optimizer does."""
    spawned = multiprocessing.get_context("spawn")
    ours_end, their_end = spawned.Pipe()
    # A daemon: it ends with this process.
    process = spawned.Process(target=_take_steps, args=(their_end, encoders, preset), daemon=True)
    process.start()

    def take_step() -> None:
        ours_end.send(True)
        ours_end.recv()

    yield name, ours_end.recv(), take_step
    ours_end.send(False)
    process.join()


def _take_steps(connection: Connection[Any, Any], encoders: str, preset: Preset) -> None:
    """Take a step for each truth that arrives, and say when it is done."""
    accelerations = choose("auto", torch.device("cpu"), own_process=True).accelerations
    take_step = ours(load(encoders, accelerations=accelerations), decode(PHOTO.read_bytes()), preset)
    connection.send(str(accelerations))
    while connection.recv():
        take_step()
        connection.send(True)


def measure(names: list[str], presets: list[Preset], repeats: int, directory: Path) -> list[Row]:
    """Measure every combination and the reference in turns, so that background load affects all alike."""
    photo, vit = decode(PHOTO.read_bytes()), str(random_vit_b_32(directory))
    spin_briefly()  # for the processes that are started from here on
    rows = []
    for preset in presets:
        with ExitStack() as stack:
            timed: list[Timed] = []
            for name in names:
                source = vit if name == "vit-b-32" else name
                timed.append((name, "off", ours(load(source), photo, preset)))
                timed.append(stack.enter_context(accelerated(name, source, preset)))
            actions = [action for *_, action in timed]
            *seconds, plain = median_seconds([*actions, reference(load(vit), photo, preset)], repeats)
        rows += [
            Row(name, preset, accelerations, s, plain, plain / s)
            for (name, accelerations, _), s in zip(timed, seconds, strict=True)
        ]
    return rows


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table(title=f"Seconds per step, torch {torch.__version__}, {torch.get_num_threads()} threads")
    texts = ("encoders", "preset", "size, patches", "accelerations")
    for heading in (*texts, "ours", "authors' algorithm", "times as fast"):
        table.add_column(heading, justify="left" if heading in texts else "right")
    for row in rows:
        work = PRESETS[Preset(row.preset)]
        table.add_row(
            row.encoders,
            row.preset,
            f"{work.size} px, {work.patches}",
            row.accelerations,
            f"{row.ours_s:.2f} s",
            f"{row.reference_s:.2f} s",
            f"{row.ratio:.1f}",
        )
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["pocket", "vit-b-32"], help="default: pocket vit-b-32")
    parser.add_argument("--presets", nargs="+", type=Preset, default=list(Preset), help="default: draft paper")
    parser.add_argument(
        "--steps", type=at_least_one, default=3, help="measured steps of each, after one more; default: 3"
    )
    figures.add_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(arguments.encoders, arguments.presets, arguments.steps, Path(directory))
    print_table(rows)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, torch.get_num_threads())


if __name__ == "__main__":
    main()
