"""The learning rates of a run: the paper's, and those that fall to a share of it."""

from __future__ import annotations

import math

import pytest

from clipstyler.fitted_net import HALVING_PERIOD, Schedule
from clipstyler.stylizer import step
from tests.tiny_encoders import tiny_encoders
from tests.unit.test_stylizer import new_state


def test_the_papers_rate_is_halved_after_every_hundred_updates() -> None:
    rates = [Schedule(0.5, 1.0, 250).rate_after(updates) for updates in range(250)]
    assert rates == [0.5] * HALVING_PERIOD + [0.25] * HALVING_PERIOD + [0.125] * 50


def test_a_rate_falls_along_half_a_cosine_to_its_share() -> None:
    schedule = Schedule(0.01, 0.1, 40)
    rates = [schedule.rate_after(updates) for updates in range(41)]
    assert rates[0] == 0.01
    assert rates[20] == pytest.approx(0.0055)
    assert rates[40] == pytest.approx(0.001)
    assert rates[10] == pytest.approx(0.001 + 0.009 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates == sorted(rates, reverse=True)
    assert schedule.rate_after(60) == pytest.approx(0.001)  # of a run that goes on


def test_both_fall_together() -> None:
    assert Schedule(0.01, 0.0, 200).rate_after(100) == pytest.approx(0.01 / 2 / 2)
    assert Schedule(0.01, 0.0, 200).rate_after(200) == 0


def test_a_run_follows_its_configuration() -> None:
    state = new_state(tiny_encoders(), size=64, patches=1, steps=4, learning_rate=0.01, final_rate=0.2)
    rates = []
    for _ in range(4):
        rates.append(state.optimizer.param_groups[0]["lr"])
        step([state])
    assert rates == pytest.approx([Schedule(0.01, 0.2, 4).rate_after(updates) for updates in range(4)])
    assert rates[-1] < rates[0] / 2
