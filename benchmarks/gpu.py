"""A GPU: seconds per step beside the authors' algorithm, a whole run, jobs at once, and what accelerations change.

Examples
--------
    python -m benchmarks.gpu                             # everything: some minutes on an H200
    python -m benchmarks.gpu --only steps runs           # some parts
    python -m benchmarks.gpu --json benchmarks/results/gpu-h100.json

`vit-b-32` is initialized at random: speed does not depend on the weights, and no download is needed. Everything is
measured on one card in one process, one after another, after a warm-up; the reference is `benchmarks/reference.py`.

steps
    One step: the authors' algorithm, ours in the plain form (`off`), and with one acceleration after the other.
networks
    CLIP, the content encoder and StyleNet of a step, each alone, with `bf16` and then with `kernels` too.
choice
    What `accelerations=auto` measures when a server starts, and how long that takes here, kernels to compile included.
runs
    A whole run through the library from a photo of the right size to its picture, with what earlier runs left:
    captured steps, texts and photos. `first preview` is from the call to the first picture.
jobs
    Several runs of one shape at once, as an optimizer with `runs_per_device` takes them, beside one after another.
curves
    The largest relative difference of the loss over 50 steps, accelerated and plain.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.gpu_networks import network_ms
from benchmarks.step import PHOTO, fire_direction, median_seconds, random_vit_b_32, reference
from clipstyler import gpu_pieces
from clipstyler.acceleration import NAMES_BY_DEVICE, NONE, Accelerations, parse
from clipstyler.captured_steps import CapturedStep, CapturedSteps
from clipstyler.config import Preset, resolve
from clipstyler.embedding import Embedding, Launched
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import Picture, decode, fit
from clipstyler.interruption import never
from clipstyler.optimization import Reuse, optimize_in_parts
from clipstyler.photo_cache import PhotoCache
from clipstyler.run_state import RunState
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler.stylizer import embed_together, step
from clipstyler.tf32 import use_tf32

ALL = "graphs,tf32,channels_last,bf16,kernels"
VARIANTS = (
    "off",
    "graphs",
    "graphs,tf32",
    "graphs,tf32,channels_last",
    "graphs,tf32,channels_last,kernels",
    "graphs,tf32,channels_last,bf16",
    ALL,
)
_TEXTS = ("fire", "gold", "ink", "lava", "wool", "blueprint")
PARTS = ("choice", "steps", "networks", "runs", "jobs", "curves")
"""In the order in which they are measured: the choice comes before anything has compiled its kernels."""
_CACHE_BYTES = 2**28
_JOB_STEPS = 60  # of each of several runs


@dataclass(frozen=True)
class Setting:
    """Encoders and a preset that are measured together.

    Attributes
    ----------
    source, vit
        Where these encoders and those of the reference are loaded from.
    """

    encoders: str
    source: str
    vit: str
    preset: Preset

    @property
    def name(self) -> str:
        """Encoders and preset, for people."""
        return f"{self.encoders}, {self.preset}"

    def load(self, accelerations: str) -> EncoderSet:
        """Load the encoders onto the card, and set the precision of this process."""
        wanted: Accelerations = parse(accelerations) or NONE
        use_tf32(wanted.tf32)
        return load(self.source, "cuda", accelerations=wanted)

    def spec(self, encoders: EncoderSet, text: str = "fire", seed: int = 0, every_steps: int = 0) -> StylizationSpec:
        """Return what is asked for, at the size of the optimization."""
        request = SpecRequest(
            text, options={"preset": self.preset, "seed": seed, "enlarge": True}, previews={"every_steps": every_steps}
        )
        found = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
        return replace(found, config=replace(found.config, output_size=found.config.size))

    def photo(self, encoders: EncoderSet) -> Picture:
        """Return the photo at the size of the optimization."""
        config = resolve(encoders.calibration, self.preset, enlarge=True)
        return fit(decode(PHOTO.read_bytes()), config.size, enlarge=True)

    def state(self, encoders: EncoderSet) -> RunState:
        """Return a run that has completed no step."""
        config = resolve(encoders.calibration, self.preset, enlarge=True)
        return RunState(self.photo(encoders), fire_direction(encoders), encoders, config, seed=0)


def reusing() -> Reuse:
    """Return room for all that one run can keep for another."""
    return Reuse(DirectionCache(_CACHE_BYTES), PhotoCache(_CACHE_BYTES), CapturedSteps())


def synchronized(action: Callable[[], object]) -> Callable[[], None]:
    """Return an action that ends when the card has done it."""

    def run() -> None:
        action()
        torch.cuda.synchronize()

    return run


def stepping(setting: Setting, accelerations: str) -> Callable[[], object]:
    """Return what takes one step of ours with some accelerations."""
    encoders = setting.load(accelerations)
    state = setting.state(encoders)
    if not encoders.accelerations.graphs:
        return lambda: step([state])
    captured = CapturedStep([state])
    captured.use([state])

    def take() -> None:
        for _ in captured.step_in_parts([state], never):
            pass

    return take


def measure_steps(setting: Setting, repeats: int) -> dict[str, Any]:
    """Measure one step in every form; the precision is set before each, as it is part of the form."""
    found: dict[str, Any] = {}
    for name in ("authors", *VARIANTS):
        if name == "authors":
            use_tf32(False)  # as in the row `off`
            vit = load(setting.vit, "cuda")
            action = reference(vit, setting.photo(vit), setting.preset)
        else:
            action = stepping(setting, name)
        for _ in range(3):
            action()
        (found[name],) = median_seconds([synchronized(action)], repeats if name != "authors" else max(3, repeats // 5))
        torch.cuda.empty_cache()
    return {
        "setting": setting.name,
        "step_ms": {name: 1e3 * seconds for name, seconds in found.items()},
        "times_as_fast": {name: found["authors"] / found[name] for name in VARIANTS},
    }


def measure_networks(setting: Setting, accelerations: str, repeats: int) -> dict[str, Any]:
    """Measure the networks of a step one by one."""
    found = network_ms(setting.state(setting.load(accelerations)), repeats)
    torch.cuda.empty_cache()
    return {"setting": setting.name, "accelerations": accelerations} | found


def measure_choice() -> dict[str, Any]:
    """Measure the accelerations as a server does when it starts."""
    begun = time.perf_counter()
    found = gpu_pieces.speedups(torch.device("cuda"), NAMES_BY_DEVICE["cuda"])
    return {"seconds": time.perf_counter() - begun, "speedups": found}


def measure_run(setting: Setting, accelerations: str, repeats: int) -> dict[str, Any]:
    """Measure whole runs after one that leaves all there is to reuse; each has another text, as users' have."""
    torch.cuda.empty_cache()  # of what was measured before
    torch.cuda.reset_peak_memory_stats()
    encoders = setting.load(accelerations)
    photo, reuse = setting.photo(encoders), reusing()
    found = []
    for number, text in enumerate(_TEXTS[: 1 + repeats]):
        spec = setting.spec(encoders, text, seed=number, every_steps=10)
        found.append(_timed(optimize_in_parts(photo, spec, encoders, reuse=reuse)))
    warm = found[1:]
    timings = [run.timings for run in warm]
    return {
        "setting": setting.name,
        "accelerations": accelerations,
        "steps": spec.config.steps,
        "first_run_s": found[0].whole_s,
        "whole_s": statistics.median(run.whole_s for run in warm),
        "first_preview_ms": 1e3 * statistics.median(run.first_preview_s for run in warm),
        "optimize_s": statistics.median(each["optimize_s"] for each in timings),
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
    }


