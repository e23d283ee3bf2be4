"""The two towers: a convolutional pyramid summarized by its statistics, and a bag of hashed words."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.banding import convolved_in_bands
from clipstyler.footprint import is_banded
from clipstyler.pocket.tokenizer import BUCKETS
from clipstyler.recomputation import by_size

EMBEDDING = 256
VIEW = 72
"""Side in pixels of the views that the image tower was trained on."""

_WIDTHS = (16, 32, 64, 128, 192)
_GROUPS = 8
_DEEPER_FROM = 64  # levels of at least this width have one more convolution
_TEXT_WIDTH = 96
_EPSILON = 1e-5


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(_GROUPS, outputs), nn.SiLU(inplace=True)
    )


def _units(level: nn.Module) -> list[nn.Module]:
    """Return the parts of a level, each with one convolution."""
    parts = list(level.children())
    return [level] if isinstance(parts[0], nn.Conv2d) else parts


def _computed(unit: nn.Module, maps: Tensor, banded: bool) -> Tensor:
    """Compute a part of a level, with its convolution in bands if its maps are large."""
    if not (banded and isinstance(unit, nn.Sequential)):
        whole: Tensor = unit(maps)
        return whole
    convolution, normalization, activation = unit
    assert isinstance(convolution, nn.Conv2d)
    out: Tensor = activation(normalization(convolved_in_bands(convolution, maps)))
    return out


class _Residual(nn.Module):
    """A convolution added to its input; zero before training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, maps: Tensor) -> Tensor:
        deeper: Tensor = maps + F.silu(self.norm(self.conv(maps)))
        return deeper


def _statistics(maps: Tensor) -> Tensor:
    """Mean and standard deviation of every channel, (B, 2 C): a description of texture, independent of position.

    Summed in single precision whatever the maps' precision, and as moments rather than by `Tensor.var`, which takes a
    fifth of the tower's time on a CPU.
    """
    wide = maps.float()
    mean = wide.mean((2, 3))
    variance = wide.square().mean((2, 3)) - mean.square()
    return torch.cat([mean, (variance.clamp_min(0) + _EPSILON).sqrt()], dim=1).to(maps.dtype)


class ImageTower(nn.Module):
    """Five levels of convolutions, each at half the resolution of the one above; about 1.9 million parameters.

    The embedding sees only means and deviations of each level, so it describes how an image is made rather than what it
    shows. The first level keeps the full resolution: fine texture lives there.
    """

    def __init__(self) -> None:
        super().__init__()
        levels: list[nn.Module] = [_conv(3, _WIDTHS[0])]
        for inputs, outputs in pairwise(_WIDTHS):
            deeper = [_Residual(outputs)] if outputs >= _DEEPER_FROM else []
            levels.append(nn.Sequential(_conv(inputs, outputs, 2), _conv(outputs, outputs), *deeper))
        self.levels = nn.ModuleList(levels)
        statistics = 2 * (3 + sum(_WIDTHS))
        # Statistics of different levels differ in scale by orders of magnitude: each is standardized by itself.
        self.head = nn.Sequential(
            nn.BatchNorm1d(statistics), nn.Linear(statistics, 512), nn.SiLU(), nn.Linear(512, EMBEDDING)
        )

    def forward(self, views: Tensor) -> Tensor:
        """Embed views in [0, 1], (B, 3, H, W), to (B, EMBEDDING), not normalized."""
        x = views * 2 - 1
        parts = [_statistics(x)]
        for level in self.levels:
            x = level(x)
            parts.append(_statistics(x))
        embedding: Tensor = self.head(torch.cat(parts, dim=1))
        return embedding

    def maps(self, images: Tensor, deepest: int) -> list[Tensor]:
        """Feature maps of images in [0, 1], (B, 3, H, W), from level 0 (full size) to level `deepest` (/ 2^deepest)."""
        height, width = images.shape[-2:]
        run, banded = by_size(images), is_banded(width, height, images.device.type)
        x = images * 2 - 1
        maps = []
        for level in list(self.levels)[: deepest + 1]:
            for unit in _units(level):
                x = run(_computed, unit, x, banded)
            maps.append(x)
        return maps


class TextTower(nn.Module):
    """Embeds each word by its hashed parts, weighs the words, and maps their mean; word order is ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Embedding(BUCKETS, _TEXT_WIDTH, padding_idx=0)
        self.weights = nn.Embedding(BUCKETS, 1, padding_idx=0)
        self.head = nn.Sequential(
            nn.LayerNorm(_TEXT_WIDTH), nn.Linear(_TEXT_WIDTH, 256), nn.SiLU(), nn.Linear(256, EMBEDDING)
        )
        self.known = nn.Sequential(nn.LayerNorm(_TEXT_WIDTH), nn.Linear(_TEXT_WIDTH, 64), nn.SiLU(), nn.Linear(64, 1))
        nn.init.normal_(self.parts.weight, std=0.3)
        nn.init.zeros_(self.weights.weight)

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """Embed tokenized sentences (see `tokenizer.tokenize`) to (B, EMBEDDING), not normalized."""
        embedding: Tensor = self.head(self._meaning(tokens, words))
        return embedding

    def confidence(self, tokens: Tensor, words: Tensor) -> Tensor:
        """Return how likely each tokenized sentence is about a known concept: logits, (B,)."""
        logits: Tensor = self.known(self._meaning(tokens, words))
        return logits[:, 0]

    def _meaning(self, tokens: Tensor, words: Tensor) -> Tensor:
        scores = self.weights(tokens)[..., 0].masked_fill(words == 0, -1e4)
        attention = scores.softmax(dim=1)[..., None] * (words > 0)[..., None]
        meaning: Tensor = (self.parts(tokens) * attention).sum(dim=1)
        return meaning
