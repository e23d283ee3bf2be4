"""Applies a style to any photo, at any size, in one forward pass per level and in bounded memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.blending import blend, mixed
from clipstyler.config import Border
from clipstyler.events import Rendering
from clipstyler.imaging import Picture, fit
from clipstyler.input_noise import positional_octaves
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.pixels import SMALLEST_SIDE, padded
from clipstyler.render import FittedStyle, fix_style, render
from clipstyler.style import Style, StyleDescription
from clipstyler.style_controls import StyleControls
from clipstyler.stylenet import StyleNet

# Of the kept part of a tile: one for a photo of 512 px.
_TILE_SIDE = 512


@dataclass(frozen=True)
class LoadedStyle:
    """A style ready to be applied: its network on a device.

    Attributes
    ----------
    description
        What describes it.
    net
        Its StyleNet, in single precision.
    """

    description: StyleDescription
    net: StyleNet

    @classmethod
    def of(cls, style: Style, device: torch.device | str = "cpu") -> LoadedStyle:
        """Load a style onto a device. A processor draws faster with interleaved channels."""
        interleaved = torch.device(device).type == "cpu"
        net = StyleNet(channels_last=interleaved, mirrored=style.description.border == Border.MIRROR)
        net.load_state_dict({name: _tensor(array) for name, array in style.weights.items()})
        layout = torch.channels_last if interleaved else torch.contiguous_format
        return cls(style.description, net.to(device).to(memory_format=layout).requires_grad_(False).eval())


def apply_style(
    style: LoadedStyle,
    photo: Picture,
    controls: StyleControls,
    *,
    second: LoadedStyle | None = None,
    check: Check = never,
) -> Generator[Rendering, None, Picture]:
    """Apply a style to a photo.

    The same style, photo and controls give the same bytes on the same device with as many threads.

    Parameters
    ----------
    style
        What is applied.
    photo
        What it is applied to.
    controls
        How. The photo is not enlarged.
    second
        The style that is mixed in, if `controls.mix` is above 0.
    check
        Called between the layers: an exception of it stops the work and reaches the caller.

    Yields
    ------
    Before the first tile of a style and after each.

    Returns
    -------
    The stylized photo, with its alpha.
    """
    longest = controls.output_size or max(photo.width, photo.height)
    original = fit(photo, longest)
    if controls.strength == 0:
        return original
    drawn = original.rgb
    if second is None or controls.mix < 1:
        drawn = (yield from _drawn(style, original, check)).rgb
    if second is not None and controls.mix > 0:
        other = (yield from _drawn(second, original, check)).rgb
        drawn = other if controls.mix == 1 else mixed(drawn, other, controls.mix)
    return Picture(blend(original.rgb, drawn, controls.strength, controls.preserve_color), original.alpha)


def _drawn(style: LoadedStyle, original: Picture, check: Check) -> Generator[Rendering, None, Picture]:
    """Draw a photo at its size in a style."""
    fixed = _fixed(style, fit(original, style.description.size), check)
    size = (original.width, original.height)
    if max(size) <= style.description.size:
        return Picture(fixed.optimized, original.alpha)
    return (yield from StopPoints(check, fixed.net).within(render(fixed, original, _TILE_SIDE)))


def _fixed(style: LoadedStyle, thumbnail: Picture, check: Check) -> FittedStyle:
    """Fix a style's normalization to what it is on a photo, and draw the thumbnail that larger sizes are built on."""
    described = style.description
    canvas = tuple(max(side, SMALLEST_SIDE) for side in (thumbnail.height, thumbnail.width))
    return fix_style(
        style.net,
        _with_noise(padded(thumbnail, canvas), described).to(next(style.net.parameters()).device),
        (thumbnail.height, thumbnail.width),
        input_noise=described.input_noise,
        noise_octaves=described.noise_octaves,
        contrast=described.contrast,
        seed=described.seed,
        check=check,
    )


def _with_noise(image: Tensor, described: StyleDescription) -> Tensor:
    if not described.input_noise:
        return image
    height, width = image.shape[-2:]
    noise = positional_octaves(described.seed, described.noise_octaves, slice(0, height), slice(0, width))
    return image + described.input_noise * torch.from_numpy(noise)


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
