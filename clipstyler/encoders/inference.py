"""What evaluation requires of encoders: NumPy in, NumPy out, independent of the backend. No PyTorch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipstyler.config import Calibration
from clipstyler.encoders.description import TextConfidence

Floats = NDArray[np.float32]

_ROWS = 64  # per run of a tower


class InferenceEncoders(Protocol):
    """A CLIP and a content encoder for evaluation; see `OnnxEncoders` and `TorchEncoders`.

    Attributes
    ----------
    name
        Of the encoder set.
    digest, content_digest
        SHA-256 of the CLIP's and the content encoder's weights.
    image_size, embedding_dim
        Side of a view in pixels; length of an embedding.
    precision
        "fp32", "fp16" or "bf16".
    """

    name: str
    digest: str
    content_digest: str
    image_size: int
    precision: str
    calibration: Calibration

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def backend(self) -> str:
        """The execution backend: "onnx-cpu", "onnx-cuda", "onnx-tensorrt", "torch-cpu", ..."""
        ...

    @property
    def runtime(self) -> str:
        """The backend with everything else that determines the bits of an embedding, such as versions and threads."""
        ...

    def views(self, images: Floats) -> Floats:
        """Resize images to the square views that `encode_image` takes."""
        ...

    def encode_image(self, views: Floats) -> Floats:
        """Embed views, not normalized."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences, not normalized."""
        ...

    def tokens(self, sentences: Sequence[str]) -> Sequence[NDArray[np.int64]]:
        """Return the text tower's inputs, one row per sentence; none if the encoders do not show them."""
        ...

    def features(self, images: Floats) -> list[Floats]:
        """Return content features."""
        ...

    def confidence(self, text: str) -> TextConfidence | None:
        """Return how well a text is known; None if the encoders cannot judge it."""
        ...


def runtime_name(*parts: str) -> str:
    """Name what computes, with the versions of the libraries that determine an embedding beside the backend's own."""
    return "/".join([*parts, *_versions()])


@cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{name} {version(name)}" for name in ("clipstyler", "numpy", "open_clip_torch"))


def l2_normalize(rows: Floats) -> Floats:
    """Scale rows (or one row) to length 1; a row of zeros is returned unchanged."""
    made: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    return made


def image_of(rgb: NDArray[np.uint8]) -> Floats:
    """Convert 8-bit pixels (H, W, 3) to a batch of one image, float32 (1, 3, H, W) in [0, 1]."""
    image: Floats = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return image


def in_batches(encode: Callable[[Sequence[Any]], Floats], rows: Sequence[Any]) -> Floats:
    """Encode rows in batches of bounded size; returns their embeddings in order."""
    return np.concatenate([encode(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)])
