"""Work that stops in the middle of a step: between layers, forward and backward, without changing a bit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler import recomputation, run_state, stylenet
from clipstyler.config import Start, resolve
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.events import Optimized, Preparing, Progress, Rendering, Result
from clipstyler.imaging import Picture
from clipstyler.interruption import StopPoints, never
from clipstyler.optimization import optimize
from clipstyler.run_state import RunState
from clipstyler.stylizer import step
from tests.running import spec_of, text_direction
from tests.tiny_encoders import TinyClip, tiny_encoders

PHOTO = Picture(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


class Stop(Exception):
    """Stops the work."""


class Counted:
    """A check that counts its calls, and stops at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.calls = 0
        self._at = at

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            raise Stop


def layers(count: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))


def hooks(network: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in network.modules())


def test_the_check_is_called_at_the_start_after_each_layer_and_before_each_gradient() -> None:
    check, network = Counted(), nn.Sequential(layers(3), nn.ReLU())
    with StopPoints(check, network, "no network"):
        out = network(torch.ones(2, 4))
        assert check.calls == 1 + 4
        out.sum().backward()
    assert check.calls == 1 + 4 + 4
    network(torch.ones(2, 4))
    assert check.calls == 1 + 4 + 4


def test_a_layer_of_two_networks_is_one_place() -> None:
    check, network = Counted(), layers(2)
    with torch.no_grad(), StopPoints(check, network, network[0]):
        network(torch.ones(1, 4))
    assert check.calls == 1 + 2


@pytest.mark.parametrize("at", [1, 3, 5])
def test_what_the_check_raises_arrives_as_it_is_and_leaves_no_hook(at: int) -> None:
    network = layers(2)
    with pytest.raises(Stop), StopPoints(Counted(at), network):
        network(torch.ones(1, 4)).sum().backward()
    assert hooks(network) == 0


def test_never_stopping_installs_nothing() -> None:
    network = layers(2)
    with StopPoints(never, network):
        assert hooks(network) == 0


def test_another_thread_with_the_same_network_is_not_stopped() -> None:
    network, outcomes = layers(2), []
    with StopPoints(Counted(at=2), network):
        other = threading.Thread(target=lambda: outcomes.append(network(torch.ones(1, 4))))
        other.start()
        other.join()
        with pytest.raises(Stop):
            network(torch.ones(1, 4))
    assert len(outcomes) == 1


def test_only_the_work_of_an_iterator_is_checked_and_not_its_consumers() -> None:
    check, network = Counted(), layers(1)

    def work() -> Generator[int, None, None]:
        for number in range(2):
            network(torch.ones(1, 4))
            yield number

    with torch.no_grad():
        for _ in StopPoints(check, network).within(work()):
            assert hooks(network) == 0
            network(torch.ones(1, 4))
    assert check.calls == 3 + 2  # an advance each, the last one ends; two layers


def events(encoders: EncoderSet, check: Callable[[], None], **options: Any) -> Iterator[Any]:
    config = resolve(encoders.calibration, **{"size": 64, "steps": 2, "patches": 3, **options})
    return optimize(PHOTO, spec_of("fire", encoders, config, seed=1), encoders, check=check)


def result(encoders: EncoderSet, check: Callable[[], None], **options: Any) -> Result[Picture]:
    *_, last = events(encoders, check, **options)
    assert isinstance(last, Result)
    return last


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["pocket", "directory"])
def test_checks_do_not_change_a_bit(name: str, large: bool, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where activations are computed again, which calls the layers once more."""
    if large:
        monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", 1)
    encoders, check = registry.load(str(directory) if name == "directory" else name), Counted()
    plain, checked = (result(encoders, used, start=Start.PHOTO, warm_up=1) for used in (never, check))
    assert np.array_equal(plain.image.rgb, checked.image.rgb)
    assert check.calls > 500


@pytest.mark.parametrize("large", [False, True])
def test_every_check_of_a_run_can_stop_it(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, photo, tints, start, steps, the last forward pass, tiles: no call of the check is a place of no return."""
    if large:
        monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", 1)
        monkeypatch.setattr(stylenet, "_BANDED_PART_PIXELS", 1024)
        monkeypatch.setattr(run_state, "is_large", lambda _width, _height: True)
        monkeypatch.setattr(run_state, "is_banded", lambda *_: True)
    encoders, counted = registry.load("pocket"), Counted()
    options = {"output_size": 96, "enlarge": True, "steps": 1, "start": Start.PHOTO}
    result(encoders, counted, **options)
    for at in range(1, counted.calls + 1, max(1, counted.calls // 40)):
        with pytest.raises(Stop):
            result(encoders, Counted(at), **options)
        assert hooks(encoders.clip) == 0


def test_texts_and_the_photo_are_part_of_what_can_be_stopped() -> None:
    encoders, check = registry.load("pocket"), Counted()
    seen = {}
    for event in events(encoders, check):
        if isinstance(event, Preparing | Progress):
            seen.setdefault((type(event), event.step), check.calls)
    assert 0 == seen[Preparing, 0] < seen[Preparing, 1] < seen[Preparing, 2] < seen[Preparing, 3] < seen[Progress, 1]


def test_a_style_and_each_tile_can_be_stopped_within() -> None:
    encoders, check = registry.load("pocket"), Counted()
    seen = [
        check.calls
        for event in events(encoders, check, output_size=96, enlarge=True)
        if isinstance(event, Optimized | Rendering)
    ]
    fitted, drawn = np.diff(seen)
    convolutions_of_fixed_net = 32
    assert fitted > convolutions_of_fixed_net
    assert drawn > convolutions_of_fixed_net


class SlowLayer(torch.autograd.Function):
    """The identity, which takes some seconds of a scripted clock in either direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clock: list[float]) -> Tensor:
        ctx.clock = clock
        clock[0] += LAYER_S
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.clock[0] += LAYER_S
        return gradients[0], None


LAYER_S, LAYERS, STEP_S = 0.45, 12, 2 * 12 * 0.45


class SlowClip(TinyClip):
    """An encoder of a step that takes ten seconds, as ViT-B/32 on two cores."""

    def __init__(self) -> None:
        super().__init__()
        clock = self.clock = [0.0]

        class Layer(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = SlowLayer.apply(x, clock)
                return out

        self.slow = nn.Sequential(*(Layer() for _ in range(LAYERS)))

    def encode_image(self, views: Tensor) -> Tensor:
        out: Tensor = self.slow(super().encode_image(views))
        return out


@pytest.mark.parametrize("after_s", [0.1, 3.0, 5.3, 5.5, 8.0, 10.7])
def test_a_step_of_a_slow_encoder_is_left_within_a_second(after_s: float) -> None:
    clip = SlowClip()
    encoders = replace(tiny_encoders(), clip=clip)
    config = resolve(encoders.calibration, size=64, steps=1, patches=3)
    state = RunState(PHOTO, text_direction(encoders, "fire", "a Photo", "plain"), encoders, config, 1)
    cancelled_at = clip.clock[0] + after_s

    def check() -> None:
        if clip.clock[0] >= cancelled_at:
            raise Stop

    stops = StopPoints(check, state.net, encoders.clip, encoders.content)
    with pytest.raises(Stop), stops:
        step([state], stops.check)
    assert clip.clock[0] - cancelled_at < LAYER_S + 1e-6 < 1 < STEP_S
    assert state.fit.updates == 0
