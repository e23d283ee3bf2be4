"""Steps that a GPU does as a whole: captured once for all runs of one shape, and started once per step.

A step of the paper's setting is some thousand kernels, most of them shorter than it takes to start one. A captured step
belongs to no run: it has twins of the runs that it was captured for, takes over the values of those that use it, and
gives their weights back.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from clipstyler.acceleration import Accelerations
from clipstyler.cuda_recording import CudaRecording, Recorder
from clipstyler.device_memory import is_out_of_memory
from clipstyler.embedding import Launched
from clipstyler.interruption import Check
from clipstyler.run_state import RunState
from clipstyler.stylizer import StepReport, advance, read_reports

_KEPT = 8  # captured steps that no run uses; one of the paper's setting holds some gigabytes
_LEAST_FREE = 0.25  # of a GPU's memory: with less left, none is kept


class CapturedStep:
    """One optimizer step of some runs at once, as `clipstyler.stylizer.step` takes it.

    Parameters
    ----------
    states
        Runs of the shape that is captured; they are left as they are.
    record
        Records the work.
    """

    def __init__(self, states: Sequence[RunState], record: Recorder = CudaRecording) -> None:
        self._twins = [state.twin() for state in states]
        device = states[0].encoders.device
        self._choices = [twin.choose_views().to(device) for twin in self._twins]
        self._take_over(states)
        twins, choices = self._twins, self._choices
        self._recording = record(lambda: advance(twins, choices), device)
        self._is_running = False

    def use(self, states: Sequence[RunState]) -> None:
        """Take over the values of runs that have completed no step."""
        self._take_over(states)
        self._next = [state.choose_views() for state in states]

    def give_back(self, states: Sequence[RunState]) -> None:
        """Give the runs the weights that were reached, also by a step that nobody waited for."""
        if self._is_running:
            self._wait()
        for twin, state in zip(self._twins, states, strict=True):
            twin.give_weights(state)

    def launch(self) -> None:
        """Have the device begin the next step of the runs in use; `step_in_parts` completes it."""
        for mine, drawn in zip(self._choices, self._next, strict=True):
            mine.copy_from(drawn)
        self._recording.start()
        self._is_running = True

    def step_in_parts(self, states: Sequence[RunState], check: Check) -> Generator[Launched, None, list[StepReport]]:
        """Complete one step of the runs in use; yields once, while the device computes.

        A caller that stops in between calls `give_back`, which waits for the device.

        Raises
        ------
        FloatingPointError
            A loss is not finite.
        """
        check()
        if not self._is_running:
            self.launch()
        self._next = [state.choose_views() for state in states]  # while the device computes
        yield Launched()
        reports = read_reports(self._wait())
        for twin, state in zip(self._twins, states, strict=True):
            state.output = twin.output
            for run in (twin, state):
                run.fit.count()
        check()
        return reports

    def _wait(self) -> Tensor:
        self._is_running = False
        return self._recording.wait()

    def _take_over(self, states: Sequence[RunState]) -> None:
        for twin, state in zip(self._twins, states, strict=True):
            twin.take_over(state)


class _Key(NamedTuple):
    """What a captured step is captured for. It holds the encoders itself, so that their ids are not given again."""

    clip: int
    content: int
    accelerations: Accelerations
    shapes: tuple[Hashable, ...]

    @classmethod
    def of(cls, states: Sequence[RunState]) -> _Key:
        encoders = states[0].encoders
        shapes = tuple(state.shape for state in states)
        return cls(id(encoders.clip), id(encoders.content), encoders.accelerations, shapes)


class CapturedSteps:
    """The captured steps of one device: each is used by one stylization at a time, and kept for the next.

    Parameters
    ----------
    record
        Records work; tests have another.
    """

    def __init__(self, record: Recorder = CudaRecording) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._idle: list[tuple[_Key, CapturedStep]] = []

    @contextmanager
    def taken(self, states: Sequence[RunState]) -> Iterator[CapturedStep | None]:
        """Yield a captured step for some runs that have completed no step; afterwards their weights are their own.

        None if a GPU has no room for one, even without those that no run uses.
        """
        key = _Key.of(states)
        captured = self._find(key) or self._captured(states)
        if captured is None:
            yield None
            return
        captured.use(states)
        try:
            yield captured
        finally:
            captured.give_back(states)
            self._keep(key, captured, states[0].encoders.device)

    def clear(self) -> None:
        """Forget all that no run uses, and return its memory to the device."""
        with self._lock:
            has_any = bool(self._idle)
            self._idle.clear()
        if has_any:
            torch.cuda.empty_cache()

    def _captured(self, states: Sequence[RunState]) -> CapturedStep | None:
        return self._attempt(states) or self._attempt(states)

    def _attempt(self, states: Sequence[RunState]) -> CapturedStep | None:
        """Capture, if there is room. What a failed attempt holds is let go of before the memory is returned."""
        try:
            return CapturedStep(states, self._record)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.clear()
        torch.cuda.empty_cache()
        return None

    def _find(self, key: _Key) -> CapturedStep | None:
        with self._lock:
            for number, (known, captured) in enumerate(self._idle):
                if known == key:
                    del self._idle[number]
                    return captured
        return None

    def _keep(self, key: _Key, captured: CapturedStep, device: torch.device) -> None:
        with self._lock:
            self._idle.append((key, captured))
            del self._idle[:-_KEPT]
        if _is_nearly_full(device):
            self.clear()


def _is_nearly_full(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free < _LEAST_FREE * total
