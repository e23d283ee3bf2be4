"""Captured steps, with work that is called again in place of a GPU's recording: runs are what they are step by step."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import clipstyler
from clipstyler import fitted_net
from clipstyler.acceleration import Accelerations
from clipstyler.captured_steps import CapturedStep, CapturedSteps
from clipstyler.composition import Further
from clipstyler.embedding import Embedding, Launched
from clipstyler.encoders.base import EncoderSet
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import Picture
from clipstyler.interruption import never
from clipstyler.loaded_encoders import LoadedEncoders
from clipstyler.optimization import Reuse, optimize, optimize_in_parts
from clipstyler.region import Box, Region
from clipstyler.run_state import RunState
from clipstyler.stylizer import step
from tests.running import spec_of
from tests.tiny_encoders import tiny_encoders
from tests.unit.test_stylizer import new_state, photo, quick


class Recorder:
    """Calls recorded work again, on the CPU; keeps what a GPU's recording would keep."""

    def __init__(self) -> None:
        self.recorded = 0
        self.started = 0
        self.running = 0  # started, and not waited for
        self.room = 100  # for so many captures
        self.lacks_room: Exception = torch.OutOfMemoryError("no room")

    def __call__(self, work: Callable[[], Tensor], _device: torch.device) -> Again:
        if self.recorded >= self.room:
            raise self.lacks_room
        self.recorded += 1
        work()  # warm-up: it changes all that the work changes
        return Again(work, self)


class Again:
    def __init__(self, work: Callable[[], Tensor], recorder: Recorder) -> None:
        self._work = work
        self._recorder = recorder

    def start(self) -> None:
        self._recorder.running += 1
        self._recorder.started += 1
        self._rows = self._work()

    def wait(self) -> Tensor:
        self._recorder.running -= 1
        return self._rows


HALVING_PERIOD = 3  # of the learning rate


@pytest.fixture(autouse=True)
def _halved_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_net, "HALVING_PERIOD", HALVING_PERIOD)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def encoders() -> EncoderSet:
    return replace(tiny_encoders(), accelerations=Accelerations(graphs=True))


def events(encoders: EncoderSet, captured: CapturedSteps | None, text: str = "fire", **options: Any) -> list[object]:
    further = options.pop("further", Further())
    region = options.pop("region", None)
    spec = replace(spec_of(text, encoders, quick(encoders, **options), seed=len(text), every_steps=2), region=region)
    return list(optimize(photo(), spec, encoders, further=further, reuse=Reuse(steps=captured)))


def seen(found: Sequence[object]) -> list[object]:
    """What of the events a captured step must leave as it is: losses, previews and the result."""
    kept: list[object] = []
    for event in found:
        match event:
            case Progress(step, _, losses, rejected):
                kept.append((step, losses, rejected))
            case Preview(step, image):
                kept.append((step, image.rgb.tobytes()))
            case Result(image=image, losses=losses, style=style):
                kept.append((image.rgb.tobytes(), losses, style))
    return kept


def take(captured: CapturedStep, state: RunState, count: int) -> None:
    for _ in range(count):
        for _ in captured.step_in_parts([state], never):
            pass


PLAIN = Accelerations()
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("fire", {}),
    ("watercolor", {"steps": 5}),
    ("fire", {"learning_rate": 1e-4}),
    ("fire", {"distinctness": 0.3}),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"steps": HALVING_PERIOD + 2, "patches": 1},
    {"input_noise": 0.1, "border": "mirror", "text_share": 0.4},
    {"weight_content": 0.0, "augmentation": False},
    {"keep_style": True},
    {"region": Region(boxes=(Box(0.2, 0.2, 0.6, 0.6),))},
    {"region": Region(boxes=(Box(0.2, 0.2, 0.6, 0.6),), text="mosaic")},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_captured_run_is_the_same_to_the_byte(
    options: dict[str, Any], encoders: EncoderSet, recorder: Recorder
) -> None:
    steps = CapturedSteps(recorder)
    plain = seen(events(replace(encoders, accelerations=PLAIN), None, **options))
    for _ in range(2):
        assert seen(events(encoders, steps, **options)) == plain
    assert recorder.recorded == 1


