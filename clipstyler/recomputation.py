"""Memory for time: parts of a network whose activations are not kept, but computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clipstyler.footprint import RECOMPUTED_PIXELS

ValueT = TypeVar("ValueT")
Runner = Callable[..., Any]
"""Calls its first argument with the others."""


def by_size(image: Tensor) -> Runner:
    """Return how the parts of a network run on images (B, C, H, W): large ones are not kept, to the same bits."""
    if not torch.is_grad_enabled():
        return kept
    return recomputed if image.shape[-2] * image.shape[-1] > RECOMPUTED_PIXELS else kept


def kept(part: Callable[..., ValueT], *inputs: Any) -> ValueT:
    """Run a part as it is."""
    return part(*inputs)


def recomputed(part: Callable[..., ValueT], *inputs: Any) -> ValueT:
    """Run a part without keeping its activations: the backward pass computes them again, to the same bits."""
    out: ValueT = checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)
    return out
