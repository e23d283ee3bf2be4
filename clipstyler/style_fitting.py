"""Fits one style to several photos, which take turns."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from clipstyler.encoders.base import EncoderSet
from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler.events import Preparing, Progress, Result
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, never
from clipstyler.optimization import optimize
from clipstyler.options import ConfigError
from clipstyler.spec import PreviewPolicy, StylizationSpec
from clipstyler.style import MAX_PHOTOS, Style, load_style


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
    config = replace(spec.config, keep_style=True, output_size=0)
    first = fit(photos[0], config.size, config.enlarge)  # nothing is drawn at the photo's own size
    kept = replace(spec, config=config, previews=PreviewPolicy(every_steps=0))
    for event in optimize(first, kept, encoders, others=photos[1:], directions=directions, check=check):
        match event:
            case Preparing(step, steps) if step == steps:
                yield 0
            case Progress(step):
                yield step
            case Result(style=style):
                return load_style(style)
    raise AssertionError("a run ends with its result")
