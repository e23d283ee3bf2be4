"""What people see while they wait: the time left never rises on its own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from clipstyler_cli.eta import Eta
from clipstyler_cli.progress import Display
from clipstyler_cli.terminal import Terminal
from clipstyler_client import Losses, Preparing, Progress, Started


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_promised_before_a_report() -> None:
    assert Eta(Clock()).left_s is None


def test_it_counts_down_between_reports_and_ends_at_nothing() -> None:
    clock = Clock()
    eta = Eta(clock)
    eta.report(3)
    shown = []
    for _ in range(5):
        shown.append(eta.left_s)
        clock.now += 1
    assert shown == [3, 2, 1, 0, 0]


@pytest.mark.parametrize("noise", [[0.0] * 9, [0.4, -0.3] * 4, [1.5, 0.2, 1.9]])
def test_reports_that_waver_never_raise_it(noise: list[float]) -> None:
    """As of a preparation and of steps of a second each, of which twenty are left."""
    clock = Clock()
    eta = Eta(clock)
    shown: list[float] = []
    for number, error in enumerate(noise):
        eta.report(20 - number + error)
        assert eta.left_s is not None
        shown.append(eta.left_s)
        clock.now += 1
    assert all(after < before for before, after in pairwise(shown))


def test_a_much_later_end_is_news() -> None:
    eta = Eta(Clock())
    eta.report(10)
    eta.report(60)
    assert eta.left_s == 60


def test_the_bar_shows_the_parts_of_the_preparation_and_then_the_steps() -> None:
    display = Display(Terminal(stderr=True), quiet=True)
    bar = display._bar.tasks[0]
    display.show(Started(steps=60, width=256, height=192, device="cpu"))
    display.show(Preparing(part=2, parts=9, remaining_s=30.0))
    assert (bar.description, bar.completed, bar.total) == ("preparing", 2, 9)
    assert display.eta.left_s == pytest.approx(30, abs=1)
    losses = Losses(1, 1, 1, 1, 1)
    display.show(Progress(step=1, steps=60, losses=losses, rejected=0, elapsed_s=1, remaining_s=29.5))
    assert (bar.description, bar.completed, bar.total) == ("stylizing", 1, 60)
