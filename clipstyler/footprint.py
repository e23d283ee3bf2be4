"""The memory that a stylization takes, estimated before it begins. No PyTorch here."""

from __future__ import annotations

from typing import NamedTuple

from clipstyler.config import Border, StylizeConfig

RECOMPUTED_PIXELS = 512 * 512
"""Above this, activations of StyleNet and of the content encoder are computed again in the backward pass, and a CPU
computes in bands."""
LARGE_PIXELS = 1536 * 1024
"""Above this, every device computes StyleNet in bands, and it runs twice per step, so that it holds nothing while
others need much."""

# Measured as the peak of a process over what it has with encoders loaded, on a CPU, at 256 to 2048 px with 16 to 64
# patches, with the acceleration `memory`, which takes most; StyleNet's activations and the content features dominate
# all but the last, which is the gradient of the warp. A GPU has no bands below `LARGE_PIXELS`: estimated as a CPU was
# without them.
_BYTES_PER_PIXEL = 4600
_BYTES_PER_RECOMPUTED_PIXEL = 2600
_BYTES_PER_BANDED_PIXEL = 1550
_BYTES_PER_LARGE_PIXEL = 560
_BYTES_PER_CROP_PIXEL = 70
# Of each further photo of a fit: pixels, input and content features.
_BYTES_PER_OTHER_PIXEL = 100
# Padded copies of activations: 99 MiB more at 256 px, measured there only. In bands they take no more.
_MIRRORED = 4 / 3


# Of a result that is drawn in tiles: photo, result and levels, with alpha and noise; and one tile with the free memory
# between its blocks. Measured as above, with and without `memory`, from 2 to 24 megapixels.
_BYTES_PER_RESULT_PIXEL = 16
_TILE_BYTES = 600 * 2**20


def is_large(width: int, height: int) -> bool:
    """Return whether a photo of this size in pixels is so large that a step holds as little as it can."""
    return width * height > LARGE_PIXELS


def is_banded(width: int, height: int, device_type: str) -> bool:
    """Return whether StyleNet is computed in bands for a photo of this size in pixels.

    A GPU computes whole maps faster, and keeps no copies of them in other layouts.
    """
    return width * height > (RECOMPUTED_PIXELS if device_type == "cpu" else LARGE_PIXELS)


class Footprint(NamedTuple):
    """An estimate in bytes: of the image at its optimized size and all patches of a step, and later of the result.

    `option` names the option that reduces it most.
    """

    image: int
    patches: int
    result: int
    option: str

    @property
    def total(self) -> int:
        """Bytes in all, at the peak."""
        return max(self.image + self.patches, self.result)


def footprint(
    config: StylizeConfig,
    width: int,
    height: int,
    view_bytes: int,
    result_size: tuple[int, int] = (0, 0),
    runs: int = 1,
    others: int = 0,
    device_type: str = "cpu",
) -> Footprint:
    """Estimate the memory of a stylization besides its encoders' weights.

    Parameters
    ----------
    config
        How it is computed.
    width, height
        Of the fitted image, pixels.
    view_bytes
        Activations of the CLIP encoder for one view.
    result_size
        Width and height of the result, pixels.
    runs
        2 if a region has a text of its own: they share the patches.
    others
        Further photos that the network is fitted to.
    device_type
        Of what computes it: "cpu" or "cuda".
    """
    pixels = width * height
    mirrored = _MIRRORED if config.border is Border.MIRROR else 1
    in_bands = _BYTES_PER_BANDED_PIXEL if device_type == "cpu" else _BYTES_PER_RECOMPUTED_PIXEL * mirrored
    image = max(
        round(_BYTES_PER_PIXEL * mirrored * min(pixels, RECOMPUTED_PIXELS)),
        round(in_bands * min(pixels, LARGE_PIXELS)),
        _BYTES_PER_LARGE_PIXEL * pixels,
    )
    image *= runs
    image += others * _BYTES_PER_OTHER_PIXEL * config.size**2
    warp = _BYTES_PER_CROP_PIXEL * config.crop_side(width, height) ** 2
    patches = config.patches * (view_bytes + warp) if config.weight_patch else 0
    result = _result_bytes((width, height), result_size) + (runs - 1) * 3 * result_size[0] * result_size[1]
    if result > image + patches:
        option = "output_size"
    elif image >= patches:
        option = "size"
    else:
        option = "crop_size" if config.crop_size and warp > view_bytes else "patches"
    return Footprint(image, patches, result, option)


def _result_bytes(size: tuple[int, int], result_size: tuple[int, int]) -> int:
    """Estimate the memory of a result that is larger than the size of the optimization; 0 otherwise."""
    if max(result_size) <= max(size):
        return 0
    return _TILE_BYTES + _BYTES_PER_RESULT_PIXEL * result_size[0] * result_size[1]
