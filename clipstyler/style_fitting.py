"""Fits one style to several photos, which take turns."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from clipstyler.composition import Further
from clipstyler.encoders.base import EncoderSet
from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler.events import Preparing, Progress, Result, Warning
from clipstyler.frame_pairs import FramePair
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, never
from clipstyler.optimization import Reuse, optimize
from clipstyler.options import ConfigError
from clipstyler.run_state import RunState
from clipstyler.spec import PreviewPolicy, StylizationSpec
from clipstyler.style import MAX_PHOTOS, Style, load_style


def _unheard(_warning: Warning) -> None:
    """Let a warning pass."""


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
    warn: Callable[[Warning], None] = _unheard,
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
    warn
        Called with each warning: about the photos, the texts and the result, as of `clipstyler.optimization.optimize`.

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
    events = optimize(
        first,
        kept,
        encoders,
        further=Further(photos[1:], _TemporalLoss(temporal) if temporal else None),
        reuse=Reuse(directions),
        check=check,
    )
    for event in events:
        match event:
            case Preparing(step, steps) if step == steps:
                yield 0
            case Progress(step):
                yield step
            case Warning():
                warn(event)
            case Result(style=style):
                return load_style(style)
    raise AssertionError("a run ends with its result")


class _TemporalLoss:
    """The temporal loss of the frame whose turn it is."""

    def __init__(self, temporal: Temporal) -> None:
        self._temporal = temporal
        self._pairs: dict[int, FramePair] = {}

    def __call__(self, turn: int, state: RunState) -> None:
        if turn not in self._pairs:
            self._pairs[turn] = FramePair(state, self._temporal.before[turn])
        self._pairs[turn].backpropagate(self._temporal.weight)
