"""Encoders so small that the algorithm's tests take milliseconds: random, frozen, of no meaning."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipstyler.config import Calibration
from clipstyler.encoders.base import EncoderSet

DIMENSION = 24


class TinyClip(nn.Module):
    """A convolution as image tower, a hash of the sentence as text tower. Remembers what it was shown."""

    name = "tiny"
    digest = "0" * 64
    image_size = 24

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kernel = nn.Parameter(torch.randn(DIMENSION, 3, 6, 6, generator=generator) / 10, requires_grad=False)
        self.seen: list[Tensor] = []
        self.sentences: list[str] = []
        self.eval()

    def encode_image(self, views: Tensor) -> Tensor:
        self.seen.append(views.detach())
        return nn.functional.conv2d(views, self.kernel, stride=3).relu().mean(dim=(2, 3)) + 0.01

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        self.sentences.extend(sentences)
        seeds = [zlib.crc32(sentence.encode()) for sentence in sentences]
        return torch.stack([torch.randn(DIMENSION, generator=torch.Generator().manual_seed(s)) for s in seeds])


class TinyContent(nn.Module):
    """Blurred pixels as the one content layer."""

    name = "tiny-content"
    digest = "1" * 64

    def features(self, images: Tensor, *, mirrored: bool = False) -> list[Tensor]:
        seen = nn.functional.pad(images, (2, 2, 2, 2), "replicate") if mirrored else images
        return [nn.functional.avg_pool2d(seen, 4)]


def tiny_encoders(**calibration: object) -> EncoderSet:
    """Build a fresh set; keywords replace fields of its calibration."""
    values = {"template_set": "plain", "contrast": 1.0, "learning_rate": 2e-3, **calibration}
    return EncoderSet(
        "tiny",
        "for tests",
        Calibration(**values),
        TinyClip(),
        TinyContent(),
        torch.device("cpu"),
    )
