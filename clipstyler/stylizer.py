"""One step of the optimization, for one or several runs that share encoders.

`clipstyler.run_state` is a run; `clipstyler.optimization` takes the steps of a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipstyler.events import (
    Losses,
)
from clipstyler.interruption import Check, never
from clipstyler.run_state import ClipTerms, RunState, embedded

WEIGHT_PROTECTION = 1000.0  # of the protection term: a few percent of the loss of `pocket`


@dataclass(frozen=True)
class StepReport:
    """What one step saw: its losses, and the share of rejected patches."""

    losses: Losses
    rejected: float


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
    images = [state.draw() for state in states]
    check()
    leaves = [image.detach().requires_grad_() for image in images]
    clip = _clip_stage(states, leaves)
    check()
    rows = [_content_stage(*run) for run in zip(states, leaves, clip, strict=True)]
    check()
    reports = _reports(rows)
    for state, image, leaf in zip(states, images, leaves, strict=True):
        assert leaf.grad is not None  # some weight is not 0
        state.backpropagate(image, leaf.grad)
    check()
    for state in states:
        state.update()
    return reports


def _clip_stage(states: Sequence[RunState], leaves: Sequence[Tensor]) -> list[ClipTerms]:
    """Add the gradients of the terms that CLIP measures to each image; returns the terms."""
    views = [state.views(leaf) for state, leaf in zip(states, leaves, strict=True)]
    shares = torch.split(embedded(states, torch.cat(views)), [len(view) for view in views])
    terms = [state.clip_terms(share) for state, share in zip(states, shares, strict=True)]
    _differentiate(torch.stack([state.weighted(found) for state, found in zip(states, terms, strict=True)]).sum())
    return [ClipTerms(*(value.detach() for value in found)) for found in terms]


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


def _reports(rows: list[Tensor]) -> list[StepReport]:
    values: list[list[float]] = torch.stack(rows).tolist()
    if not np.isfinite(values).all():
        raise FloatingPointError("a loss is not finite: use smaller weights or a smaller learning rate")
    return [StepReport(Losses(*row[:5]), row[5]) for row in values]
