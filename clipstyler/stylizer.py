"""One step of the optimization, for one or several runs that share encoders.

`clipstyler.run_state` is a run; `clipstyler.optimization` takes the steps of a whole one. Steps that are taken in parts
can have CLIP see the views of all in one batch, and each remains a step of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.embedding import Embedding
from clipstyler.events import Losses
from clipstyler.fitted_net import Fit
from clipstyler.interruption import Check, never
from clipstyler.run_state import ClipTerms, RunState, embedded
from clipstyler.view_choice import ViewChoice

WEIGHT_PROTECTION = 1000.0  # of the protection term: a few percent of the loss of `pocket`


@dataclass(frozen=True)
class StepReport:
    """What one step saw: its losses, and the share of rejected patches; and whether CLIP saw other steps with it."""

    losses: Losses
    rejected: float
    is_shared: bool = False


def step(states: Sequence[RunState], check: Check = never) -> list[StepReport]:
    """Complete one optimizer step in every run. All runs share encoders, and CLIP sees all their views in one batch.

    Each term is differentiated to the image as soon as it is known, so that the terms never need memory together, and
    then all of them at once through the network.

    Parameters
    ----------
    states
        The runs.
    check
        Called between the stages; `StopPoints` calls it within them.

    Raises
    ------
    FloatingPointError
        A loss is not finite: the weights or the learning rate are too large.
    """
    parts = step_in_parts(states, check)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            reports: list[StepReport] = end.value
            return reports


def step_in_parts(states: Sequence[RunState], check: Check = never) -> Generator[Embedding, None, list[StepReport]]:
    """Complete one optimizer step as `step` does; yields once, before CLIP sees the views.

    The consumer may pass what is yielded to `embed_together`, with that of other steps. Otherwise this is `step`, byte
    for byte.
    """
    choices = [state.choose_views().to(state.encoders.device) for state in states]
    gradients = yield from _gradients(states, choices, check)
    reports = read_reports(gradients.rows, is_shared=gradients.is_shared)
    _backpropagate(states, gradients, check)
    for fit in _fits(states):
        fit.count()
    return reports


def advance(states: Sequence[RunState], choices: Sequence[ViewChoice]) -> Tensor:
    """Do what a step does on the device, and nothing else: the host neither reads nor decides anything.

    Returns the values of `StepReport`, (runs, 6), for `read_reports`. Updates are for the caller to count.
    """
    parts = _gradients(states, choices, never)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            gradients: _Gradients = end.value
            _backpropagate(states, gradients, never)
            return gradients.rows


def embed_together(waiting: Sequence[Embedding]) -> None:
    """Have CLIP see the views of several steps in one batch, unless less than two have any. All have the same encoder.

    Each step continues for itself: the rows of a batch do not depend on each other, so that one whose values are not
    finite leaves the others as they are. Only the rounding depends on the size of the batch.
    """
    waiting = [one for one in waiting if len(one.views)]
    if len(waiting) < 2:
        return
    views = torch.cat([one.views.detach() for one in waiting]).requires_grad_()
    sizes = [len(one.views) for one in waiting]
    shares = torch.split(F.normalize(waiting[0].clip.encode_image(views), dim=1), sizes)
    total = torch.stack([one.objective(share) for one, share in zip(waiting, shares, strict=True)]).sum()
    (gradient,) = torch.autograd.grad(total, views)
    for one, part in zip(waiting, torch.split(gradient, sizes), strict=True):
        one.gradient = part


class _Gradients(NamedTuple):
    """The images of a step, one per run, those of the losses to them, and the values of the reports, (runs, 6)."""

    images: list[Tensor]
    to_images: list[Tensor]
    rows: Tensor
    is_shared: bool


def _gradients(
    states: Sequence[RunState], choices: Sequence[ViewChoice], check: Check
) -> Generator[Embedding, None, _Gradients]:
    """Run the networks, and differentiate every loss term to their images."""
    images = [state.draw() for state in states]
    check()
    leaves = [image.detach().requires_grad_() for image in images]
    views = [state.views(leaf, choice) for state, leaf, choice in zip(states, leaves, choices, strict=True)]
    clip, is_shared = yield from _clip_stage(states, views)
    check()
    rows = [_content_stage(*run) for run in zip(states, leaves, clip, strict=True)]
    check()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]  # some weight is not 0
    return _Gradients(images, gradients, torch.stack(rows), is_shared)


def _backpropagate(states: Sequence[RunState], gradients: _Gradients, check: Check) -> None:
    """Bring the gradients of the images to the weights, and apply them."""
    for state, image, gradient in zip(states, gradients.images, gradients.to_images, strict=True):
        state.backpropagate(image, gradient)
    check()
    for fit in _fits(states):
        fit.update()


def _fits(states: Sequence[RunState]) -> list[Fit]:
    return [state.fit for state in states]


def _clip_stage(
    states: Sequence[RunState], views: Sequence[Tensor]
) -> Generator[Embedding, None, tuple[list[ClipTerms], bool]]:
    """Add the gradients of the terms that CLIP measures to the image of each run's views.

    Returns the terms, and whether the views were embedded with those of other steps.
    """
    sizes = [len(view) for view in views]
    terms: list[ClipTerms] = []

    def objective(embeddings: Tensor) -> Tensor:
        shares = torch.split(embeddings, sizes)
        terms[:] = [state.clip_terms(share) for state, share in zip(states, shares, strict=True)]
        return torch.stack([state.weighted(found) for state, found in zip(states, terms, strict=True)]).sum()

    waiting = Embedding(states[0].encoders.clip, torch.cat(list(views)), objective)
    yield waiting
    gradient = waiting.gradient
    if gradient is None:
        _differentiate(objective(embedded(states, waiting.views)))
    else:
        waiting.views.backward(gradient)
    waiting.release()
    return [ClipTerms(*(value.detach() for value in found)) for found in terms], gradient is not None


def _content_stage(state: RunState, leaf: Tensor, clip: ClipTerms) -> Tensor:
    """Add the gradients of the other terms to an image; returns a row with the values of a `StepReport`."""
    content = state.content_term(leaf)
    _differentiate(state.config.weight_content * content)
    variation = state.variation_term(leaf)
    _differentiate(state.config.weight_tv * variation)
    protection = WEIGHT_PROTECTION * state.protection_term(leaf)
    _differentiate(protection)
    content, variation = content.detach(), variation.detach()
    total = state.total(clip, content, variation) + protection.detach()
    return torch.stack([total, clip.direction, clip.patch, content, variation, clip.rejected])


def _differentiate(loss: Tensor) -> None:
    """Add the gradients of a loss, unless its terms are switched off."""
    if loss.requires_grad:
        torch.autograd.backward(loss)


def read_reports(rows: Tensor, *, is_shared: bool = False) -> list[StepReport]:
    """Read what `advance` returns.

    Raises
    ------
    FloatingPointError
        A loss is not finite.
    """
    values: list[list[float]] = rows.tolist()
    if not np.isfinite(values).all():
        raise FloatingPointError("a loss is not finite: use smaller weights or a smaller learning rate")
    return [StepReport(Losses(*row[:5]), row[5], is_shared) for row in values]
