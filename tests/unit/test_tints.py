"""A stylization starts in the colors that match the text best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipstyler.config import StylizeConfig, resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.imaging import decode, fit
from clipstyler.stylizer import RunState
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


def started(text: str, encoders: EncoderSet, config: StylizeConfig) -> torch.Tensor:
    """What the network shows at its start, (1, 3, H, W)."""
    photo = fit(decode(Path("examples/cat.jpg").read_bytes()), config.size)
    embedded = embed_text(encoders, text, config.template_set)
    direction = text_direction(encoders, text, "a Photo", config.template_set)
    state = RunState(photo, direction, encoders, config, 1, embedded)
    for _ in state.prepare():
        pass
    assert state.output is not None
    return state.output
