"""Runs of an optimizer in rounds, on tiny encoders and as a script: each ends as it would alone."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clipstyler_server.spool import Spool, write_pixels
from clipstyler_server.workers.engine import FailureKind, StopCause, Task, TaskFailed, TaskStopped
from clipstyler_server.workers.messages import PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.inbox import Inbox
from clipstyler_server.workers.optimizer.previews import PreviewEncoder
from clipstyler_server.workers.optimizer.rounds import Rounds
from clipstyler_server.workers.optimizer.runs import Run, RunContext
from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, Workload
from structlog.testing import capture_logs

from clipstyler.captured_steps import CapturedSteps
from clipstyler.config import Calibration
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import Picture
from clipstyler.optimization import Reuse
from clipstyler.photo_cache import PhotoCache
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from tests.service import scripted
from tests.tiny_encoders import tiny_encoders

LOSS_TOLERANCE = 1e-5


class Optimizer:
    """What an optimizer does, on the thread of the test."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        self.spool = Spool(folder)
        self.sent: list[Any] = []
        self.news = threading.Event()
        context = RunContext(
            workload, PreviewEncoder(self.sent.append), ThreadPoolExecutor(1), self.sent.append, self.news.set
        )
        self.rounds = Rounds(context)

    def join(self, *tasks: Task) -> list[Run]:
        runs = [Run(task, self.spool) for task in tasks]
        self.rounds.join(runs)
        return runs

    def finish(self) -> None:
        while self.rounds.runs:
            self.take()

    def take(self, count: int = 1) -> None:
        for _ in range(count):
            self.rounds.take()
            if self.rounds.is_waiting:
                self.news.wait(0.01)

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.take()

    def events(self, run: Run, kind: type) -> list[Any]:
        return [
            message.event
            for message in self.sent
            if isinstance(message, TaskEvent) and message.job_id == run.task.job_id and isinstance(message.event, kind)
        ]

    def steps(self) -> list[str]:
        """The jobs whose steps were completed, in order."""
        return [
            message.job_id
            for message in self.sent
            if isinstance(message, TaskEvent) and isinstance(message.event, Progress)
        ]


def task(job_id: str, text: str = "a look", timeout_s: float = 60, calibration: Calibration | None = None, **fields):
    result_size = fields.pop("result_size", (64, 48))
    others = fields.pop("other_photos", 0)
    every_steps = fields.pop("every_steps", 0)
    asked = SpecRequest(
        text,
        options={"size": 64, "steps": 3, "patches": 4, "seed": 1} | fields,
        previews={"every_steps": every_steps, "max_size": 64},
    )
    name = "tiny" if calibration else "scripted"
    spec = resolve_spec(asked, {name: calibration or Calibration()}, SpecLimits())
    rows, columns = np.mgrid[:48, :64]
    rgb = np.stack([rows * 5, columns * 4, rows + columns], axis=-1).astype(np.uint8)
    return Task(job_id, spec, Picture(rgb), timeout_s, result_size, other_photos=others)


@pytest.fixture
def options(tmp_path: Path) -> OptimizerOptions:
    return OptimizerOptions(("scripted",), "cpu", 1, 0, tmp_path, Spool(tmp_path), 0, "warning", "json")


@pytest.fixture
def script(options: OptimizerOptions, tmp_path: Path) -> Optimizer:
    return Optimizer(scripted.make(options), tmp_path)


def tiny_workload(*, is_strict: bool) -> TorchWorkload:
    made = TorchWorkload.__new__(TorchWorkload)
    made._encoders = {"tiny": tiny_encoders()}
    made._reuse = Reuse(photos=PhotoCache(2**20))
    made._captured = CapturedSteps()
    made._retains_memory, made._is_strict = False, is_strict
    made.device_memory = dict  # type: ignore[method-assign]
    return made


TEXTS = {"fire": 2, "watercolor": 5, "mosaic": 3}


def real_task(text: str, steps: int) -> Task:
    return task(text, text, calibration=tiny_encoders().calibration, steps=steps)


def ends(optimizer: Optimizer, runs: Sequence[Run]) -> list[Result[Any]]:
    optimizer.finish()
    assert [type(run.end) for run in runs] == [Result] * len(runs)
    return [run.end for run in runs]  # type: ignore[misc]


def digest(result: Result[Any]) -> str:
    return hashlib.sha256(result.image.path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Any]]:
    """Digest and losses of each text alone."""
    found = {}
    for text, steps in TEXTS.items():
        optimizer = Optimizer(tiny_workload(is_strict=False), tmp_path_factory.mktemp(text))
        (end,) = ends(optimizer, optimizer.join(real_task(text, steps)))
        assert "shared_steps" not in end.versions
        found[text] = (digest(end), end.losses)
    return found


