"""One specification from its start to its result, as a stream of events around the steps of `clipstyler.stylizer`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import torch

from clipstyler.diagnostics import cut_texts, unfamiliar_text, weak_result
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import DirectionCache, guidance_of
from clipstyler.events import (
    Losses,
    Optimized,
    Preparing,
    Preview,
    Progress,
    Rendering,
    Result,
    Started,
    StopReason,
    Timings,
    Warning,
)
from clipstyler.imaging import Picture, fit, resized
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.original import Original
from clipstyler.photo_cache import PhotoCache
from clipstyler.provenance import library_versions, provider, threads
from clipstyler.render import render
from clipstyler.spec import StylizationSpec
from clipstyler.stopping import StopRule
from clipstyler.style import dump_style
from clipstyler.style_making import style_of
from clipstyler.stylizer import RunState, preparation_parts, step

Event = Started | Preparing | Progress | Preview[Picture] | Optimized[Picture] | Rendering | Warning | Result[Picture]


def optimize(
    picture: Picture,
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
    original: Original | None = None,
    others: Sequence[Picture] = (),
    directions: DirectionCache | None = None,
    photos: PhotoCache | None = None,
    check: Check = never,
) -> Iterator[Event]:
    """Stylize a picture as specified (CLIPstyler, Kwon & Ye, CVPR 2022).

    Nothing happens until the iterator is advanced; each advance completes at most one step or one tile, and dropping
    the iterator stops the work.

    Parameters
    ----------
    picture
        The photo; it is fitted to the configuration's size.
    spec
        What is asked for, resolved.
    encoders
        The encoder set that the specification names.
    original
        What the result is rendered from. Default: the picture.
    others
        Further photos that the network is fitted to: each step sees one photo, and they take turns, this one first. No
        photo decides alone then, and a step costs what it costs for one.
    directions
        Cache of what the texts contribute. Results do not depend on it.
    photos
        Cache of what the encoders see in photos. Results do not depend on it.
    check
        Called between and within the layers of all networks while they compute, forward and backward: an exception of
        it stops the work there and reaches the caller. Results do not depend on it.

    Yields
    ------
    `Started`; a `Warning` for a damaged photo, a text that is cut, a style text that the encoders do not know; a
    `Preparing` at the start and per part of the preparation; the `Preview` of the start (step 0), if previews are
    wanted; per step the `Preview` that is due, then its `Progress`; `Optimized`; a `Warning` if the patches do not
    match the text even at the end; a `Rendering` before the first tile and after each, if the result is larger;
    `Result`.

    Raises
    ------
    ConfigError
        The texts mean the same to the encoders, or the crops do not fit into the photo.
    ImageError
        The original cannot be loaded.
    FloatingPointError
        The optimization diverged.
    """
    begun = time.monotonic()
    config = spec.config
    photo = fit(picture, config.size, config.enlarge)
    config.crop_side(photo.width, photo.height)
    original = original or Original.of_picture(picture, config)
    yield Started(config.steps, original.width, original.height, str(encoders.device))
    for problem in picture.warnings:
        yield Warning("PHOTO_DAMAGED", problem)
    measuring = TorchEncoders(encoders)
    yield from cut_texts(measuring, spec)
    parts = preparation_parts(config) + len(others)
    yield Preparing(0, parts)
    stops = StopPoints(check, encoders.clip, encoders.content)
    with stops:
        guidance = guidance_of(measuring, spec.style_text, spec.source_text, config.template_set, directions).guidance
    yield from unfamiliar_text(encoders.name, spec.style_text, guidance.confidence)
    yield Preparing(1, parts)
    direction, text = (torch.tensor(row, device=encoders.device) for row in (guidance.direction, guidance.style))
    with stops:
        state = RunState(photo, direction, encoders, config, spec.seed, text if config.text_share else None, photos)
    yield Preparing(2, parts)
    states = [state]
    for completed, other in enumerate(others, 3):
        with stops:
            states.append(_partner(state, fit(other, config.size, config.enlarge)))
        yield Preparing(completed, parts)
    stops = StopPoints(check, state.net, encoders.clip, encoders.content)
    for completed, _ in enumerate(stops.within(state.prepare()), 2 + len(states)):
        yield Preparing(completed, parts)
    if spec.previews.wants(0):
        yield Preview(0, state.picture())
    prepared = time.monotonic()
    last = yield from _steps(states, spec, stops, prepared)
    with stops, torch.no_grad():
        state.render()
    optimized = time.monotonic()
    yield Optimized(state.picture())
    yield from weak_result(encoders.calibration, config, last.losses)
    stylized = yield from _resized(state, original, check)
    style = b""
    if config.keep_style:
        style = dump_style(style_of(state.net, len(states), state.picture(), spec, encoders.models, last.step))
    yield Result(
        image=stylized,
        spec=spec,
        models=encoders.models,
        device=str(encoders.device),
        provider=provider(encoders.device),
        threads=threads(encoders.device),
        versions=library_versions() | {"accelerations": str(encoders.accelerations)},
        losses=last.losses,
        timings=Timings(
            prepare_s=prepared - begun, optimize_s=optimized - prepared, render_s=time.monotonic() - optimized
        ),
        steps=last.step,
        stop_reason=last.reason,
        style=style,
    )


class _Last(NamedTuple):
    """The last step of a run, and why it was the last."""

    step: int
    losses: Losses
    reason: StopReason


def _partner(state: RunState, photo: Picture) -> RunState:
    """Return a run for a further photo, with the network of the first one."""
    return RunState(photo, state.direction, state.encoders, state.config, state.seed, state.text, None, state)


def _steps(
    states: Sequence[RunState], spec: StylizationSpec, stops: StopPoints, prepared: float
) -> Generator[Event, None, _Last]:
    """Complete every step, or those until the run is done; previews show the first photo."""
    total, rule = spec.config.steps, StopRule(spec.config)
    before_s = 0.0
    for completed, state in enumerate(itertools.cycle(states), 1):
        with stops:
            (report,) = step([state], stops.check)
        elapsed_s = time.monotonic() - prepared
        reason = rule.add(report.losses)
        if spec.previews.wants(completed):
            yield Preview(completed, states[0].picture())
        yield Progress(
            step=completed,
            steps=total,
            losses=report.losses,
            rejected=report.rejected,
            elapsed_s=elapsed_s,
            remaining_s=0.0 if reason else elapsed_s / completed * (total - completed),
            step_s=elapsed_s - before_s,
        )
        before_s = elapsed_s
        if reason:
            return _Last(completed, report.losses, reason)
    raise AssertionError("the rule ends every run")


def _resized(state: RunState, original: Original, check: Check) -> Generator[Event, None, Picture]:
    """Return the image of the latest forward pass at the size of the original: rendered anew if that is larger."""
    picture, size = state.picture(), (original.width, original.height)
    if max(size) <= max(picture.width, picture.height):
        return resized(picture, size)
    style = state.style(check)
    return (yield from StopPoints(check, style.net).within(render(style, original.load())))
