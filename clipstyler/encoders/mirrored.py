"""Frozen convolutions that see a mirrored map beyond its border, where zeros would show them where the border is."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

Layers = TypeVar("Layers", bound=nn.Module)


def mirrored(layers: Layers) -> Layers:
    """Return layers with the same parameters whose padded convolutions repeat the border of their maps.

    One pixel of padding is then the mirror image, for maps of any size. Keep both in one module: converting it, for
    instance to another device, converts both.
    """
    shared = {id(weights): weights for weights in (*layers.parameters(), *layers.buffers())}
    copied = copy.deepcopy(layers, dict(shared))
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d) and any(layer.padding):
            layer.padding_mode = "replicate"
    return copied
