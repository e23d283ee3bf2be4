"""Progress of very fast steps: which is reported, and what it says of the steps that are not."""

from __future__ import annotations

import pytest
from clipstyler_server.workers.optimizer import progress_pace
from clipstyler_server.workers.optimizer.progress_pace import ProgressPace

from clipstyler.events import Losses, Progress, Warning
from clipstyler.spec import PreviewPolicy

INTERVAL_S = 0.02
LOSSES = Losses(1.0, 0.5, 0.25, 0.125, 2.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_pace, "time", clock)
    return clock


def progress(step: int, step_s: float = 0.003) -> Progress:
    return Progress(step, 99, LOSSES, 0.5, step_s * step, 0.0, step_s)


def reported(pace: ProgressPace, clock: Clock, durations_s: list[float]) -> list[Progress]:
    found = []
    for step, duration_s in enumerate(durations_s, 1):
        clock.now += duration_s
        found += pace.paced(progress(step, duration_s))
    return found


def test_no_two_reports_are_closer_than_the_interval(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=0), INTERVAL_S)
    assert [event.step for event in reported(pace, clock, [0.003] * 20)] == [1, 8, 15]


def test_slow_steps_are_all_reported(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=0), INTERVAL_S)
    assert [event.step for event in reported(pace, clock, [0.02] * 5)] == [1, 2, 3, 4, 5]


def test_an_interval_of_zero_reports_every_step_as_it_is(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=0), 0.0)
    events = [progress(step) for step in (1, 2, 3)]
    assert [pace.paced(event) for event in events] == [[event] for event in events]


def test_steps_with_a_preview_are_never_held_back(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=4), INTERVAL_S)
    assert [event.step for event in reported(pace, clock, [0.001] * 10)] == [1, 4, 8]


def test_the_last_step_comes_before_what_follows_it_and_once(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=0), INTERVAL_S)
    assert [event.step for event in reported(pace, clock, [0.001] * 6)] == [1]
    after = Warning("WEAK_RESULT", "weak")
    last, following = pace.paced(after)
    assert isinstance(last, Progress)
    assert (last.step, following) == (6, after)
    assert pace.paced(after) == [after]


def test_a_report_has_the_mean_time_of_the_steps_that_it_stands_for(clock: Clock) -> None:
    pace = ProgressPace(PreviewPolicy(every_steps=4), INTERVAL_S)
    first, fourth = reported(pace, clock, [0.005, 0.001, 0.002, 0.006])
    assert (first.step_s, fourth.step_s) == pytest.approx((0.005, 0.003))
    assert fourth.losses == LOSSES