class _Timed(NamedTuple):
    """Seconds of a run, those until its first picture, and what it says of itself."""

    whole_s: float
    first_preview_s: float
    timings: dict[str, float]


def _timed(events: Iterable[object]) -> _Timed:
    begun, first, timings = time.perf_counter(), 0.0, {}
    for event in events:
        if isinstance(event, Preview) and not first:
            first = time.perf_counter() - begun
        if isinstance(event, Result):
            timings = asdict(event.timings)
    return _Timed(time.perf_counter() - begun, first, timings)


def finish(runs: Sequence[Any]) -> None:
    """Advance runs in turns to their ends, each to the middle of its next step, as an optimizer does."""
    going = list(runs)
    while going:
        waiting = []
        for run in list(going):
            for part in run:
                if isinstance(part, Embedding):
                    waiting.append(part)
                if isinstance(part, Embedding | Launched):
                    break
            else:
                going.remove(run)
        embed_together(waiting)


def measure_jobs(setting: Setting, accelerations: str, jobs: int) -> dict[str, Any]:
    """Measure runs at once beside the same runs one after another, in turns, after one round of each."""
    encoders = setting.load(accelerations)
    photo, reuse, steps = setting.photo(encoders), reusing(), _JOB_STEPS

    def begun() -> list[Any]:
        specs = [setting.spec(encoders, seed=seed) for seed in range(jobs)]
        specs = [replace(spec, config=replace(spec.config, steps=steps)) for spec in specs]
        return [optimize_in_parts(photo, spec, encoders, reuse=reuse) for spec in specs]

    def one_by_one() -> None:
        for run in begun():
            finish([run])

    alone_s, together_s = median_seconds([one_by_one, lambda: finish(begun())], 1)
    return {
        "setting": setting.name,
        "accelerations": accelerations,
        "jobs": jobs,
        "steps": steps,
        "alone_per_minute": 60 * jobs / alone_s,
        "together_per_minute": 60 * jobs / together_s,
        "gain": alone_s / together_s,
    }


