"""A workload that does what its style text says, so that the real process machinery runs on a known script.

The style text is words of the form key=value:

step=S       seconds per step
hold=PATH    at the step `at` (default 2), wait until the file PATH exists
at=N         see hold, die, fail and oom
die=1        end the process at the step `at`
fail=1       raise at the step `at`
oom=1        run out of memory at the step `at`
caution=CODE say CODE before the first step
side=N       the result is N x N px of noise
trace=PATH   append "step N" for every step begun and "closed" at the end
times=PATH   append the monotonic time of every step begun, in seconds
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clipstyler_server.engine.base import Encoders, Model, Order, WorkerInfo
from clipstyler_server.engine.workload import Notice, OptimizerOptions, Outcome, Step, UnfitError

from clipstyler.config import Calibration
from clipstyler.events import Losses
from clipstyler.imaging import Picture

LOSSES = Losses(12.5, 0.5, 0.25, 0.125, 2.0)
MODELS = (Model("scripted", "ab" * 32),)
VERSIONS = {"scripted": "1"}


def make(options: OptimizerOptions) -> Script:
    if "unfit" in options.encoders:
        raise UnfitError("the encoders 'unfit' cannot be loaded: this is a test")
    return Script(options)


class Script:
    def __init__(self, options: OptimizerOptions) -> None:
        encoders = tuple(Encoders(name, f"scripted {name}", MODELS, Calibration()) for name in options.encoders)
        self.info = WorkerInfo(encoders, "cpu", "scripted", options.threads, VERSIONS)

    def stylize(self, order: Order) -> Iterator[Notice | Step | Outcome]:
        words = dict(word.split("=", 1) for word in order.style_text.split() if "=" in word)
        trace = Path(words["trace"]) if "trace" in words else None
        try:
            yield from self._steps(order, words, trace)
        finally:
            _note(trace, "closed")

    def _steps(self, order: Order, words: dict[str, str], trace: Path | None) -> Iterator[Notice | Step | Outcome]:
        rng = np.random.default_rng([order.seed, zlib.crc32(order.style_text.encode())])
        steps, step_s = order.config.steps, float(words.get("step", 0))
        begun = time.monotonic()
        if "caution" in words:
            yield Notice(words["caution"], "something to know")
        for number in range(1, steps + 1):
            _note(trace, f"step {number}")
            _note(Path(words["times"]) if "times" in words else None, f"{time.monotonic():.6f}")
            time.sleep(step_s)
            if number == int(words.get("at", 2)):
                _happen(words)
            picture = _noise(rng, order.picture.width, order.picture.height)
            elapsed = time.monotonic() - begun
            remaining = elapsed / number * (steps - number)
            yield Step(number, steps, LOSSES, 0.5, elapsed, remaining, lambda picture=picture: picture)
        side = int(words.get("side", 0))
        picture = _noise(rng, side or order.picture.width, side or order.picture.height)
        yield Outcome(
            picture=picture,
            models=MODELS,
            device="cpu",
            threads=self.info.threads,
            versions=VERSIONS,
            losses=LOSSES,
            prepare_s=0.0,
            optimize_s=time.monotonic() - begun,
        )


def _happen(words: dict[str, str]) -> None:
    while "hold" in words and not Path(words["hold"]).exists():
        time.sleep(0.005)
    if "die" in words:
        os._exit(9)
    if "oom" in words:
        raise MemoryError("the device ran out of memory")
    if "fail" in words:
        raise RuntimeError("scripted failure")


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
