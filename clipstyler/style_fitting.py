"""Fits one style to several photos, which take turns."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import DirectionCache, guidance_of
from clipstyler.frame_pairs import FramePair
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.options import ConfigError
from clipstyler.spec import StylizationSpec
from clipstyler.style import Style
from clipstyler.style_making import style_of
from clipstyler.stylizer import RunState, step

MAX_PHOTOS = 16


@dataclass(frozen=True)
class Temporal:
    """What keeps a style steady on videos while it is fitted to frames of one.

    Attributes
    ----------
    before
        The frame before each of those that it is fitted to.
    weight
        Of the temporal loss, above 0.
    """

    before: Sequence[Picture]
    weight: float


def fit_style(
    photos: Sequence[Picture],
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
    temporal: Temporal | None = None,
    directions: DirectionCache | None = None,
    check: Check = never,
) -> Generator[int, None, Style]:
    """Fit one network to a text on several photos.

    Each step sees one photo, and they take turns: a step costs what it costs for one photo, and no photo decides alone.
    The start shows the first one.

    Parameters
    ----------
    photos
        1 to 16; each is fitted to the configuration's size.
    spec
        What is asked for, resolved.
    encoders
        The encoder set that the specification names.
    temporal
        If the photos are frames of a video: what comes before them there.
    directions
        Cache of what the texts contribute.
    check
        Called within the steps: an exception of it stops the work and reaches the caller.

    Yields
    ------
    Steps completed: 0 before the first one, then after each.

    Raises
    ------
    ConfigError
        There are no photos or too many, the texts mean the same to the encoders, or the crops do not fit into a photo.
    FloatingPointError
        The optimization diverged.
    """
    if not 1 <= len(photos) <= MAX_PHOTOS:
        raise ConfigError("photos", f"must be 1 to {MAX_PHOTOS}, got {len(photos)}")
    config = spec.config
    measuring = TorchEncoders(encoders)
    guidance = guidance_of(measuring, spec.style_text, spec.source_text, config.template_set, directions).guidance
    direction, text = (torch.tensor(row, device=encoders.device) for row in (guidance.direction, guidance.style))
    states: list[RunState] = []
    for photo in photos:
        fitted = fit(photo, config.size, config.enlarge)
        partner = states[0] if states else None
        states.append(
            RunState(fitted, direction, encoders, config, spec.seed, text if config.text_share else None, None, partner)
        )
    stops = StopPoints(check, states[0].net, encoders.clip, encoders.content)
    for _ in stops.within(states[0].prepare()):
        pass
    pairs = [FramePair(*pair) for pair in zip(states, temporal.before, strict=True)] if temporal else []
    yield 0
    for completed, turn in enumerate(itertools.islice(itertools.cycle(range(len(states))), config.steps), 1):
        with stops:
            if temporal:
                pairs[turn].backpropagate(temporal.weight)  # the step adds its own gradients
            step([states[turn]], stops.check)
        yield completed
    with stops, torch.no_grad():
        states[0].render()
        return style_of(states[0].net, len(states), states[0].picture(), spec, encoders.models, config.steps)
