"""Feature maps whose statistics describe a style, from the content encoder at hand.

The content loss compares deep or normalized maps, which leave the style out on purpose; style transfer compares the
statistics of all depths, before any normalization.
"""

from __future__ import annotations

from torch import Tensor

from clipstyler.encoders.base import ContentEncoder
from clipstyler.encoders.vgg import Vgg19Content
from clipstyler.pocket.model import CONTENT_LEVELS, PocketContent

# Indices into torchvision's `vgg19().features`: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 (Gatys et al., 2016).
VGG_STYLE_LAYERS = (1, 6, 11, 20, 29)


def style_features(encoder: ContentEncoder, images: Tensor) -> list[Tensor]:
    """Feature maps of images (B, 3, H, W) in [0, 1], shallow to deep: one (B, C, h, w) per layer.

    VGG19: the first rectified map of each of its five scales. `pocket`: its pyramid from full size to 1/8, not
    normalized. Any other encoder: its content features.
    """
    if isinstance(encoder, PocketContent):
        return encoder.image.maps(images, CONTENT_LEVELS[-1])
    if isinstance(encoder, Vgg19Content):
        return _vgg_maps(encoder, images)
    return encoder.features(images)


def _vgg_maps(encoder: Vgg19Content, images: Tensor) -> list[Tensor]:
    x = (images - encoder.mean) / encoder.std
    maps = []
    for index, layer in enumerate(encoder.layers):
        x = layer(x)
        if index in VGG_STYLE_LAYERS:
            maps.append(x.clone())  # the next rectification would write into it
    return maps


def channel_statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel of (B, C, h, w), each (B, C, 1, 1)."""
    mean = maps.mean(dim=(2, 3), keepdim=True)
    variance = (maps - mean).square().mean(dim=(2, 3), keepdim=True)
    return mean, (variance + 1e-6).sqrt()
