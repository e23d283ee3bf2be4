"""What evaluation asks of encoders: NumPy in, NumPy out, on whatever computes. No PyTorch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipstyler.config import Calibration, ConfigError
from clipstyler.prompts import fill_template, templates

Floats = NDArray[np.float32]

# As `clipstyler.prompts.text_direction`: embeddings of unit length this close are one text written twice.
_SMALLEST_DIRECTION = 1e-3


class InferenceEncoders(Protocol):
    """A CLIP and a content encoder for evaluation; see `OnnxEncoders` and `TorchEncoders`."""

    name: str
    digest: str
    content_digest: str
    image_size: int
    embedding_dim: int
    precision: str
    calibration: Calibration

    @property
    def backend(self) -> str:
        """What computes: "onnx-cpu", "onnx-cuda", "onnx-tensorrt", "torch-cpu", ..."""
        ...

    def views(self, images: Floats) -> Floats:
        """Squash images to the views that `encode_image` takes."""
        ...

    def encode_image(self, views: Floats) -> Floats:
        """Embed views, not normalized."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences, not normalized."""
        ...

    def features(self, images: Floats) -> list[Floats]:
        """Content features."""
        ...


def unit(rows: Floats) -> Floats:
    """Rows (or one row) of length 1; a row of zeros stays."""
    made: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    return made


def image_of(rgb: NDArray[np.uint8]) -> Floats:
    """Pixels (H, W, 3) of 8 bits as a batch of one image, float32 (1, 3, H, W) in [0, 1]."""
    image: Floats = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return image


def embed_text(encoders: InferenceEncoders, text: str, template_set: str) -> Floats:
    """Embed a text as `clipstyler.prompts.embed_text` does: the normalized mean over all templates, (D,)."""
    return embed_sentences(encoders.encode_text(sentences_of(text, template_set)))


def sentences_of(text: str, template_set: str) -> list[str]:
    """The sentences that a text becomes in a template set."""
    return [fill_template(template, text) for template in templates(template_set)]


def embed_sentences(rows: Floats) -> Floats:
    """Join the embeddings of one text's sentences: the mean of the raw ones first, then its length is made 1."""
    return unit(rows.mean(axis=0))


def text_direction(encoders: InferenceEncoders, style_text: str, source_text: str, template_set: str) -> Floats:
    """Direction dT = E_T(style) - E_T(source), float32 (D,) (CLIPstyler, section 3.2).

    Each text is encoded in a batch of its own, so that the same texts give the same bits whatever else is asked for.

    Raises
    ------
    ConfigError
        To these encoders both texts mean the same.
    """
    ends = (embed_text(encoders, text, template_set) for text in (style_text, source_text))
    style, source = ends
    direction: Floats = style - source
    if float(np.linalg.norm(direction)) < _SMALLEST_DIRECTION:
        raise ConfigError(
            "style_text",
            f"means the same as the source text {source_text!r} to the encoders {encoders.name!r}: "
            "describe another look",
        )
    return direction
