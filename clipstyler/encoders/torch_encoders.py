"""PyTorch encoders with NumPy at both ends: what exports are held against, and what to fall back to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.onnx import preprocess

Floats = NDArray[np.float32]


class TorchEncoders:
    """The interface of `OnnxEncoders` on PyTorch encoders, in single precision."""

    precision = "fp32"

    def __init__(self, encoders: EncoderSet) -> None:
        self._encoders = encoders
        self.name = encoders.name
        self.digest = encoders.clip.digest
        self.content_digest = encoders.content.digest
        self.image_size = encoders.clip.image_size
        self.calibration = encoders.calibration
        self.embedding_dim = self.encode_text(["a photo"]).shape[1]
        self.backend = f"torch-{encoders.device.type}"

    def views(self, images: Floats) -> Floats:
        """Squash images to the views that `encode_image` takes."""
        return preprocess.views(images, self.image_size)

    @torch.no_grad()
    def encode_image(self, views: Floats) -> Floats:
        """Embed views."""
        return _numpy(self._encoders.clip.encode_image(self._tensor(views)))

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences."""
        return _numpy(self._encoders.clip.encode_text(list(sentences)))

    @torch.no_grad()
    def features(self, images: Floats) -> list[Floats]:
        """Content features."""
        return [_numpy(part) for part in self._encoders.content.features(self._tensor(images))]

    def _tensor(self, values: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._encoders.device)


def _numpy(values: Tensor) -> Floats:
    array: Floats = values.detach().float().cpu().numpy()
    return array
