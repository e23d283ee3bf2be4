"""Applies a style to any photo, at any size, in one forward pass per level and in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.blending import blend, mixed
from clipstyler.config import Border
from clipstyler.events import Rendering
from clipstyler.imaging import Picture, fit
from clipstyler.input_noise import NoiseField, PositionalNoise
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.pixels import SMALLEST_SIDE, padded, to_pixels
from clipstyler.render import FittedStyle, fix_style, render
from clipstyler.style import Style, StyleDescription
from clipstyler.style_controls import StyleControls
from clipstyler.stylenet import Arithmetic, StyleNet


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
        net = StyleNet(arithmetic=Arithmetic(interleaved), mirrored=style.description.border == Border.MIRROR)
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


def fixed_to(style: LoadedStyle, photos: Sequence[Picture], check: Check = never) -> FittedStyle:
    """Fix a style's normalization to what it is on photos of one size, all of them side by side.

    What it draws first is the picture of that, at the size that the style was fitted at.
    """
    described = style.description
    thumbnails = [fit(photo, described.size) for photo in photos]
    size = thumbnails[0].height, thumbnails[0].width
    image = torch.cat([_canvas(thumbnail) for thumbnail in thumbnails], dim=-1)
    return fix_style(
        style.net,
        _with_noise(image, described.input_noise, PositionalNoise(described.seed, described.noise_octaves)).to(
            next(style.net.parameters()).device
        ),
        size if len(photos) == 1 else (size[0], image.shape[-1]),
        input_noise=described.input_noise,
        noise_octaves=described.noise_octaves,
        contrast=described.contrast,
        seed=described.seed,
        check=check,
    )


def drawn_with(
    fixed: FittedStyle, described: StyleDescription, photo: Picture, check: Check = never
) -> Generator[Rendering, None, Picture]:
    """Draw a photo at its size in a style whose normalization is fixed to others.

    Yields before the first tile and after each.
    """
    thumbnail = fit(photo, described.size)
    with StopPoints(check, fixed.net):
        image = fixed.stylize(_with_noise(_canvas(thumbnail), fixed.input_noise, fixed.noise))
    pixels = to_pixels(image)[: thumbnail.height, : thumbnail.width]
    return (yield from _enlarged(replace(fixed, optimized=pixels), described, photo, check))


def _drawn(style: LoadedStyle, original: Picture, check: Check) -> Generator[Rendering, None, Picture]:
    """Draw a photo at its size in a style."""
    return (yield from _enlarged(fixed_to(style, [original], check), style.description, original, check))


def _enlarged(
    fixed: FittedStyle, described: StyleDescription, original: Picture, check: Check
) -> Generator[Rendering, None, Picture]:
    """Draw a photo at its size, given its picture at the size that the style was fitted at."""
    if max(original.width, original.height) <= described.size:
        return Picture(fixed.optimized, original.alpha)
    return (yield from StopPoints(check, fixed.net).within(render(fixed, original)))


def _canvas(thumbnail: Picture) -> Tensor:
    return padded(thumbnail, tuple(max(side, SMALLEST_SIDE) for side in (thumbnail.height, thumbnail.width)))


def _with_noise(image: Tensor, deviation: float, noise: NoiseField) -> Tensor:
    if not deviation:
        return image
    height, width = image.shape[-2:]
    return image + deviation * torch.from_numpy(noise.part((height, width), slice(0, height), slice(0, width)))


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
