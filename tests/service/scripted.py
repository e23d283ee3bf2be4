"""A workload that does what its style text says, so that the real process machinery runs on a known script.

The style text is words of the form key=value:

step=S       seconds per step
hold=PATH    at the step `at` (default 2), wait until the file PATH exists
turns=PATH   each step waits until the file PATH has as many bytes as the step's number
last=PATH    at the last step, wait until the file PATH exists
park=PATH    at the step `at`, leave the turns to other tasks until the file PATH exists
once=PATH    at the step `at`, unless the file PATH exists: create it and take until the work is stopped
at=N         see hold, park, once, die, fail and oom
die=1        end the process at the step `at`
fail=1       raise at the step `at`
oom=1        run out of memory at the step `at`
busy=1       the step `at` takes until the work is stopped within it
parts=N      prepare in N parts
enough=N     N steps are enough: the run ends before its last one
warning=CODE warn with CODE before the first step
side=N       the result is N x N px of noise
tiles=N      the result is the negative of the photo at the size of the result, drawn in N tiles of `step` seconds;
             a region keeps the photo, or is black if it has a text
trace=PATH   append "step N" for every step begun and "closed" at the end
times=PATH   append the monotonic time of every step begun, in seconds

Each step waits in its middle, so that steps of several tasks can be shared: versions say how many were.

A style is applied by its own text in the same way: it makes the negative of the photo in `tiles` tiles (default 1), and
obeys `hold`, `die`, `fail`, `oom` and `busy` before the last one.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
from clipstyler_server.workers.engine import EngineInfo, StartupError, Task
from clipstyler_server.workers.optimizer.applications import Apply
from clipstyler_server.workers.optimizer.workload import Check, LibraryEvent, OptimizerOptions

from clipstyler.config import Calibration
from clipstyler.embedding import Embedding, Wait
from clipstyler.encoders.description import EncoderDescription, EncoderModel
from clipstyler.events import (
    Losses,
    Optimized,
    Preparing,
    Preview,
    Progress,
    Rendering,
    Result,
    Started,
    Timings,
    Warning,
)
from clipstyler.imaging import Picture, fit
from clipstyler.masking import join
from clipstyler.original import Original
from tests.service.styles import style_file

LOSSES = Losses(12.5, 0.5, 0.25, 0.125, 2.0)
MODELS = (EncoderModel("scripted", "ab" * 32),)
VERSIONS = {"scripted": "1"}
ACCELERATIONS = ("memory", "bf16")


def make(options: OptimizerOptions) -> Script:
    if "unfit" in options.encoder_sets:
        raise StartupError("the encoders 'unfit' cannot be loaded: this is a test")
    return Script(options)


class Script:
    def __init__(self, options: OptimizerOptions, calibration: Calibration | None = None) -> None:
        encoder_sets = tuple(
            EncoderDescription(name, f"scripted {name}", MODELS, calibration or Calibration())
            for name in options.encoder_sets
        )
        self.info = EngineInfo(encoder_sets, "cpu", "scripted", options.threads, VERSIONS, ACCELERATIONS)

    def device_memory(self) -> dict[str, int]:
        return {"used": 2, "peak": 1, "total": 4}

    def stylize(
        self, task: Task, original: Original, others: Sequence[Picture], check: Check
    ) -> Iterator[LibraryEvent | Wait]:
        words = _words(task.spec.style_text)
        trace = Path(words["trace"]) if "trace" in words else None
        try:
            for other in others:
                _note(trace, f"other {other.width} x {other.height}")
            yield from self._steps(task, original, words, trace, check)
        finally:
            _note(trace, "closed")

    def share(self, waiting: Sequence[Embedding]) -> None:
        for one in waiting:
            one.gradient = one.views

    def apply(self, order: Apply, check: Check) -> Generator[Rendering, None, Picture]:
        style = order.style.load()
        if order.second:
            order.second.load()
        words = _words(style.description.style_text)
        tiles, trace = int(words.get("tiles", 1)), Path(words["trace"]) if "trace" in words else None
        for tile in range(tiles):
            check()
            yield Rendering(tile, tiles)
            _note(trace, f"tile {tile + 1}")
            time.sleep(float(words.get("step", 0)))
        _happen(words, check)
        yield Rendering(tiles, tiles)
        photo = order.photo.load()
        picture = fit(photo, order.controls.output_size or max(photo.width, photo.height))
        return Picture(255 - picture.rgb, picture.alpha)

    def _style(self, task: Task) -> bytes:
        return style_file(task.spec.style_text, task.spec.seed, photos=1 + task.other_photos)

    def _steps(
        self, task: Task, original: Original, words: dict[str, str], trace: Path | None, check: Check
    ) -> Iterator[LibraryEvent | Embedding]:
        spec, width, height = task.spec, task.picture.width, task.picture.height
        # The threshold stands for everything that a calibration decides.
        rng = np.random.default_rng([spec.seed, zlib.crc32(f"{spec.style_text} {spec.config.threshold}".encode())])
        steps, step_s = spec.config.steps, float(words.get("step", 0))
        begun = time.monotonic()
        yield Started(steps, width, height, "cpu")
        if "warning" in words:
            yield Warning(words["warning"], "something to know")
        parts = int(words.get("parts", 0))
        for part in range(parts + 1 if parts else 0):
            yield Preparing(part, parts)
        if spec.previews.wants(0):
            yield Preview(0, _noise(np.random.default_rng(0), width, height))
        before_s, shared_steps = 0.0, 0
        for number in range(1, int(words.get("enough", steps)) + 1):
            _note(trace, f"step {number}")
            _note(Path(words["times"]) if "times" in words else None, f"{time.monotonic():.6f}")
            waiting = _waiting()
            yield waiting
            shared_steps += waiting.gradient is not None
            while "park" in words and number == int(words.get("at", 2)) and not Path(words["park"]).exists():
                time.sleep(0.005)
                yield _waiting()
            time.sleep(step_s)
            _wait_for_turn(words, number, steps, check)
            if number == int(words.get("at", 2)):
                _happen(words, check)
            picture = _noise(rng, width, height)
            elapsed = time.monotonic() - begun
            if spec.previews.wants(number):
                yield Preview(number, picture)
            remaining = elapsed / number * (steps - number)
            yield Progress(number, steps, LOSSES, 0.5, elapsed, remaining, elapsed - before_s)
            before_s = elapsed
        result = _noise(rng, width, height)
        yield Optimized(result)
        if side := int(words.get("side", 0)):
            result = _noise(rng, side, side)
        if "tiles" in words:
            result = yield from _negative(task, original, int(words["tiles"]), trace, step_s)
        yield Result(
            image=result,
            spec=spec,
            models=MODELS,
            device="cpu",
            provider="scripted",
            threads=self.info.threads,
            versions=VERSIONS | ({"shared_steps": str(shared_steps)} if shared_steps else {}),
            losses=LOSSES,
            timings=Timings(optimize_s=time.monotonic() - begun),
            steps=number,
            style=self._style(task) if spec.config.keep_style else b"",
        )


def _waiting() -> Embedding:
    return Embedding(clip=None, views=np.zeros(0), objective=None)


def _words(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def _negative(
    task: Task, original: Original, tiles: int, trace: Path | None, tile_s: float
) -> Generator[LibraryEvent, None, Picture]:
    """The original with inverted colors, joined with the region, drawn in so many tiles."""
    region, is_other_size = task.spec.region, task.needs_original or task.spec.region is None
    picture = original.load() if is_other_size else task.picture
    yield Rendering(0, tiles)
    for tile in range(1, tiles + 1):
        _note(trace, f"tile {tile}")
        time.sleep(tile_s)
        yield Rendering(tile, tiles)
    if region is None:
        return Picture(255 - picture.rgb, picture.alpha)
    mask = original.load_mask() if is_other_size else task.mask
    inside = picture.rgb if region.is_kept else np.zeros_like(picture.rgb)
    return Picture(join(region, mask, inside, 255 - picture.rgb), picture.alpha)


def _happen(words: dict[str, str], check: Check) -> None:
    while "busy" in words:
        check()
        time.sleep(0.005)
    if "hold" in words:
        _wait_for(Path(words["hold"]))
    if "once" in words and not Path(words["once"]).exists():
        Path(words["once"]).touch()
        _happen({"busy": "1"}, check)
    if "die" in words:
        os._exit(9)
    if "oom" in words:
        raise MemoryError("the device ran out of memory")
    if "fail" in words:
        raise RuntimeError("scripted failure")


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def _wait_for_turn(words: dict[str, str], number: int, steps: int, check: Check) -> None:
    turns = Path(words["turns"]) if "turns" in words else None
    while turns and (not turns.exists() or turns.stat().st_size < number):
        check()
        time.sleep(0.005)
    if number == steps and "last" in words:
        _wait_for(Path(words["last"]))


def _noise(rng: np.random.Generator, width: int, height: int) -> Picture:
    return Picture(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _note(trace: Path | None, line: str) -> None:
    if trace:
        with trace.open("a") as file:
            file.write(line + "\n")


def make_never(options: OptimizerOptions) -> Script:
    """A worker that does not become ready."""
    time.sleep(3600)
    return Script(options)


def make_after_two_lacks(options: OptimizerOptions) -> Script:
    """A worker that finds no free descriptor the first two times."""
    options.cache.mkdir(parents=True, exist_ok=True)
    _note(options.cache / "starts", "start")
    if len((options.cache / "starts").read_text().splitlines()) < 3:
        raise StartupError("the encoders cannot be read") from OSError(errno.EMFILE, "Too many open files")
    return Script(options)


def make_recalibrated(options: OptimizerOptions) -> Script:
    """A worker whose calibration is another one than before."""
    return Script(options, Calibration(threshold=0.1))
