"""Shots: hard cuts are found, and nothing else is one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from clipstyler.video.shots import CutFinder

Pixels = NDArray[np.uint8]


def scene(seed: int, frames: int = 10, *, speed: int = 1, light: float = 0.0) -> list[Pixels]:
    """A camera that moves over a smooth picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, : 96 + speed * frames]
    waves = [np.sin(x / rng.uniform(6, 20) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(6, 20)) for _ in range(3)]
    picture = (np.stack(waves, axis=-1) + 1) / 2
    moved = [picture[:, speed * number : speed * number + 96] for number in range(frames)]
    return [np.clip((frame + light * n) * 255, 0, 255).astype(np.uint8) for n, frame in enumerate(moved)]


def cuts(frames: Iterable[Pixels]) -> list[int]:
    finder = CutFinder()
    return [number for number, frame in enumerate(frames) if finder.begins_shot(frame)]


def test_every_hard_cut_begins_a_shot() -> None:
    assert cuts([*scene(1), *scene(2, 12), *scene(3)]) == [0, 10, 22]


def test_motion_noise_and_changing_light_are_no_cuts() -> None:
    assert cuts(scene(1, 30, speed=4)) == [0]
    assert cuts(scene(1, 30, light=0.02)) == [0]
    rng = np.random.default_rng(0)
    grain = [np.clip(frame + rng.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in scene(1, 30)]
    assert cuts(grain) == [0]


def test_a_flash_makes_one_shot_at_most() -> None:
    frames = scene(1, 24)
    frames[12] = np.full_like(frames[12], 255)
    assert len(cuts(frames)) <= 2


def test_a_cut_to_a_scene_of_like_colors_is_found() -> None:
    frames = scene(1)
    mirrored = [frame[::-1, ::-1] for frame in frames]
    assert cuts([*frames, *mirrored]) == [0, 10]