def test_runs_of_one_shape_share_a_captured_step_one_after_the_other(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    for text, options in ASKED:
        plain = seen(events(replace(encoders, accelerations=PLAIN), None, text, **options))
        assert seen(events(encoders, steps, text, **options)) == plain
    assert recorder.recorded == 1
    events(encoders, steps, patches=3)
    assert recorder.recorded == 2


def test_runs_at_once_have_captured_steps_of_their_own(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    texts = ("fire", "watercolor", "mosaic")
    plain = [seen(events(replace(encoders, accelerations=PLAIN), None, text)) for text in texts]
    for _ in range(2):
        found: list[list[object]] = [[] for _ in texts]
        runs = []
        for text in texts:
            spec = spec_of(text, encoders, quick(encoders), seed=len(text), every_steps=2)
            runs.append(optimize_in_parts(photo(), spec, encoders, reuse=Reuse(steps=steps)))
        going = dict(enumerate(runs))
        while going:  # each to the middle of its next step, in turns
            for number, run in list(going.items()):
                for part in run:
                    assert not isinstance(part, Embedding)
                    if isinstance(part, Launched):
                        break
                    found[number].append(part)
                else:
                    del going[number]
        assert [seen(one) for one in found] == plain
    assert recorder.recorded == len(texts)


def test_the_same_texts_on_other_photos_of_the_shape_are_not_confused(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    pictures = [photo(), Picture(np.ascontiguousarray(photo().rgb[::-1]))]
    spec = spec_of("fire", encoders, quick(encoders), seed=1)
    plain_encoders = replace(encoders, accelerations=PLAIN)
    for picture in pictures:
        plain = seen(list(optimize(picture, spec, plain_encoders)))
        assert seen(list(optimize(picture, spec, encoders, reuse=Reuse(steps=steps)))) == plain
    assert recorder.recorded == 1


def test_photos_that_take_turns_are_computed_step_by_step(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    further = Further([Picture(np.ascontiguousarray(photo().rgb[::-1]))])
    plain = seen(events(replace(encoders, accelerations=PLAIN), None, further=further))
    assert seen(events(encoders, steps, further=further)) == plain
    assert recorder.recorded == 0


def test_nothing_is_captured_unless_it_is_among_the_accelerations(encoders: EncoderSet, recorder: Recorder) -> None:
    events(replace(encoders, accelerations=PLAIN), CapturedSteps(recorder))
    assert recorder.recorded == 0


def test_whoever_loads_encoders_once_captures_a_shape_once(encoders: EncoderSet, recorder: Recorder) -> None:
    loaded = replace(LoadedEncoders.of(encoders), steps=CapturedSteps(recorder))
    plain = replace(encoders, accelerations=PLAIN)
    for seed in (1, 2, 1):
        expected, found = (
            clipstyler.stylize(photo(), "fire", encoders=each, size=64, steps=3, patches=4, seed=seed).result()
            for each in (plain, loaded)
        )
        assert np.array_equal(found.image.rgb, expected.image.rgb)
        assert found.losses == expected.losses
    assert recorder.recorded == 1


def test_captured_steps_go_with_the_encoders_that_they_belong_to(encoders: EncoderSet, recorder: Recorder) -> None:
    """At once: they hold gigabytes, which must not wait for the garbage collector."""
    loaded = replace(LoadedEncoders.of(encoders), steps=CapturedSteps(recorder))
    gc.collect()
    gc.disable()
    try:
        clipstyler.stylize(photo(), "fire", encoders=loaded, size=64, steps=2, patches=4, seed=1).result()
        (_, captured), *_ = loaded.steps._idle
        held = [weakref.ref(captured), weakref.ref(captured._twins[0].net), weakref.ref(loaded)]
        del captured
        assert all(one() is not None for one in held)
        del loaded
        assert [one() for one in held] == [None] * len(held)
    finally:
        gc.enable()


def test_encoders_that_share_parts_but_not_their_arithmetic_share_no_captured_step(
    encoders: EncoderSet, recorder: Recorder
) -> None:
    steps = CapturedSteps(recorder)
    events(encoders, steps)
    interleaved = Accelerations(graphs=True, channels_last=True)
    events(replace(encoders, accelerations=interleaved), steps)
    assert recorder.recorded == 2


class Looking:
    """Notes, when it gets an event, how many captured steps have been started."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.seen: list[tuple[str, int, int]] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, Preview | Progress):
            self.seen.append((type(event).__name__, event.step, self.recorder.started))


def test_the_device_goes_on_while_events_are_consumed(encoders: EncoderSet, recorder: Recorder) -> None:
    spec = spec_of("fire", encoders, quick(encoders, steps=3), seed=4, every_steps=2)
    look = Looking(recorder)
    for event in optimize(photo(), spec, encoders, reuse=Reuse(steps=CapturedSteps(recorder))):
        look(event)
    assert look.seen == [
        ("Preview", 0, 0),
        ("Progress", 1, 2),
        ("Preview", 2, 3),
        ("Progress", 2, 3),
        ("Progress", 3, 3),  # no step is begun behind the last
    ]


def test_a_preview_is_taken_before_the_next_step_overwrites_its_image(
    encoders: EncoderSet, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a graph does: every image of a run lies in the same memory."""
    plain = seen(events(replace(encoders, accelerations=PLAIN), None))
    memory: dict[RunState, Tensor] = {}
    render = RunState.render

    def render_in_place(state: RunState) -> Tensor:
        output = render(state)
        kept = memory.setdefault(state, torch.empty_like(output))
        state.output = kept.copy_(output.detach())
        return output

    monkeypatch.setattr(RunState, "render", render_in_place)
    assert seen(events(encoders, CapturedSteps(recorder))) == plain


def assert_the_next_run_is_unharmed(encoders: EncoderSet, recorder: Recorder, steps: CapturedSteps) -> None:
    """With the captured step that another run left."""
    plain = seen(events(replace(encoders, accelerations=PLAIN), None))
    assert seen(events(encoders, steps)) == plain
    assert recorder.recorded == 1


def test_a_run_that_is_dropped_between_steps_waits_for_the_one_that_was_begun(
    encoders: EncoderSet, recorder: Recorder
) -> None:
    steps = CapturedSteps(recorder)
    spec = spec_of("fire", encoders, quick(encoders), seed=4)
    run = optimize(photo(), spec, encoders, reuse=Reuse(steps=steps))
    assert any(isinstance(event, Progress) for event in run)
    assert recorder.running == 1
    run.close()
    assert recorder.running == 0
    assert_the_next_run_is_unharmed(encoders, recorder, steps)


def test_a_run_that_diverges_leaves_the_next_one_as_it_is(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    plain = seen(events(replace(encoders, accelerations=PLAIN), None))
    state = new_state(encoders)
    for parameter in state.net.parameters():
        parameter.data.fill_(float("nan"))
    with steps.taken([state]) as captured, pytest.raises(FloatingPointError):
        take(captured, state, 1)
    assert seen(events(encoders, steps)) == plain


def test_a_cancel_between_steps_gives_the_captured_step_back(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    spec = spec_of("fire", encoders, quick(encoders, steps=9), seed=4)

    def check() -> None:
        if progress and progress[-1].step == 3:
            raise InterruptedError

    progress: list[Progress] = []
    run = optimize(photo(), spec, encoders, reuse=Reuse(steps=steps), check=check)
    with pytest.raises(InterruptedError):
        progress.extend(event for event in run if isinstance(event, Progress))
    assert len(progress) == 3
    assert_the_next_run_is_unharmed(encoders, recorder, steps)


def test_weights_are_the_runs_own_afterwards(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    captured_state, plain = new_state(encoders), new_state(encoders)
    with steps.taken([captured_state]) as captured:
        take(captured, captured_state, 3)
    for _ in range(3):
        step([plain])
    before = [parameter.clone() for parameter in captured_state.net.parameters()]
    for mine, theirs in zip(before, plain.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with steps.taken([new_state(encoders)]):
        pass
    for mine, kept in zip(before, captured_state.net.parameters(), strict=True):
        assert torch.equal(mine, kept)


def test_a_run_that_is_dropped_while_the_device_computes_waits_for_it(encoders: EncoderSet, recorder: Recorder) -> None:
    """Otherwise the next run would write where the device still does."""
    steps = CapturedSteps(recorder)
    spec = spec_of("fire", encoders, quick(encoders), seed=4)
    run = optimize_in_parts(photo(), spec, encoders, reuse=Reuse(steps=steps))
    assert any(isinstance(part, Launched) for part in run)
    assert recorder.running == 1
    run.close()
    assert recorder.running == 0
    assert_the_next_run_is_unharmed(encoders, recorder, steps)


LACKING = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"),
    torch.AcceleratorError("CUDA error: out of memory"),  # of the graph itself, not of its tensors
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("lacks_room", LACKING, ids=str)
def test_without_room_for_a_captured_step_a_run_takes_plain_ones(
    encoders: EncoderSet, recorder: Recorder, lacks_room: Exception
) -> None:
    recorder.room, recorder.lacks_room = 0, lacks_room
    plain = seen(events(replace(encoders, accelerations=PLAIN), None))
    assert seen(events(encoders, CapturedSteps(recorder))) == plain
    assert recorder.recorded == 0


def test_a_capture_that_fails_for_another_reason_fails(encoders: EncoderSet, recorder: Recorder) -> None:
    recorder.room, recorder.lacks_room = 0, torch.AcceleratorError("CUDA error: operation not permitted")
    with pytest.raises(torch.AcceleratorError, match="not permitted"):
        events(encoders, CapturedSteps(recorder))


def test_captured_steps_that_no_run_uses_make_room(encoders: EncoderSet, recorder: Recorder) -> None:
    steps = CapturedSteps(recorder)
    events(encoders, steps)
    further = Further([Picture(np.ascontiguousarray(photo().rgb[::-1]))])
    events(encoders, steps, further=further)  # computed step by step
    events(encoders, steps)
    assert recorder.recorded == 2
