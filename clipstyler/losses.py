"""The loss terms of CLIPstyler, each a plain formula (Kwon & Ye, CVPR 2022, section 3; weights are elsewhere)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.config import TvForm


def directional_loss(image: Tensor, content: Tensor, text_direction: Tensor) -> Tensor:
    """Directional CLIP loss `1 - cos(dI, dT)` with `dI = E_I(image) - E_I(content)`.

    Parameters
    ----------
    image
        L2-normalized embeddings of stylized views, (B, D).
    content
        L2-normalized embedding of the content image, (1, D) or (B, D).
    text_direction
        dT, (D,).

    Returns
    -------
    One loss per view, (B,), 0 to 2.
    """
    return 1 - F.cosine_similarity(image - content, text_direction[None], dim=1)


def text_loss(image: Tensor, text: Tensor) -> Tensor:
    """Distance `1 - cos(E_I, E_T)` of views from the text itself; the paper has the direction only.

    Parameters
    ----------
    image
        L2-normalized embeddings of stylized views, (B, D).
    text
        L2-normalized embedding of the style text, (D,).

    Returns
    -------
    One loss per view, (B,), 0 to 2.
    """
    return 1 - image @ text


def threshold_rejection(losses: Tensor, tau: float) -> Tensor:
    """R(s, tau) = 0 if s <= tau else s: a patch that satisfies the text already is not optimized further."""
    return torch.where(losses <= tau, torch.zeros_like(losses), losses)


def patch_clip_loss(losses: Tensor, tau: float | None) -> Tensor:
    """PatchCLIP loss: the mean of the patches' directional losses, rejected ones counting 0 but dividing too.

    Parameters
    ----------
    losses
        Directional loss of each patch, (N,).
    tau
        Threshold; None keeps every patch.
    """
    return (losses if tau is None else threshold_rejection(losses, tau)).mean()


def content_loss(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of the content features, summed over the layers."""
    return torch.stack([F.mse_loss(f, t) for f, t in zip(features, targets, strict=True)]).sum()


def frame_difference_loss(change: Sequence[Tensor], photo_change: Sequence[Tensor]) -> Tensor:
    """Mean squared distance of how a stylized frame changes from how the frame itself does, summed over the spaces.

    Xu et al., arXiv 2102.05822: the pixels are one space, each layer of content features another. No optical flow.

    Parameters
    ----------
    change, photo_change
        By space: the stylized frame less the stylized one before, and the frame less the one before.
    """
    return content_loss(change, photo_change)


def protection_loss(image: Tensor, photo: Tensor, kept: Tensor) -> Tensor:
    """Mean squared difference of an image from the photo, where that is to stay; not in the paper.

    Parameters
    ----------
    image, photo
        (1, 3, H, W).
    kept
        1 for pixels that stay, else 0: (1, 1, H, W), not all 0.
    """
    return ((image - photo).square() * kept).sum() / (kept.sum() * image.shape[1])


def total_variation(image: Tensor, form: TvForm) -> Tensor:
    """Total variation over horizontal, vertical and both diagonal neighbors of (1, C, H, W).

    `TvForm.NORM` sums the four unsquared Frobenius norms, which is what the authors' code computes;
    `TvForm.SQUARED` sums their squares, which is what the paper prints. One weight does not fit both.
    """
    differences = (
        image[..., :, 1:] - image[..., :, :-1],
        image[..., 1:, :] - image[..., :-1, :],
        image[..., 1:, 1:] - image[..., :-1, :-1],
        image[..., 1:, :-1] - image[..., :-1, 1:],
    )
    norms = torch.stack([torch.linalg.vector_norm(difference) for difference in differences])
    return norms.sum() if form is TvForm.NORM else norms.square().sum()
