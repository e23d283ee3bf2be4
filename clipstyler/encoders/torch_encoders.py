"""PyTorch encoders with a NumPy interface: the reference for exports, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.encoders.base import EncoderSet, SupportsConfidence, SupportsTokens, identity
from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.inference import runtime_name
from clipstyler.encoders.onnx import preprocess

Floats = NDArray[np.float32]


class TorchEncoders:
    """The interface `InferenceEncoders` on PyTorch encoders, in single precision unless they are accelerated."""

    def __init__(self, encoders: EncoderSet) -> None:
        self._encoders = encoders
        self.name = encoders.name
        self.digest = encoders.clip.digest
        self.content_digest = encoders.content.digest
        self.image_size = encoders.clip.image_size
        self.calibration = encoders.calibration
        self.precision = "bf16" if encoders.accelerations.bf16 else "fp32"
        self.backend = f"torch-{encoders.device.type}"

    @cached_property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return int(self.encode_text(["a photo"]).shape[1])

    @property
    def runtime(self) -> str:
        """The backend with everything else that determines the bits: versions, architecture, processor, TF32."""
        parts = [self.backend, torch.__version__, identity(self._encoders.clip)]
        if self._encoders.device.type == "cpu":
            parts += [torch.backends.cpu.get_cpu_capability(), f"{torch.get_num_threads()} threads"]
        elif self._encoders.device.type == "cuda":
            parts.append(torch.cuda.get_device_name(self._encoders.device))
            parts += ["tf32"] if self._encoders.accelerations.tf32 else []
        return runtime_name(*parts)

    def views(self, images: Floats) -> Floats:
        """Resize images to the square views that `encode_image` takes."""
        return preprocess.views(images, self.image_size)

    @torch.no_grad()
    def encode_image(self, views: Floats) -> Floats:
        """Embed views."""
        return _numpy(self._encoders.clip.encode_image(self._tensor(views)))

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences."""
        return _numpy(self._encoders.clip.encode_text(list(sentences)))

    def tokens(self, sentences: Sequence[str]) -> Sequence[NDArray[np.int64]]:
        """Return the text tower's inputs, one row per sentence; none if the encoders do not show them."""
        clip = self._encoders.clip
        if not isinstance(clip, SupportsTokens):
            return []
        return [part.cpu().numpy() for part in clip.tokens(sentences)]

    @torch.no_grad()
    def features(self, images: Floats) -> list[Floats]:
        """Return content features."""
        return [_numpy(part) for part in self._encoders.content.features(self._tensor(images))]

    @torch.no_grad()
    def confidence(self, text: str) -> TextConfidence | None:
        """Return how well a text is known; None if the encoders cannot judge it."""
        clip = self._encoders.clip
        return clip.confidence(text) if isinstance(clip, SupportsConfidence) else None

    def _tensor(self, values: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._encoders.device)


def _numpy(values: Tensor) -> Floats:
    array: Floats = values.detach().float().cpu().numpy()
    return array
