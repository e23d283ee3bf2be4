"""The runs of a stylization, and how their images become one: a region stays, or has a run and a text of its own.

StyleNet sees no places: one network cannot look in two ways at the same thing. So a region with a text has a network of
its own, and both are optimized side by side; each sees crops of its part, in proportion to the size of the part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from clipstyler.captured_steps import CapturedStep, CapturedSteps
from clipstyler.config import SMALLEST_CROP, StylizeConfig
from clipstyler.distinctness import AverageLook, distinct
from clipstyler.embedding import Wait
from clipstyler.encoders.base import EncoderSet
from clipstyler.evaluation.text_directions import TextGuidance
from clipstyler.events import Losses, Rendering
from clipstyler.imaging import Picture, resized
from clipstyler.interruption import Check, StopPoints
from clipstyler.masking import Levels, join, pixels_left, select
from clipstyler.original import Original
from clipstyler.photo_cache import PhotoCache
from clipstyler.preparation import prepare
from clipstyler.region import Region
from clipstyler.render import render
from clipstyler.run_state import Part, RunState, Snapshot
from clipstyler.spec import StylizationSpec
from clipstyler.stylenet import StyleNet
from clipstyler.stylizer import StepReport, step_in_parts

_SMALLEST_SHARE = 0.25  # of the crops of a step that either part has

FurtherLoss = Callable[[int, RunState], None]


@dataclass(frozen=True)
class Further:
    """What a network is fitted to besides a photo; there is no region then.

    Attributes
    ----------
    photos
        Take turns with the photo.
    loss
        Adds the gradients of a further loss to the weights before each step, by the number of the photo whose turn it
        is, from 0, and its run; None if there is none.
    """

    photos: Sequence[Picture] = ()
    loss: FurtherLoss | None = None


class Guide(NamedTuple):
    """A text as a run needs it: its direction (D,), and its embedding (D,) if it is wanted."""

    direction: Tensor
    text: Tensor | None

    @classmethod
    def of(cls, guidance: TextGuidance, config: StylizeConfig, encoders: EncoderSet) -> Guide:
        """Return what is wanted of a text, on the device, without what all looks have in common."""
        direction, text = (torch.tensor(row, device=encoders.device) for row in (guidance.direction, guidance.style))
        if config.distinctness:
            average = AverageLook.of(encoders.clip)
            direction = distinct(direction, average.direction, config.distinctness)
            text = distinct(text, average.embedding, config.distinctness)
        return cls(direction, text if config.text_share else None)


class _Plan(NamedTuple):
    """One run: its part of the photo, and how many crops it has; the share of the photo that its losses stand for."""

    part: Part | None
    config: StylizeConfig
    share: float


class Composition:
    """One run, or two if a region has a text of its own.

    Parameters
    ----------
    photo
        Fitted to its final size.
    guides
        Of the style text, and of the region's if it has one.
    encoders
        Guide the optimization.
    spec
        What is asked for.
    mask
        Light of the region's mask, at any size of the photo's shape; None if it has none.
    photos
        Cache of what encoders see in photos.

    Raises
    ------
    ConfigError
        The region or the crops do not fit the photo.
    """

    def __init__(
        self,
        photo: Picture,
        guides: Sequence[Guide],
        encoders: EncoderSet,
        spec: StylizationSpec,
        mask: Levels | None = None,
        photos: PhotoCache | None = None,
    ) -> None:
        self._photo = photo
        self._region = spec.region
        self._mask = mask
        plans = _plans(spec, (photo.width, photo.height), mask)
        self._shares = [plan.share for plan in plans]
        self._further: list[RunState] = []
        self._steps = 0
        self._captured: CapturedStep | None = None
        self.runs = [
            RunState(
                photo, guide.direction, encoders, plan.config, spec.seed, guide.text, photos=photos, part=plan.part
            )
            for guide, plan in zip(guides, plans, strict=True)
        ]

    @property
    def nets(self) -> list[StyleNet]:
        """The networks: that of the style text, and that of the region's text if it has one."""
        return [run.net for run in self.runs]

    @property
    def longest_sides(self) -> list[int]:
        """The longest sides in pixels of all photos that the network of the style text is fitted to."""
        return [max(run.size) for run in (self.runs[0], *self._further)]

    def prepare(self) -> Generator[None, None, None]:
        """Bring every network to its start; yields as `clipstyler.preparation.prepare`."""
        for run in self.runs:
            yield from prepare(run)

    def add(self, photo: Picture) -> None:
        """Fit the network to a further photo too. Photos take turns: each step sees one, and no photo decides alone."""
        first = self.runs[0]
        run = RunState(photo, first.direction, first.encoders, first.config, first.seed, first.text, partner=first)
        self._further.append(run)

    @contextmanager
    def captured(self, steps: CapturedSteps | None) -> Iterator[None]:
        """Take captured steps within this context, if there are any to take and these runs can.

        Photos that take turns, and large ones, are computed step by step, with the memory of what no run uses.
        """
        if steps and (self._further or any(run.is_large for run in self.runs)):
            steps.clear()
            steps = None
        if steps is None:
            yield
            return
        with steps.taken(self.runs) as self._captured:
            yield
        self._captured = None

    def step(self, stops: StopPoints, further_loss: FurtherLoss | None) -> Generator[Wait, None, StepReport]:
        """Complete one step of every run; the losses of two runs count by the sizes of their parts.

        Yields as `clipstyler.stylizer.step_in_parts`, or as `CapturedStep.step_in_parts`.
        """
        if self._captured:
            reports = yield from self._captured.step_in_parts(self.runs, stops.check)
        else:
            turn, due = self._due()
            if further_loss:
                further_loss(turn, due[0])
            reports = yield from stops.within(step_in_parts(due, stops.check))
        if len(reports) == 1:
            return reports[0]
        losses = [astuple(report.losses) for report in reports]
        joint = (self._mean(values) for values in zip(*losses, strict=True))
        rejected = self._mean([report.rejected for report in reports])
        return StepReport(Losses(*joint), rejected, reports[0].is_shared)

    def launch(self) -> None:
        """Have the device begin the next step now, if it takes captured ones: what follows need not hold it up."""
        if self._captured:
            self._captured.launch()

    def _due(self) -> tuple[int, list[RunState]]:
        """Return the number of the photo whose turn it is, and its runs."""
        if not self._further:
            return 0, self.runs
        turns = [*self.runs, *self._further]
        turn = self._steps % len(turns)
        self._steps += 1
        return turn, [turns[turn]]

    def _mean(self, values: Sequence[float]) -> float:
        return sum(share * value for share, value in zip(self._shares, values, strict=True))

    def render(self) -> None:
        """Run every network, for `picture`."""
        with torch.no_grad():
            for run in self.runs:
                run.render()

    def picture(self) -> Picture:
        """Return the image of the latest forward passes."""
        return self.snapshot()()

    def snapshot(self) -> Snapshot:
        """Take the image of the latest forward passes: the next ones may begin."""
        region, taken = self._region, [run.snapshot() for run in self.runs]
        if region is None:
            return taken[0]
        return lambda: self._joined(region, [wait() for wait in taken], self._photo, self._mask)

    def drawn(self, original: Original, check: Check) -> Generator[Rendering, None, Picture]:
        """Return the image of the latest forward passes at the size of the original: rendered anew if that is larger.

        Raises
        ------
        ImageError
            The original or the mask cannot be loaded.
        """
        size, own = (original.width, original.height), (self._photo.width, self._photo.height)
        is_larger = max(size) > max(own)
        needs_photo = is_larger or (self._region is not None and self._region.is_kept and size != own)
        photo = original.load() if needs_photo else self._photo
        pictures: list[Picture] = []
        for run in self.runs:
            if is_larger:
                pictures.append((yield from self._rendered(run, photo, check, len(pictures))))
            else:
                pictures.append(resized(run.picture(), size))
        if self._region is None:
            return pictures[0]
        return self._joined(self._region, pictures, photo, self._mask if size == own else original.load_mask())

    def _rendered(
        self, run: RunState, photo: Picture, check: Check, before: int
    ) -> Generator[Rendering, None, Picture]:
        """Render one run, after so many others; its tiles are numbered behind theirs."""
        style = run.style(check)
        rendering = StopPoints(check, style.net).within(render(style, photo))
        while True:
            try:
                event = next(rendering)
            except StopIteration as end:
                stylized: Picture = end.value
                return stylized
            yield replace(event, tile=before * event.tiles + event.tile, tiles=len(self.runs) * event.tiles)

    def _joined(self, region: Region, pictures: list[Picture], photo: Picture, mask: Levels | None) -> Picture:
        """Join the photo and a picture, or two pictures, along the region."""
        outside, inside = pictures[0], photo if region.is_kept else pictures[1]
        return Picture(join(region, mask, inside.rgb, outside.rgb), inside.alpha)


def _plans(spec: StylizationSpec, size: tuple[int, int], mask: Levels | None) -> list[_Plan]:
    region, config = spec.region, spec.config
    if region is None:
        return [_Plan(None, config, 1.0)]
    inside = select(region, mask, size)
    config = config.fitted(*size, pixels_left(region, mask, size))
    if region.is_kept:
        return [_Plan(Part(~inside, kept=inside), config, 1.0)]
    share = float(inside.mean())
    side = min(config.crop_side(*size), math.isqrt(int(inside.sum())))
    own = round(min(max(share, _SMALLEST_SHARE), 1 - _SMALLEST_SHARE) * config.patches)
    own = min(max(own, 1), max(1, config.patches - 1))
    rest = max(1, config.patches - own)
    return [
        _Plan(Part(~inside), replace(config, patches=rest), 1 - share),
        _Plan(Part(inside), replace(config, patches=own, crop_size=side if side >= SMALLEST_CROP else None), share),
    ]
