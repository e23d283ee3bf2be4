"""A band-stop filter over the tokens of a vision transformer, against written words in the picture.

SpectralCLIP (Xu et al., arXiv 2303.09270): the discrete cosine transform over the sequence of image tokens, some
frequencies set to zero, and back. Behind the last block only the class token is read, so there the filter is a fixed
weighting of all tokens: the first row of `band_stop`. Which band helps depends on the encoder: there is no default.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.open_clip import OpenClip
from clipstyler.options import ConfigError


class Band(NamedTuple):
    """Frequencies from `low` up to, but without, `high`, in half waves per sequence; 0 is the mean."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Band:
        """Read "LOW:HIGH".

        Raises
        ------
        ConfigError
            It is something else, or empty.
        """
        low, _, high = text.partition(":")
        if low.isdecimal() and high.isdecimal() and int(low) < int(high):
            return cls(int(low), int(high))
        raise ConfigError("stop_band", f"{text!r} is no band: use LOW:HIGH, two whole numbers, the second one larger")


def cosine_transform(length: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix, float64 (length, length): row k has the frequency k."""
    position = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(math.pi / length * (position + 0.5) * position[:, None]) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


def band_stop(length: int, band: Band) -> Tensor:
    """Return the filter as a matrix (length, length) of tokens: transform, zero the band, transform back."""
    matrix = cosine_transform(length)
    kept = torch.ones(length, dtype=torch.float64)
    kept[band.low : band.high] = 0
    return (matrix.T @ (kept[:, None] * matrix)).float()


class FilteredBlock(nn.Module):
    """A block of a vision transformer whose tokens (B, L, D) are filtered."""

    weights: Tensor

    def __init__(self, block: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """Run the block, and filter what it returns."""
        filtered: Tensor = self.weights @ self.block(x, *arguments, **options)
        return filtered


def with_band_stop(encoders: EncoderSet, band: Band) -> EncoderSet:
    """Filter the tokens behind the last block of the image tower, in place; the digest becomes one of both.

    Raises
    ------
    ConfigError
        The image tower is no vision transformer of open_clip, or the band lies beyond its tokens.
    """
    clip = encoders.clip
    visual: Any = clip.model.visual if isinstance(clip, OpenClip) else None
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise ConfigError("stop_band", f"{encoders.name!r} has no vision transformer: use vit-b-32 or another one")
    length = visual.positional_embedding.shape[0]
    if band.high > length:
        raise ConfigError("stop_band", f"ends at {band.high}, and {encoders.name!r} has {length} tokens: use less")
    blocks[-1] = FilteredBlock(blocks[-1], band_stop(length, band).to(encoders.device))
    clip.digest = hashlib.sha256(f"{clip.digest} band stop {band.low}:{band.high}".encode()).hexdigest()
    clip.name = f"{clip.name}, tokens without {band.low}:{band.high}"
    return encoders
