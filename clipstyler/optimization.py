"""One specification from its start to its result, as a stream of events around the steps of `clipstyler.stylizer`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from clipstyler.captured_steps import CapturedSteps
from clipstyler.composition import Composition, Further, FurtherLoss, Guide
from clipstyler.diagnostics import cut_texts, damaged_photos, unfamiliar_text, weak_result
from clipstyler.embedding import Embedding, Launched, Wait
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import DirectionCache, guidance_of
from clipstyler.evaluation.text_directions import TextGuidance
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
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.masking import Levels
from clipstyler.options import ConfigError
from clipstyler.original import Original
from clipstyler.photo_cache import PhotoCache
from clipstyler.preparation import preparation_parts
from clipstyler.provenance import library_versions, provider, threads
from clipstyler.spec import StylizationSpec
from clipstyler.stopping import StopRule
from clipstyler.style import dump_style
from clipstyler.style_making import style_of

Event = Started | Preparing | Progress | Preview[Picture] | Optimized[Picture] | Rendering | Warning | Result[Picture]


@dataclass(frozen=True)
class Reuse:
    """What one stylization may keep for others; results do not depend on what is there already.

    Attributes
    ----------
    directions
        What texts contribute.
    photos
        What encoders see in photos.
    steps
        Captured steps; used only if the encoders' accelerations are in favor.
    """

    directions: DirectionCache | None = None
    photos: PhotoCache | None = None
    steps: CapturedSteps | None = None


_ALONE = Further()
_NOTHING = Reuse()


def optimize(
    picture: Picture,
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
    original: Original | None = None,
    mask: Levels | None = None,
    further: Further = _ALONE,
    reuse: Reuse = _NOTHING,
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
        What the result is rendered from. Default: the picture, with the mask.
    mask
        Light of the region's mask, at any size of the picture's shape; None if it has none.
    further
        What else the network is fitted to.
    reuse
        What is kept from one stylization to the next.
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
        The texts mean the same to the encoders, or the region or the crops do not fit the photo.
    ImageError
        The original or its mask cannot be loaded.
    FloatingPointError
        The optimization diverged.
    """
    parts = optimize_in_parts(
        picture,
        spec,
        encoders,
        original=original,
        mask=mask,
        further=further,
        reuse=reuse,
        check=check,
    )
    return (part for part in parts if not isinstance(part, Embedding | Launched))


def optimize_in_parts(
    picture: Picture,
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
    original: Original | None = None,
    mask: Levels | None = None,
    further: Further = _ALONE,
    reuse: Reuse = _NOTHING,
    check: Check = never,
) -> Iterator[Event | Wait]:
    """Stylize as `optimize` does; yields also in the middle of each step: an `Embedding`, before CLIP sees its views.

    The consumer may pass it to `clipstyler.stylizer.embed_together` with those of other stylizations, which then
    share the step; the versions of the result say how many steps were shared. Captured steps yield `Launched` instead.
    """
    begun = time.monotonic()
    config = spec.config
    photo = fit(picture, config.size, config.enlarge)
    config.crop_side(photo.width, photo.height)
    original = original or replace(Original.of_picture(picture, config), load_mask=lambda: mask)
    yield Started(config.steps, original.width, original.height, str(encoders.device))
    yield from damaged_photos([picture, *further.photos])
    measuring = TorchEncoders(encoders)
    yield from cut_texts(measuring, spec)
    parts = preparation_parts(config, len(spec.texts)) + len(further.photos)
    yield Preparing(0, parts)
    stops = StopPoints(check, encoders.clip, encoders.content)
    guides = []
    for field, words in zip(("style_text", "region.text"), spec.texts, strict=False):
        with stops:
            guidance = _guidance(measuring, field, words, spec, reuse.directions)
        yield from unfamiliar_text(encoders.name, words, guidance.confidence)
        with stops:
            guides.append(Guide.of(guidance, config, encoders))
    yield Preparing(1, parts)
    with stops:
        composition = Composition(photo, guides, encoders, spec, mask, reuse.photos)
    yield Preparing(2, parts)
    for completed, other in enumerate(further.photos, 3):
        with stops:
            composition.add(fit(other, config.size, config.enlarge))
        yield Preparing(completed, parts)
    stops = StopPoints(check, *composition.nets, encoders.clip, encoders.content)
    for completed, _ in enumerate(stops.within(composition.prepare()), 3 + len(further.photos)):
        yield Preparing(completed, parts)
    if spec.previews.wants(0):
        yield Preview(0, composition.picture())
    with composition.captured(None if further.loss else _captured_steps(encoders, reuse)):
        prepared = time.monotonic()
        last = yield from _steps(composition, spec, stops, prepared, further.loss)
    with stops:
        composition.render()
    optimized = time.monotonic()
    yield Optimized(composition.picture())
    yield from weak_result(encoders.calibration, config, last.losses)
    stylized = yield from composition.drawn(original, check)
    style = b""
    if config.keep_style:
        net, sides = composition.nets[0], composition.longest_sides
        style = dump_style(style_of(net, sides, composition.picture(), spec, encoders.models, last.step))
    yield Result(
        image=stylized,
        spec=spec,
        models=encoders.models,
        device=str(encoders.device),
        provider=provider(encoders.device),
        threads=threads(encoders.device),
        versions=_versions(encoders, last.shared_steps),
        losses=last.losses,
        timings=Timings(
            prepare_s=prepared - begun, optimize_s=optimized - prepared, render_s=time.monotonic() - optimized
        ),
        steps=last.step,
        stop_reason=last.reason,
        style=style,
    )


def _guidance(
    measuring: TorchEncoders, field: str, words: str, spec: StylizationSpec, directions: DirectionCache | None
) -> TextGuidance:
    """Return what a text contributes; an error is about the field that the text comes from."""
    try:
        return guidance_of(measuring, words, spec.source_text, spec.config.template_set, directions).guidance
    except ConfigError as error:
        raise ConfigError(field, error.problem) from error


def _captured_steps(encoders: EncoderSet, reuse: Reuse) -> CapturedSteps | None:
    """Return where captured steps come from, if they are among the accelerations in use."""
    return reuse.steps or CapturedSteps() if encoders.accelerations.graphs else None


class _Last(NamedTuple):
    """The last step of a run, why it was the last, and how many steps were shared with other runs."""

    step: int
    losses: Losses
    reason: StopReason
    shared_steps: int


def _versions(encoders: EncoderSet, shared_steps: int) -> dict[str, str]:
    """Return what determines the bytes of a result besides its specification, models and device."""
    shared = {"shared_steps": str(shared_steps)} if shared_steps else {}
    return library_versions() | {"accelerations": str(encoders.accelerations)} | shared


def _steps(
    composition: Composition,
    spec: StylizationSpec,
    stops: StopPoints,
    prepared: float,
    further_loss: FurtherLoss | None,
) -> Generator[Event | Wait, None, _Last]:
    """Complete every step, or those until the run is done."""
    total, rule = spec.config.steps, StopRule(spec.config)
    completed, shared, before_s = 0, 0, 0.0
    while True:
        completed += 1
        report = yield from composition.step(stops, further_loss)
        shared += report.is_shared
        elapsed_s = time.monotonic() - prepared
        reason = rule.add(report.losses)
        preview = composition.snapshot() if spec.previews.wants(completed) else None
        if not reason:
            composition.launch()
        if preview:
            yield Preview(completed, preview())
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
            return _Last(completed, report.losses, reason, shared)
