"""The memory that a stylization takes, estimated before it begins. No PyTorch here."""

from __future__ import annotations

from typing import NamedTuple

from clipstyler.config import StylizeConfig

RECOMPUTED_PIXELS = 512 * 512
"""Above this, activations of StyleNet and of the content encoder are computed again in the backward pass."""
BANDED_PIXELS = 1536 * 1024
"""Above this, StyleNet is computed in bands and run twice per step, so that it holds nothing while others need much."""

# Measured as the peak of a process over what it has with encoders loaded, on a CPU, at 256 to 2048 px with 16 to 64
# patches, with the acceleration `memory`, which takes most; StyleNet's activations and the content features dominate
# the first two, the gradient of the warp the third.
_BYTES_PER_PIXEL = 4600
_BYTES_PER_RECOMPUTED_PIXEL = 2600
_BYTES_PER_BANDED_PIXEL = 900
_BYTES_PER_CROP_PIXEL = 70


def is_banded(width: int, height: int) -> bool:
    """Return whether a photo of this size in pixels is large enough for bands."""
    return width * height > BANDED_PIXELS


class Footprint(NamedTuple):
    """An estimate in bytes: of the image at its optimized size, and of all patches of a step.

    `option` names the option that reduces it most.
    """

    image: int
    patches: int
    option: str

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.image + self.patches


def footprint(config: StylizeConfig, width: int, height: int, view_bytes: int) -> Footprint:
    """Estimate the memory of a stylization besides its encoders' weights.

    Parameters
    ----------
    config
        How it is computed.
    width, height
        Of the fitted image, pixels.
    view_bytes
        Activations of the CLIP encoder for one view.
    """
    pixels = width * height
    image = max(
        _BYTES_PER_PIXEL * min(pixels, RECOMPUTED_PIXELS),
        _BYTES_PER_RECOMPUTED_PIXEL * min(pixels, BANDED_PIXELS),
        _BYTES_PER_BANDED_PIXEL * pixels,
    )
    warp = _BYTES_PER_CROP_PIXEL * config.crop_side(width, height) ** 2
    patches = config.patches * (view_bytes + warp) if config.weight_patch else 0
    if image >= patches:
        return Footprint(image, patches, "size")
    return Footprint(image, patches, "crop_size" if config.crop_size and warp > view_bytes else "patches")
