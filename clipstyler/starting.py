"""The start of a stylization in closed form: StyleNet shows a given picture before its first update. Not in the paper.

The head of StyleNet is linear in the last features until the sigmoid, so the head that shows a picture best is a least
squares problem of 17 unknowns for each color: one forward pass instead of a series of updates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipstyler.stylenet import StyleNet

# A pixel is fitted as if it were no darker, and no brighter, than this far from the ends of the range: the logit of 0
# is infinite, and weights close to 0 would leave dark and bright areas to chance.
_MARGIN = 0.05
# Relative to the mean square of a regressor: enough for features that are all alike, too little to be seen elsewhere.
_RIDGE = 1e-6
_BLOCK = 2**16  # pixels that are held in float64 at once


def show(net: StyleNet, photo: Tensor, target: Tensor) -> Tensor:
    """Set the head of a network so that it maps a photo to a picture, as well as a linear head can.

    Nothing is drawn at random: the same network, photo and picture give the same head.

    Parameters
    ----------
    net
        Its head is overwritten.
    photo
        What the network sees, (1, 3, H, W).
    target
        The picture, (1, 3, h, w) in [0, 1], with h <= H and w <= W: what lies beyond does not count.

    Returns
    -------
    What the network now makes of the photo, (1, 3, H, W) in (0, 1).
    """
    with torch.no_grad():
        features = _last_features(net, photo)
        height, width = target.shape[-2:]
        fitted = fit_head(features[..., :height, :width], target).to(features)
        net.head.weight.copy_(fitted[:, :-1, None, None])
        assert net.head.bias is not None
        net.head.bias.copy_(fitted[:, -1])
        shown: Tensor = torch.sigmoid(net.head(features))
    return shown


def fit_head(features: Tensor, target: Tensor) -> Tensor:
    """Find the linear head whose sigmoid comes nearest to a picture.

    The squared error of the logit is weighted by the square of the sigmoid's derivative, which makes it the squared
    error of the picture to first order.

    Parameters
    ----------
    features
        (1, C, H, W).
    target
        (1, 3, H, W) in [0, 1].

    Returns
    -------
    Weights and, last, the bias of each color: float64 of shape (3, C + 1).
    """
    unknowns = features.shape[1] + 1
    moments = torch.zeros(3, unknowns, unknowns, dtype=torch.float64, device=features.device)
    products = torch.zeros(3, unknowns, dtype=torch.float64, device=features.device)
    blocks = (image[0].flatten(1).split(_BLOCK, dim=1) for image in (features, target))
    for block, colors in zip(*blocks, strict=True):
        regressors = torch.cat([block.double(), torch.ones_like(block[:1], dtype=torch.float64)])
        wanted = colors.double().clamp(_MARGIN, 1 - _MARGIN)
        weighted = regressors * (wanted * (1 - wanted)).square()[:, None]
        moments += weighted @ regressors.T
        products += (weighted @ torch.logit(wanted)[..., None])[..., 0]
    ridge = _RIDGE * moments.diagonal(dim1=1, dim2=2).mean(dim=1)
    penalty = torch.eye(unknowns, dtype=torch.float64, device=features.device)
    penalty[-1, -1] = 0  # the bias is free
    head: Tensor = torch.linalg.solve(moments + ridge[:, None, None] * penalty, products)
    return head


def _last_features(net: StyleNet, photo: Tensor) -> Tensor:
    """Return what the head of a network sees, (1, 16, H, W)."""
    seen: list[Tensor] = []
    hook = net.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        net(photo)
    finally:
        hook.remove()
    return seen[0]
