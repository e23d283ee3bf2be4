"""StyleNet: the small U-Net that is optimized for one photo and one text (CLIPstyler, section 3.1).

615,267 parameters. A 1x1 convolution opens 3 to 16 channels; an encoding block; three times a block and a strided
4x4 convolution (16, 32, 64); a block at the bottom (128); three times up with the skip of the same resolution; a
block on the concatenation with the first features; a 1x1 convolution and a sigmoid.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.banding import Part, convolved_in_bands, in_bands
from clipstyler.footprint import LARGE_PIXELS
from clipstyler.interleaved_norm import InterleavedNormReLU
from clipstyler.recomputation import Runner, by_size, kept, recomputed


class Arithmetic(NamedTuple):
    """How a StyleNet is computed.

    Attributes
    ----------
    channels_last
        With interleaved channels.
    kernels
        On a GPU, with interleaved channels: normalization by `clipstyler.norm_kernels`, and nothing is computed for
        biases that it takes away.
    half
        On a GPU: convolutions but the last multiply in bfloat16.
    """

    channels_last: bool = False
    kernels: bool = False
    half: bool = False


PLAIN = Arithmetic()
STRIDE = 8  # the input's sides must be multiples of this
_BANDED_PART_PIXELS = 256 * 256  # what parts of a network in bands have at most to be computed as a whole


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int, mirrored: bool) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=1, padding_mode=_padding(mirrored))


def _padding(mirrored: bool) -> Literal["reflect", "zeros"]:
    return "reflect" if mirrored else "zeros"


class _NormedConv(nn.Conv2d):
    """A convolution whose bias stays 0, as the normalization that follows takes it away: nothing is added for it."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002, ARG002
        out: Tensor = super()._conv_forward(input, weight, None)
        return out


def _normed_conv(channels_in: int, channels_out: int, arithmetic: Arithmetic, mirrored: bool) -> nn.Conv2d:
    kind = _NormedConv if arithmetic.kernels else nn.Conv2d
    return kind(channels_in, channels_out, 3, 1, padding=1, padding_mode=_padding(mirrored))


