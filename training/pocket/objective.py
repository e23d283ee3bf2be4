"""What the towers are trained for, and the attack that makes their gradients mean something to an eye.

Without the attack the towers classify well and guide a stylization badly: an optimizer finds invisible patterns that
satisfy them. Madry et al. (2018) train on the worst picture within a radius; Engstrom et al. (2019) show that the
gradients of such networks follow what people see.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_WEIGHT_DIRECTION = 1.0
_WEIGHT_PHOTO = 0.5


def training_loss(images: Tensor, captions: Tensor, named: Tensor, partners: Tensor, scale: Tensor) -> Tensor:
    """Which caption names the picture, and does it lie in the direction the algorithm will ask for.

    Parameters
    ----------
    images
        Embeddings of the views, (B, D).
    captions
        Embeddings of sets of captions, each with one for every concept, the photo first, and one for every picture in
        other colors: (sets, captions, D).
    named
        Number of the caption of each view, (B,).
    partners
        For each view the index of a view that is a photo, (B,).
    scale
        Factor of the cosines in the classification.
    """
    images = F.normalize(images, dim=1)
    captions = F.normalize(captions, dim=2)
    logits = scale * torch.einsum("bd,skd->sbk", images, captions)
    naming = F.cross_entropy(logits.flatten(0, 1), named.repeat(len(captions)), label_smoothing=0.02)
    own, photo = captions[0, named], captions[0, 0]
    styled = named > 0
    moved = images[styled] - images[partners[styled]]
    direction = 1 - F.cosine_similarity(moved, own[styled] - photo, dim=1)
    at_photo = 1 - images[~styled] @ photo
    return naming + _WEIGHT_DIRECTION * direction.mean() + _WEIGHT_PHOTO * at_photo.mean()


def caption_loss(captions: Tensor, scale: float = 20.0) -> Tensor:
    """Loss that tells apart what two sets of captions name, (2, captions, D); trains the text tower alone."""
    first, second = F.normalize(captions, dim=2)
    logits = scale * first @ second.T
    numbers = torch.arange(len(first))
    return (F.cross_entropy(logits, numbers) + F.cross_entropy(logits.T, numbers)) / 2


def word_loss(words: Tensor, captions: Tensor, targets: Tensor, scale: float = 20.0) -> Tensor:
    """Kullback-Leibler divergence of what words are taken for from what the teacher takes them for.

    Parameters
    ----------
    words
        Embeddings of words, (W, D).
    captions
        Embeddings of one caption for every concept, (concepts, D).
    targets
        The teacher's probabilities, (W, concepts).
    scale
        Factor of the cosines.
    """
    logits = scale * F.normalize(words, dim=1) @ F.normalize(captions, dim=1).T
    return F.kl_div(F.log_softmax(logits, dim=1), targets, reduction="batchmean")


def attack(
    views: Tensor, loss: Callable[[Tensor], Tensor], radius: Tensor, steps: int, generator: torch.Generator
) -> Tensor:
    """Find worse views near by: projected gradient ascent in the L2 ball, from a random start.

    Parameters
    ----------
    views
        Float32 in [0, 1], (B, 3, S, S).
    loss
        Of views, to be raised.
    radius
        L2 radius for each view, (B,), over pixels in [0, 1].
    steps
        Of ascent.
    generator
        Of the random start.
    """
    ball = radius.view(-1, 1, 1, 1)
    change = _unit(torch.randn(views.shape, generator=generator)) * ball * 0.5
    for _ in range(steps):
        change = change.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss((views + change).clamp(0, 1)), change)
        change = change.detach() + _unit(gradient) * ball * (1.5 / (steps + 0.5))
        length = change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        change = change * (ball / length.clamp_min(1e-9)).clamp(max=1)
    return (views + change).clamp(0, 1).detach()


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.flatten(1).norm(dim=1).clamp_min(1e-9).view(-1, 1, 1, 1)
    return unit
