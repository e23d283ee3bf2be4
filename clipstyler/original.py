"""The photo at the size of a result: how large that is, and how it is loaded. No PyTorch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clipstyler.config import StylizeConfig
from clipstyler.imaging import Limits, Picture, decode_fitted, fit, fitted_size, read_header
from clipstyler.masking import Levels


def result_size(config: StylizeConfig, width: int, height: int) -> tuple[int, int]:
    """Return width and height of the result for a photo of these, in pixels.

    Without an `output_size` that is the photo's size, or what it is enlarged to.
    """
    return fitted_size(width, height, _longest(config, width, height), config.enlarge)


def _longest(config: StylizeConfig, width: int, height: int) -> int:
    own = max(width, height)
    return config.output_size or (max(own, config.size) if config.enlarge else own)


def _no_mask() -> None:
    return None


@dataclass(frozen=True)
class Original:
    """A photo at the size of its result.

    Attributes
    ----------
    width, height
        Of the result, pixels.
    load
        Reads it when it is needed: after the last step. Raises `ImageError` if that is impossible.
    load_mask
        Reads in the same way the light of the region's mask at this size; returns None if it has none.
    """

    width: int
    height: int
    load: Callable[[], Picture]
    load_mask: Callable[[], Levels | None] = _no_mask

    @classmethod
    def of_picture(cls, picture: Picture, config: StylizeConfig) -> Original:
        """Take a picture as the original."""
        longest = _longest(config, picture.width, picture.height)
        size = result_size(config, picture.width, picture.height)
        return cls(*size, partial(fit, picture, longest, config.enlarge))

    @classmethod
    def of_file(cls, data: bytes, config: StylizeConfig, limits: Limits | None = None) -> Original:
        """Take the bytes of a file as the original.

        Raises
        ------
        ImageError
            Its header cannot be read, or exceeds the limits.
        """
        header = read_header(data, limits)
        longest = _longest(config, header.width, header.height)
        size = result_size(config, header.width, header.height)
        return cls(*size, partial(decode_fitted, data, longest, config.enlarge, limits))
