"""Optimization of the pixels themselves, shared by the baselines that have no network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MARGIN = 1e-3  # black and white are fitted as if they were this far from the ends, where the logit is infinite


def optimize_pixels(image: Tensor, loss: Callable[[Tensor], Tensor], steps: int, learning_rate: float) -> Tensor:
    """Minimize a loss over the pixels of an image with Adam.

    The pixels are the sigmoid of what is optimized, so they stay in range without clamping, which stops gradients.

    Parameters
    ----------
    image
        The start, (1, 3, H, W) in [0, 1].
    loss
        Maps an image to a scalar.
    steps, learning_rate
        Updates, and Adam's learning rate in logits.

    Returns
    -------
    The image after the last update, (1, 3, H, W) in (0, 1).
    """
    logits = torch.logit(image.clamp(_MARGIN, 1 - _MARGIN)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(torch.sigmoid(logits)).backward()
        optimizer.step()
    return torch.sigmoid(logits.detach())
