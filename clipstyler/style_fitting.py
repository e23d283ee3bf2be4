"""Fits one style to several photos, which take turns."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence

import torch

from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import DirectionCache, guidance_of
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.options import ConfigError
from clipstyler.spec import StylizationSpec
from clipstyler.style import Style
from clipstyler.style_making import style_of
from clipstyler.stylizer import RunState, step

MAX_PHOTOS = 16


def fit_style(
    photos: Sequence[Picture],
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
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
    yield 0
    for completed, state in enumerate(itertools.islice(itertools.cycle(states), config.steps), 1):
        with stops:
            step([state], stops.check)
        yield completed
    with stops, torch.no_grad():
        states[0].render()
        return style_of(states[0].net, len(states), states[0].picture(), spec, encoders.models, config.steps)
