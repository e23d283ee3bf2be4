"""The start of a stylization in closed form: StyleNet shows a given picture before its first update. Not in the paper.

Up to the sigmoid, the image is linear in the head of StyleNet, and, once the head is known, in the shortcut of the last
block. What shows a picture best is then two least squares problems: one forward pass instead of a series of updates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.stylenet import StyleNet

# A color is fitted as if it were no closer than this to the ends of its range: the logit of 0 is infinite, and weights
# close to 0 would leave dark and bright areas to chance.
_MARGIN = 0.02
# Relative to the mean square of a regressor: enough for regressors that are all alike.
_RIDGE = 1e-4
_SMALLEST_GAIN = 1e-3  # of a direction of color in the head, also relative to the largest one
_BLOCK = 2**16  # pixels that are held in float64 at once


def show(net: StyleNet, photo: Tensor, target: Tensor, *, banded: bool = False) -> Tensor:
    """Set the head and the last shortcut of a network so that it maps a photo to a picture, as well as these two can.

    Nothing is drawn at random: the same network, photo and picture give the same weights.

    Parameters
    ----------
    net
        Its `head` and the weights of `last.skip` are overwritten.
    photo
        What the network sees, (1, 3, H, W).
    target
        The picture, (1, 3, h, w) in [0, 1], with h <= H and w <= W: what lies beyond does not count.
    banded
        Whether the network is computed in bands, as `StyleNet.forward` does.

    Returns
    -------
    What the network now makes of the photo, (1, 3, H, W) in (0, 1).
    """
    height, width = target.shape[-2:]
    with torch.no_grad():
        joined, features = net.last_inputs(photo, banded=banded)
        head = fit(features[..., :height, :width], target, torch.zeros_like(target))
        logits = _linear(features, head)
        del features
        rest = fit(joined[..., :height, :width], target, logits[..., :height, :width])
        shortcut = behind(head[:, :-1], rest[:, :-1])
        # What the head makes of the new shortcut; equal to `rest` unless directions of color were left out.
        added = torch.cat([head[:, :-1] @ shortcut, rest[:, -1:]], dim=1)
        _set(net, head[:, :-1], head[:, -1] + rest[:, -1], shortcut)
        return torch.sigmoid(logits + _linear(joined, added))


def fit(regressors: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """Find what to add to logits, linear in some features, so that their sigmoid comes nearest to a picture.

    The squared error of a logit is weighted by the sigmoid's derivative, as in a step of logistic regression.

    Parameters
    ----------
    regressors
        The features, (1, C, H, W).
    target
        The picture, (1, 3, H, W) in [0, 1].
    logits
        What is there already, (1, 3, H, W).

    Returns
    -------
    Weights and, last, the bias of each color: float64 of shape (3, C + 1), on the CPU, where systems this small are
    solved sooner than a GPU begins.
    """
    unknowns = regressors.shape[1] + 1
    moments = torch.zeros(3, unknowns, unknowns, dtype=torch.float64, device=regressors.device)
    products = torch.zeros(3, unknowns, dtype=torch.float64, device=regressors.device)
    blocks = (image[0].flatten(1).split(_BLOCK, dim=1) for image in (regressors, target, logits))
    for block, colors, known in zip(*blocks, strict=True):
        x = torch.cat([block.double(), torch.ones_like(block[:1], dtype=torch.float64)])
        wanted = colors.double().clamp(_MARGIN, 1 - _MARGIN)
        weighted = x * (wanted * (1 - wanted))[:, None]
        moments += weighted @ x.T
        products += (weighted @ (torch.logit(wanted) - known.double())[..., None])[..., 0]
    moments, products = _on_cpu(moments, products)
    ridge = _RIDGE * moments.diagonal(dim1=1, dim2=2).mean(dim=1)
    penalty = torch.eye(unknowns, dtype=torch.float64)
    penalty[-1, -1] = 0  # the bias is free
    found: Tensor = torch.linalg.solve(moments + ridge[:, None, None] * penalty, products)
    return found


def _on_cpu(moments: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Copy (3, U, U) and (3, U) from their device, waiting for it once."""
    if moments.device.type == "cpu":
        return moments, products
    both = torch.cat([moments, products[..., None]], dim=2).cpu()
    return both[..., :-1], both[..., -1]


def behind(head: Tensor, wanted: Tensor) -> Tensor:
    """Find the smallest weights (16, C) that a head (3, 16) turns into wanted weights (3, C).

    Directions of color that the head hardly has are left out: they would take very large weights.
    """
    weights: Tensor = torch.linalg.pinv(head, atol=_SMALLEST_GAIN, rtol=_SMALLEST_GAIN) @ wanted
    return weights


def _linear(features: Tensor, weights: Tensor) -> Tensor:
    """Apply what `fit` returns: (1, C, H, W) to (1, 3, H, W)."""
    weights = _sent(weights, features)
    return F.conv2d(features, weights[:, :-1, None, None], weights[:, -1])


def _set(net: StyleNet, head: Tensor, bias: Tensor, shortcut: Tensor) -> None:
    """Replace the head, and add to the weights of the last shortcut."""
    assert net.head.bias is not None
    net.head.weight.copy_(_sent(head[..., None, None], net.head.weight))
    net.head.bias.copy_(_sent(bias, net.head.bias))
    net.last.skip.weight.add_(_sent(shortcut[..., None, None], net.last.skip.weight))


def _sent(values: Tensor, like: Tensor) -> Tensor:
    """Convert values of the CPU to the type of others, then copy them to where these are, without waiting."""
    return values.to(like.dtype).to(like.device, non_blocking=True)