def measure_curves(setting: Setting, steps: int = 50) -> dict[str, Any]:
    """Compare the losses of runs in the plain form and with all accelerations."""
    curves = []
    for accelerations in ("off", ALL):
        encoders = setting.load(accelerations)
        spec = setting.spec(encoders)
        spec = replace(spec, config=replace(spec.config, steps=steps))
        events = optimize_in_parts(setting.photo(encoders), spec, encoders)
        curves.append([event.losses.total for event in events if isinstance(event, Progress)])
    apart = [abs(a - b) / abs(a) for a, b in zip(*curves, strict=True)]
    return {"setting": setting.name, "steps": steps, "largest": max(apart), "last": apart[-1]}


def table_of(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Lay out measurements of one kind."""
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(_told(value) for value in row.values()))
    return table


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_told(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measure(arguments: argparse.Namespace, settings: Sequence[Setting]) -> None:
    """Measure the wanted parts in the order of `PARTS`; each is written as soon as it is measured."""
    repeats = arguments.repeats
    work: dict[str, Callable[[Setting], list[dict[str, Any]]]] = {
        "steps": lambda setting: [measure_steps(setting, 5 * repeats)],
        "networks": lambda setting: [measure_networks(setting, each, repeats) for each in VARIANTS[-2:]],
        "runs": lambda setting: [measure_run(setting, ALL, repeats)],
        "jobs": lambda setting: [measure_jobs(setting, ALL, arguments.jobs)],
        "curves": lambda setting: [measure_curves(setting)],
    }
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    for part in filter(arguments.only.__contains__, PARTS):
        if part == "choice":
            found[part] = [measure_choice()]
        else:
            found[part] = [row for setting in settings for row in work[part](setting)]
        figures.show(table_of(part, found[part]))
        figures.write(arguments.json, found)


def main() -> None:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all of them")
    parser.add_argument("--encoders", nargs="+", default=["vit-b-32", "pocket"], help="default: vit-b-32 pocket")
    parser.add_argument("--jobs", type=at_least_one, default=8, help="runs at once; default: 8")
    parser.add_argument("--repeats", type=int, choices=range(1, 6), default=3, help="1 to 5; default: 3")
    figures.add_option(parser)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    with tempfile.TemporaryDirectory() as directory:
        vit = str(random_vit_b_32(Path(directory)))
        sources = {"vit-b-32": (vit, Preset.PAPER), "pocket": ("pocket", Preset.DRAFT)}
        settings = [
            Setting(name, source, vit, preset) for name in arguments.encoders for source, preset in [sources[name]]
        ]
        measure(arguments, settings)


if __name__ == "__main__":
    main()
