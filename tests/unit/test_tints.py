"""A stylization starts in the colors that match the text best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipstyler.config import StylizeConfig, resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.imaging import decode, fit
from clipstyler.preparation import nearest_tint, prepare, tint_losses
from clipstyler.run_state import RunState
from clipstyler.tints import luminance, tints
from tests.running import embed_text, text_direction

GRAY_RAMP = torch.linspace(0, 1, 32).expand(1, 3, 8, 32)


def test_tints_are_pictures_and_the_first_is_the_photo() -> None:
    photo = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    tinted = [tint(photo) for tint in tints()]
    assert tinted[0] is photo
    for picture in tinted:
        assert picture.shape == photo.shape
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_no_two_tints_are_alike() -> None:
    photo = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    tinted = torch.cat([tint(photo) for tint in tints()]).flatten(1)
    distances = torch.cdist(tinted, tinted) + torch.eye(len(tinted)) * 1e3
    assert distances.min() > 0.1


def test_light_keeps_its_order_or_is_turned_round() -> None:
    for tint in tints():
        steps = luminance(tint(GRAY_RAMP))[0, 0, 0].diff()
        assert (steps >= -1e-6).all() or (steps <= 1e-6).all()


@pytest.mark.parametrize(
    ("text", "channel"),
    [("starry night", 2), ("green crystal", 1), ("blue fire", 2), ("lava", 0)],
)
def test_a_text_of_a_plain_color_starts_in_it(text: str, channel: int) -> None:
    encoders = load("pocket")
    config = resolve(encoders.calibration, size=96, patches=8)
    start = started(text, encoders, config).mean((0, 2, 3))
    assert int(start.argmax()) == channel


def test_a_pencil_sketch_starts_without_color() -> None:
    encoders = load("pocket")
    start = started("a sketch with black pencil", encoders, resolve(encoders.calibration, size=96, patches=8))
    assert (start[:, 0] - start[:, 2]).abs().mean() < 0.1


@pytest.mark.parametrize("text", ["fire", "starry night", "a sketch with black pencil", "gold", "blueprint"])
@pytest.mark.parametrize("photo", ["astronaut", "coffee"])
def test_two_stages_choose_what_all_losses_of_all_tints_choose(photo: str, text: str) -> None:
    encoders = load("pocket")
    state = new_state(text, encoders, resolve(encoders.calibration, size=128, patches=8), photo)
    losses = list(tint_losses(state, range(len(tints()))))
    assert chosen(state) == losses.index(min(losses))


def test_the_content_counts_from_the_first_stage_on() -> None:
    """By the text alone, the unchanged photo is not among the best."""
    encoders = load("pocket")
    heavy = resolve(encoders.calibration, size=96, patches=8, weight_content=1e7)
    assert chosen(new_state("fire", encoders, heavy)) == 0


@pytest.mark.parametrize("size", [64, 128])
def test_the_search_leaves_the_crops_to_come_as_they_were(size: int) -> None:
    encoders = load("pocket")
    state = new_state("fire", encoders, resolve(encoders.calibration, size=size, patches=8))
    before = state.generator.get_state()
    assert chosen(state) == chosen(state)
    assert torch.equal(state.generator.get_state(), before)


def chosen(state: RunState) -> int:
    """Run the search to its end."""
    search = nearest_tint(state)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return int(end.value)


def new_state(text: str, encoders: EncoderSet, config: StylizeConfig, photo: str = "cat") -> RunState:
    picture = fit(decode(Path(f"examples/{photo}.jpg").read_bytes()), config.size)
    embedded = embed_text(encoders, text, config.template_set)
    direction = text_direction(encoders, text, "a Photo", config.template_set)
    return RunState(picture, direction, encoders, config, 1, embedded)


def started(text: str, encoders: EncoderSet, config: StylizeConfig) -> torch.Tensor:
    """What the network shows at its start, (1, 3, H, W)."""
    state = new_state(text, encoders, config)
    for _ in prepare(state):
        pass
    assert state.output is not None
    return state.output
