"""Style transfer from a style image: the optimizations of Gatys et al. and of AdaIN's loss, and retrieval by text.

Both optimize pixels from the photo, with the feature maps of the content encoder at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipstyler.encoders.base import ContentEncoder
from clipstyler.encoders.inference import Floats
from clipstyler.losses import content_loss
from clipstyler_lab.baselines.pixels import optimize_pixels
from clipstyler_lab.style_features import channel_statistics, style_features

_RATE = 0.05
_GATYS_STYLE_WEIGHT = 30.0  # relative to a content loss that is divided by the square of its target's size
_ADAIN_STYLE_WEIGHT = 10.0  # Huang and Belongie, 2017


def gram(maps: Tensor) -> Tensor:
    """Gram matrices of feature maps: (B, C, h, w) to (B, C, C), divided by the number of positions."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Give content maps (B, C, h, w) the mean and deviation of every channel of style maps (B, C, h', w')."""
    mean, deviation = channel_statistics(content)
    style_mean, style_deviation = channel_statistics(style)
    return style_deviation * (content - mean) / deviation + style_mean


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error divided by the square of the target, so that layers of different scales count alike."""
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)


def gatys(encoder: ContentEncoder, photo: Tensor, style: Tensor, steps: int) -> Tensor:
    """Match Gram matrices of a style image and the content features of a photo (Gatys, Ecker and Bethge, 2016).

    Departures: Adam from the photo instead of L-BFGS from noise; relative errors instead of layer weights, because
    the maps are those of any encoder.

    Parameters
    ----------
    encoder
        Gives the feature maps.
    photo, style
        (1, 3, H, W) and (1, 3, h, w) in [0, 1].
    steps
        Updates.
    """
    with torch.no_grad():
        wanted = [gram(maps) for maps in style_features(encoder, style)]
        kept = encoder.features(photo)
        scale = sum(maps.square().mean() for maps in kept)

    def loss(image: Tensor) -> Tensor:
        found = [gram(maps) for maps in style_features(encoder, image)]
        style_loss = torch.stack([relative_error(f, w) for f, w in zip(found, wanted, strict=True)]).mean()
        return _GATYS_STYLE_WEIGHT * style_loss + content_loss(encoder.features(image), kept) / scale

    return optimize_pixels(photo, loss, steps, _RATE)


def statistics_matching(encoder: ContentEncoder, photo: Tensor, style: Tensor, steps: int) -> Tensor:
    """Match mean and deviation of every channel, and keep the photo's deepest map with the style's statistics.

    These are the two losses that AdaIN's decoder is trained with (Huang and Belongie, 2017); as no decoder is at hand,
    they are minimized over the pixels. Parameters as `gatys`.
    """
    with torch.no_grad():
        style_maps = style_features(encoder, style)
        wanted = [torch.cat(channel_statistics(maps)) for maps in style_maps]
        target = adain(style_features(encoder, photo)[-1], style_maps[-1])

    def loss(image: Tensor) -> Tensor:
        maps = style_features(encoder, image)
        found = [torch.cat(channel_statistics(part)) for part in maps]
        style_loss = torch.stack([relative_error(f, w) for f, w in zip(found, wanted, strict=True)]).mean()
        return _ADAIN_STYLE_WEIGHT * style_loss + relative_error(maps[-1], target)

    return optimize_pixels(photo, loss, steps, _RATE)


def retrieve(text: Floats, gallery: Floats) -> int:
    """Return the number of the style image that is nearest to a text.

    Parameters
    ----------
    text
        Unit embedding, (D,).
    gallery
        Unit embeddings of the style images, (N, D).
    """
    return int((gallery @ text).argmax())