def _norm_relu(channels: int, arithmetic: Arithmetic) -> nn.Module:
    if arithmetic.channels_last:
        return InterleavedNormReLU(kernels=arithmetic.kernels)
    return nn.Sequential(nn.InstanceNorm2d(channels), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with InstanceNorm and ReLU, beside a 1x1 skip convolution."""

    def __init__(
        self, channels_in: int, channels_out: int, *, arithmetic: Arithmetic = PLAIN, mirrored: bool = False
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normed_conv(channels_in, channels_out, arithmetic, mirrored),
            _norm_relu(channels_out, arithmetic),
            _normed_conv(channels_out, channels_out, arithmetic, mirrored),
            _norm_relu(channels_out, arithmetic),
        )
        self.skip = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H, W)."""
        body: Tensor = self.body(x)
        skip: Tensor = self.skip(x)
        return body + skip


class StyleNet(nn.Module):
    """The stylizing network f: a photo in [0, 1] to a photo in (0, 1), sides multiples of 8.

    Build one with `initialize`, which takes its randomness from an explicit generator.

    Parameters
    ----------
    arithmetic
        How it is computed: the same function, rounded otherwise.
    mirrored
        Whether convolutions see the mirrored image beyond its border instead of zeros (the paper), which would show
        them where the border is. Sides of at least 16 then.

    Attributes
    ----------
    layout
        Memory format that it computes with.
    """

    def __init__(self, *, arithmetic: Arithmetic = PLAIN, mirrored: bool = False) -> None:
        super().__init__()
        block = partial(ResidualBlock, arithmetic=arithmetic, mirrored=mirrored)
        self._mirrored = mirrored
        self._arithmetic = arithmetic
        self.layout = torch.channels_last if arithmetic.channels_last else torch.contiguous_format
        self.stem = nn.Conv2d(3, 16, 1)
        self.first = block(16, 16)
        self.down = nn.ModuleList([block(16, 16), block(16, 32), block(32, 64)])
        self.shrink = nn.ModuleList([_conv(c, c, 4, 2, mirrored) for c in (16, 32, 64)])
        self.bottom = block(64, 128)
        self.up = nn.ModuleList([block(128 + 64, 64), block(64 + 32, 32), block(32 + 16, 16)])
        self.last = block(16 + 16, 16)
        self.head = nn.Conv2d(16, 3, 1)

    @classmethod
    def initialize(
        cls,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        *,
        arithmetic: Arithmetic = PLAIN,
        mirrored: bool = False,
    ) -> StyleNet:
        """Build a fresh network whose weights come from `generator` (on the CPU) alone.

        The distribution is PyTorch's default for convolutions, as in the authors' code: uniform within
        1 / sqrt(fan-in). The global random state is neither read nor changed.
        """
        with torch.device("meta"):
            net = cls(arithmetic=arithmetic, mirrored=mirrored)
        net.to_empty(device="cpu")
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, nn.Conv2d) and module.bias is not None:
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    module.weight.uniform_(-bound, bound, generator=generator)
                    module.bias.uniform_(-bound, bound, generator=generator)
                if isinstance(module, _NormedConv) and module.bias is not None:
                    module.bias.zero_().requires_grad_(False)
        return net.to(device).to(memory_format=net.layout)

    def forward(self, photo: Tensor, *, banded: bool = False) -> Tensor:
        """Stylize: (B, 3, H, W) in [0, 1] to the same shape in (0, 1).

        With `banded`, large parts are computed in bands of rows, for less memory: the same function, rounded otherwise.
        Layers then see the bands instead of the whole, and need their normalizations, which folding takes away.
        """
        run = _runner(photo, banded)
        with nullcontext() if banded else self._precision(photo):
            logits = run(self._close(), *self._features(photo, run))
            return torch.sigmoid(logits).contiguous()

    def _precision(self, photo: Tensor) -> AbstractContextManager[object]:
        """Return the context that has a GPU multiply in bfloat16; weights and gradients are in single precision.

        Bands are not computed in it: what their backward pass computes again would have another precision.
        """
        if not (self._arithmetic.half and photo.is_cuda):
            return nullcontext()
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False)

    def last_inputs(self, photo: Tensor, *, banded: bool = False) -> tuple[Tensor, Tensor]:
        """Return what the last shortcut and the head see of a photo (B, 3, H, W): (B, 32, H, W) and (B, 16, H, W)."""
        run = _runner(photo, banded)
        joined = _joined(*self._features(photo, run))
        return joined, run(_plain(self.last), joined)

    def _features(self, photo: Tensor, run: Runner) -> tuple[Tensor, Tensor]:
        """Return what the last block joins: the deepest features, enlarged, and the first ones; (B, 16, H, W) each."""
        photo = photo.contiguous(memory_format=self.layout)
        if run is _in_bands and torch.is_grad_enabled() and _pixels(photo) > LARGE_PIXELS:
            return self._features_again(photo, run)
        first = self._opened(photo, run)
        skip, x = self._descended(first, run)
        return run(_enlarging(self.up[-1]), self._deepest(x, run), skip), first

    def _features_again(self, photo: Tensor, run: Runner) -> tuple[Tensor, Tensor]:
        """Return the same features, holding less for the backward pass, which computes whole stretches again.

        The first features are computed once more where they are joined, so that neither they nor their gradient wait
        while the parts before are differentiated.
        """

        def entered(photo: Tensor) -> tuple[Tensor, Tensor]:
            return self._descended(self._opened(photo, run), run)

        skip, x = recomputed(entered, photo)
        x = recomputed(self._deepest, x, run)
        return run(_enlarging(self.up[-1]), x, skip), self._opened(photo, run)

    def _opened(self, photo: Tensor, run: Runner) -> Tensor:
        """Return the first features."""
        first: Tensor = run(Part(self.first, self.stem, _unchanged, (1,), (self.stem, self.first)), photo)
        return first

    def _descended(self, first: Tensor, run: Runner) -> tuple[Tensor, Tensor]:
        """Return the features that skip all deeper ones, and what these begin with, of half the size."""
        skip = run(_plain(self.down[0]), first)
        return skip, self._shrunk(self.shrink[0], skip, run)

    def _deepest(self, x: Tensor, run: Runner) -> Tensor:
        """Return the features of half the size that have seen all deeper ones."""
        skips = []
        for block, shrink in list(zip(self.down, self.shrink, strict=True))[1:]:
            x = run(_plain(block), x)
            skips.append(x)
            x = self._shrunk(shrink, x, run)
        x = run(_plain(self.bottom), x)
        for block in list(self.up)[:-1]:
            x = run(_enlarging(block), x, skips.pop())
        return x

    def _shrunk(self, shrink: nn.Module, x: Tensor, run: Runner) -> Tensor:
        """Halve the sides. A convolution that sees a mirrored border keeps a copy of its input; not of a large one."""
        assert isinstance(shrink, nn.Conv2d)
        if run is _in_bands and _pixels(x) > _BANDED_PART_PIXELS:
            return convolved_in_bands(shrink, x)
        shrunk: Tensor = (run if self._mirrored and run is not _in_bands else kept)(shrink, x)
        return shrunk

    def _close(self) -> Part:
        return Part(self.last, _joined, self._logits, (1, 1), (self.last,), (self.head,))

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # half precision has too few levels for an image
            logits: Tensor = self.head(x.to(self.head.weight.dtype))
            return logits


def _plain(block: nn.Module) -> Part:
    """Return a part that is a block alone."""
    return Part(block, _unchanged, _unchanged, (1,), (block,))


def _unchanged(x: Tensor) -> Tensor:
    return x


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([x, skip], dim=1)


def _enlarged(x: Tensor, skip: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # which would convert x to single precision, and back
        return _joined(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), skip)


def _enlarging(block: nn.Module) -> Part:
    """Return a part that is a block on the features of half the size, enlarged, and those that skipped them."""
    return Part(block, _enlarged, _unchanged, (2, 1), (block,))


def _pixels(x: Tensor) -> int:
    return x.shape[-2] * x.shape[-1]


def _runner(photo: Tensor, banded: bool) -> Runner:
    """Return how the parts of a network run on a photo."""
    return _in_bands if banded else by_size(photo)


def _in_bands(part: Part, *inputs: Tensor) -> Tensor:
    if part.pixels(*inputs) > _BANDED_PART_PIXELS:
        return in_bands(part, *inputs)
    return (recomputed if torch.is_grad_enabled() else kept)(part, *inputs)