def test_with_accelerations_off_results_have_the_bytes_that_they_have_alone(tmp_path, expected) -> None:
    optimizer = Optimizer(tiny_workload(is_strict=True), tmp_path)
    runs = optimizer.join(*(real_task(*item) for item in TEXTS.items()))
    for end, (text, steps) in zip(ends(optimizer, runs), TEXTS.items(), strict=True):
        assert (digest(end), end.losses, end.steps) == (*expected[text], steps)
        assert "shared_steps" not in end.versions


def test_otherwise_steps_are_shared_and_results_say_so(tmp_path, expected) -> None:
    optimizer = Optimizer(tiny_workload(is_strict=False), tmp_path)
    runs = optimizer.join(*(real_task(*item) for item in TEXTS.items()))
    # The longest takes its last two steps alone.
    shared = [end.versions["shared_steps"] for end in ends(optimizer, runs)]
    assert shared == ["2", "3", "3"]


def test_losses_of_a_shared_step_are_those_of_the_step_alone(tmp_path) -> None:
    seen = {}
    for is_strict in (True, False):
        optimizer = Optimizer(tiny_workload(is_strict=is_strict), tmp_path)
        runs = optimizer.join(*(real_task(text, 1) for text in TEXTS))
        seen[is_strict] = [end.losses.total for end in ends(optimizer, runs)]
    assert seen[False] == pytest.approx(seen[True], rel=LOSS_TOLERANCE)


def test_runs_with_other_encoders_share_no_step(tmp_path) -> None:
    workload = tiny_workload(is_strict=False)
    workload._encoders["other"] = tiny_encoders()
    optimizer = Optimizer(workload, tmp_path)
    tasks = [real_task(text, 2) for text in TEXTS]
    tasks[1] = replace(tasks[1], spec=replace(tasks[1].spec, encoder_set="other"))
    shared = [end.versions.get("shared_steps") for end in ends(optimizer, optimizer.join(*tasks))]
    assert shared == ["2", None, "2"]


def test_each_run_takes_one_step_per_round_and_a_long_one_holds_up_no_other(script: Optimizer) -> None:
    long, short = script.join(task("long", steps=50), task("short", steps=4))
    script.until(lambda: short.end)
    assert isinstance(short.end, Result)
    assert script.steps()[:8] == ["long", "short"] * 4
    assert len(script.events(long, Progress)) < 50
    (late,) = script.join(task("late", steps=2))
    script.until(lambda: late.end)
    assert long.end is None
    script.finish()
    assert isinstance(long.end, Result)


@pytest.mark.parametrize(("text", "kind"), [("fail=1", FailureKind.INTERNAL), ("oom=1", FailureKind.OUT_OF_MEMORY)])
def test_a_run_that_fails_ends_alone(script: Optimizer, text: str, kind: FailureKind) -> None:
    before, failing, after = script.join(task("before"), task("failing", text), task("after"))
    script.finish()
    assert isinstance(failing.end, TaskFailed)
    assert failing.end.kind is kind
    assert isinstance(before.end, Result)
    assert isinstance(after.end, Result)


def test_a_run_that_diverges_ends_alone_in_a_shared_step(tmp_path, expected) -> None:
    optimizer = Optimizer(tiny_workload(is_strict=False), tmp_path)
    diverging = real_task("mosaic", 4)
    object.__setattr__(diverging.spec.config, "learning_rate", float("inf"))
    healthy, broken = optimizer.join(real_task("fire", 2), diverging)
    optimizer.finish()
    assert isinstance(broken.end, TaskFailed)
    assert broken.end.kind is FailureKind.DIVERGED
    assert isinstance(healthy.end, Result)
    assert healthy.end.losses.total == pytest.approx(expected["fire"][1].total, rel=1e-3)


def test_a_cancel_is_heard_in_the_next_round_and_by_its_run_only(script: Optimizer) -> None:
    kept, stopped = script.join(task("kept", steps=9), task("stopped", steps=9))
    script.until(lambda: len(script.events(stopped, Progress)) == 3)
    stopped.cancel()
    script.take()
    assert isinstance(stopped.end, TaskStopped)
    assert (stopped.end.cause, stopped.end.steps_after_cancel) == (StopCause.CANCELLED, 0)
    script.finish()
    assert isinstance(kept.end, Result)


def test_a_deadline_is_that_of_one_run(script: Optimizer, tmp_path: Path) -> None:
    kept, late = script.join(task("kept"), task("late", f"park={tmp_path / 'never'}", timeout_s=0.2))
    script.finish()
    assert isinstance(late.end, TaskStopped)
    assert late.end.cause is StopCause.DEADLINE
    assert isinstance(kept.end, Result)


