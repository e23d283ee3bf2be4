"""Stylizations side by side, whose steps may be shared: each stays what it is alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from clipstyler.embedding import Embedding
from clipstyler.encoders.base import EncoderSet
from clipstyler.events import Progress, Result
from clipstyler.optimization import Event, optimize, optimize_in_parts
from clipstyler.run_state import RunState
from clipstyler.stylizer import StepReport, embed_together, step, step_in_parts
from tests.running import spec_of
from tests.tiny_encoders import TinyClip, tiny_encoders
from tests.unit.test_stylizer import new_state, photo, quick

LOSS_TOLERANCE = 1e-5
"""Relative, of the losses of a shared step to those of the same step alone: what another size of a batch rounds."""
TEXTS = ("fire", "watercolor", "mosaic")


def asked(encoders: EncoderSet, text: str, **overrides: object):
    return spec_of(text, encoders, quick(encoders, **overrides), seed=len(text))


def alone(text: str, **overrides: object) -> list[Event]:
    encoders = tiny_encoders()
    return list(optimize(photo(), asked(encoders, text, **overrides), encoders))


def side_by_side(runs: Sequence[Iterator[Event | Embedding]], *, share: bool) -> list[list[Event]]:
    """Advance runs in turns to their ends, each to the middle of its next step; returns the events of each."""
    events: list[list[Event]] = [[] for _ in runs]
    going = dict(enumerate(runs))
    while going:
        waiting = []
        for number, run in list(going.items()):
            for part in run:
                if isinstance(part, Embedding):
                    waiting.append(part)
                    break
                events[number].append(part)
            else:
                del going[number]
        if share:
            embed_together(waiting)
    return events


def together(*texts: str, share: bool, **overrides: object) -> list[list[Event]]:
    encoders = tiny_encoders()
    runs = [optimize_in_parts(photo(), asked(encoders, text, **overrides), encoders) for text in texts]
    return side_by_side(runs, share=share)


def result(events: list[Event]) -> Result[Any]:
    found = events[-1]
    assert isinstance(found, Result)
    return found


def losses(events: list[Event]) -> list[float]:
    return [event.losses.total for event in events if isinstance(event, Progress)]


def test_runs_that_only_take_turns_give_the_bytes_that_they_give_alone() -> None:
    for text, events in zip(TEXTS, together(*TEXTS, share=False), strict=True):
        expected = result(alone(text))
        assert np.array_equal(result(events).image.rgb, expected.image.rgb)
        assert result(events).losses == expected.losses
        assert "shared_steps" not in result(events).versions


@pytest.mark.parametrize("augmentation", [True, False])
def test_the_losses_after_a_shared_step_are_those_after_the_step_alone(augmentation: bool) -> None:
    options = {"steps": 2, "augmentation": augmentation}
    for text, events in zip(TEXTS, together(*TEXTS, share=True, **options), strict=True):
        expected = losses(alone(text, **options))
        assert losses(events) == pytest.approx(expected, rel=LOSS_TOLERANCE)
        assert losses(events)[0] != losses(events)[1]


def test_the_image_after_a_shared_step_is_that_after_the_step_alone() -> None:
    encoders = tiny_encoders()
    shared, single = ([new_state(encoders, seed, text) for seed, text in enumerate(TEXTS)] for _ in range(2))
    reports = take_together([[state] for state in shared])
    for state, other, (report,) in zip(shared, single, reports, strict=True):
        (expected,) = step([other])
        assert report.is_shared
        assert not expected.is_shared
        assert report.losses.total == pytest.approx(expected.losses.total, rel=LOSS_TOLERANCE)
        with torch.no_grad():
            torch.testing.assert_close(state.render(), other.render(), rtol=0, atol=1e-4)


def take_together(runs: Sequence[Sequence[RunState]]) -> list[list[StepReport]]:
    steps = [step_in_parts(states) for states in runs]
    embed_together([next(one) for one in steps])
    reports = []
    for one in steps:
        with pytest.raises(StopIteration) as end:
            next(one)
        reports.append(end.value.value)
    return reports


def test_clip_sees_all_views_of_a_shared_step_in_one_batch() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    states = [new_state(encoders, seed) for seed in range(3)]
    encoders.clip.seen.clear()
    take_together([states[:1], states[1:]])
    assert [len(views) for views in encoders.clip.seen] == [3 * (4 + 1)]


def test_results_say_how_many_of_their_steps_were_shared() -> None:
    encoders = tiny_encoders()
    runs = [
        optimize_in_parts(photo(), asked(encoders, text, steps=steps), encoders)
        for text, steps in (("fire", 2), ("mosaic", 5))
    ]
    short, long = side_by_side(runs, share=True)
    assert [result(events).versions["shared_steps"] for events in (short, long)] == ["2", "2"]


def test_a_run_that_diverges_ends_alone() -> None:
    encoders = tiny_encoders()
    healthy = optimize_in_parts(photo(), asked(encoders, "fire"), encoders)
    broken = asked(encoders, "mosaic")
    object.__setattr__(broken.config, "learning_rate", float("inf"))  # no caller can ask for it
    diverging = optimize_in_parts(photo(), broken, encoders)
    ended: list[BaseException] = []

    def until_it_diverges() -> Iterator[Event | Embedding]:
        try:
            yield from diverging
        except FloatingPointError as error:
            ended.append(error)

    events, _ = side_by_side([healthy, until_it_diverges()], share=True)
    assert len(ended) == 1
    assert losses(events) == pytest.approx(losses(alone("fire")), rel=1e-3)
    assert np.isfinite(losses(events)).all()


def test_a_step_without_views_shares_nothing_and_is_taken() -> None:
    blind = {"weight_patch": 0.0, "weight_direction": 0.0}
    encoders = tiny_encoders()
    runs = [
        optimize_in_parts(photo(), asked(encoders, text, **options), encoders)
        for text, options in (("fire", {}), ("mosaic", blind), ("gold", blind))
    ]
    seeing, *unseeing = side_by_side(runs, share=True)
    assert losses(seeing) == pytest.approx(losses(alone("fire")), rel=1e-3)
    for events in unseeing:
        assert "shared_steps" not in result(events).versions
    embed_together([])


def test_a_batch_that_fails_leaves_every_step_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = tiny_encoders()
    shared, single = ([new_state(encoders, seed) for seed in range(2)] for _ in range(2))
    steps = [step_in_parts([state]) for state in shared]
    waiting = [next(one) for one in steps]
    with monkeypatch.context() as patch:
        patch.setattr(encoders.clip, "encode_image", lambda _: torch.empty(10**15))
        with pytest.raises(RuntimeError):
            embed_together(waiting)
    for one, state in zip(steps, single, strict=True):
        with pytest.raises(StopIteration) as end:
            next(one)
        assert end.value.value == step([state])


def test_what_was_passed_on_holds_nothing_after_the_step() -> None:
    (state,) = [new_state(tiny_encoders())]
    parts = step_in_parts([state])
    waiting = next(parts)
    with pytest.raises(StopIteration):
        next(parts)
    assert not hasattr(waiting, "views")
    assert not hasattr(waiting, "objective")