def pixels(folder: Path, width: int, height: int):
    return write_pixels(Picture(np.zeros((height, width, 3), np.uint8)), folder / f"{width}")


def test_a_run_that_waits_for_its_photo_holds_up_no_other(script: Optimizer, tmp_path: Path) -> None:
    waiting, other = script.join(task("waiting", "tiles=2", result_size=(200, 150)), task("other", steps=9))
    script.until(lambda: other.end)
    assert isinstance(other.end, Result)
    assert waiting.end is None
    assert script.rounds.is_waiting
    waiting.provide(PhotoReady("waiting", pixels(tmp_path, 200, 150)))
    assert not script.rounds.is_waiting
    script.finish()
    assert isinstance(waiting.end, Result)
    assert waiting.end.image.metadata.width == 200


def test_a_run_that_waits_for_its_photo_can_be_cancelled(script: Optimizer) -> None:
    (waiting,) = script.join(task("waiting", "tiles=2", result_size=(200, 150)))
    script.until(lambda: script.rounds.is_waiting)
    waiting.cancel()
    script.take()
    assert isinstance(waiting.end, TaskStopped)


def test_a_fit_begins_with_its_photos_and_fails_without_one(script: Optimizer, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    fit, broken = script.join(
        task("fit", f"trace={trace}", other_photos=2), task("broken", f"trace={trace}", other_photos=3)
    )
    script.take(3)
    fit.provide(PhotoReady("fit", pixels(tmp_path, 40, 30), number=1))
    broken.provide(PhotoReady("broken", pixels(tmp_path, 50, 30), number=1))
    script.take(3)
    assert not trace.exists()
    fit.provide(PhotoReady("fit", pixels(tmp_path, 60, 30), number=2))
    broken.provide(PhotoReady("broken", "it is gone", number=2))
    script.finish()
    assert isinstance(fit.end, Result)
    assert isinstance(broken.end, TaskFailed)
    assert broken.end.problem == "it is gone"
    assert [line for line in trace.read_text().splitlines() if "other" in line] == ["other 40 x 30", "other 60 x 30"]


def test_a_result_is_encoded_while_others_go_on(script: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, write = threading.Event(), Run._written

    def written_late(run: Run, result: Any) -> Any:
        assert gate.wait(30)
        return write(run, result)

    monkeypatch.setattr(Run, "_written", written_late)
    first, second = script.join(task("first", steps=1), task("second", steps=8))
    script.until(lambda: len(script.events(second, Progress)) == 8)
    assert first.end is None
    gate.set()
    script.finish()
    assert isinstance(first.end, Result)
    assert isinstance(second.end, Result)


def test_previews_of_runs_do_not_replace_each_other(script: Optimizer) -> None:
    runs = script.join(*(task(f"job {number}", every_steps=1, steps=4) for number in range(3)))
    script.finish()
    for run in runs:
        previews = script.events(run, Preview)
        # One of step 0 to 4 each, less those that were replaced by later ones of the same job.
        assert len(previews) + sum(preview.skipped for preview in previews) == 5
        assert previews[-1].step == 4


class Failing:
    """A script whose shared steps fail."""

    def __init__(self, script: Any) -> None:
        self.calls = 0
        self._script = script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._script, name)

    def share(self, waiting: Sequence[object]) -> None:
        self.calls += 1
        raise MemoryError("the device ran out of memory")


def test_steps_that_cannot_be_shared_are_taken_alone_until_others_join(options, tmp_path) -> None:
    workload = Failing(scripted.make(options))
    optimizer = Optimizer(workload, tmp_path)
    with capture_logs() as lines:
        runs = optimizer.join(task("a", steps=6), task("b", steps=6))
        optimizer.until(lambda: len(optimizer.events(runs[0], Progress)) == 3)
        assert workload.calls == 1
        runs += optimizer.join(task("c", steps=6))
        optimizer.finish()
    assert [type(run.end) for run in runs] == [Result] * 3
    assert workload.calls == 2
    assert [line["event"] for line in lines] == ["steps_not_shared"] * workload.calls
    assert lines[0]["problem"] == "the device ran out of memory"


def test_an_inbox_hands_out_what_has_arrived_and_wakes_who_waits(tmp_path) -> None:
    inbox = Inbox(Spool(tmp_path))
    inbox.receive(task("first"))
    inbox.receive(task("second"))
    assert [run.task.job_id for run in inbox.new_runs(wait=True)] == ["first", "second"]
    assert inbox.new_runs(wait=False) == []
    inbox.wait(10)
    begun = time.monotonic()
    threading.Timer(0.05, inbox.receive, [task("third")]).start()
    inbox.wait(10)
    assert time.monotonic() - begun < 5
    assert [run.task.job_id for run in inbox.new_runs(wait=False)] == ["third"]
