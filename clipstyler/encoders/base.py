"""What the algorithm requires of encoders: two small protocols, and a set that combines one of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from clipstyler.acceleration import NONE, Accelerations
from clipstyler.config import Calibration
from clipstyler.encoders.description import EncoderDescription, EncoderModel, TextConfidence


class ClipEncoder(Protocol):
    """Maps images and texts to one space. Frozen: `eval()`, and no parameter requires a gradient."""

    name: str
    digest: str
    image_size: int

    def encode_image(self, views: Tensor) -> Tensor:
        """Embed views: float32 (B, 3, image_size, image_size) in [0, 1] to (B, D), not yet normalized."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences: (len(sentences), D), not yet normalized."""
        ...


class Towers(NamedTuple):
    """A CLIP encoder taken apart for export.

    Attributes
    ----------
    image
        Float32 views (B, 3, image_size, image_size) in [0, 1] to embeddings (B, D); preprocessing is inside.
    text
        Integer tensors to embeddings (B, D).
    text_inputs
        Their names, in order.
    tokenizer
        Kind of the tokenizer.
    tokenize
        Makes them.
    """

    image: nn.Module
    text: nn.Module
    text_inputs: tuple[str, ...]
    tokenizer: str
    tokenize: Callable[[Sequence[str]], tuple[Tensor, ...]]


@runtime_checkable
class Exportable(Protocol):
    """A CLIP encoder whose towers are graphs."""

    def towers(self) -> Towers:
        """The towers."""
        ...


@runtime_checkable
class Configured(Protocol):
    """Encoders that compute with their weights as a configuration says; `form` is its digest."""

    form: str


@runtime_checkable
class SupportsConfidence(Protocol):
    """Encoders that know a limited set of concepts and can report how well they know a text."""

    def confidence(self, sentence: str) -> TextConfidence:
        """How well a sentence is known."""
        ...


@runtime_checkable
class SupportsViewBytes(Protocol):
    """Encoders that know the memory of their activations for one view, forward and backward."""

    @property
    def view_bytes(self) -> int:
        """Bytes for one view."""
        ...


@runtime_checkable
class SupportsTokens(Protocol):
    """Encoders whose tokens can be looked at, to find out what of a text they read."""

    def tokens(self, sentences: Sequence[str]) -> Sequence[Tensor]:
        """The text tower's inputs, one row per sentence."""
        ...


@runtime_checkable
class SupportsBf16(Protocol):
    """Encoders whose frozen image layers can multiply in bfloat16."""

    def to_bf16(self) -> None:
        """Convert them in place; inputs and outputs stay in single precision."""
        ...


@runtime_checkable
class SupportsFusion(Protocol):
    """Encoders in bfloat16 with operations that one kernel of a GPU can do instead of several."""

    def fuse(self) -> None:
        """Rewrite them in place, after `to_bf16`."""
        ...


class ContentEncoder(Protocol):
    """Maps images to feature maps that preserve the layout. Frozen, like `ClipEncoder`."""

    name: str
    digest: str

    def features(self, images: Tensor, *, mirrored: bool = False) -> list[Tensor]:
        """Feature maps of images: float32 (B, 3, H, W) in [0, 1] to one (B, C, h, w) per layer.

        Beyond the border lies what the encoder was trained with, or the mirrored image.
        """
        ...


@dataclass(frozen=True, eq=False)
class EncoderSet:
    """A CLIP and a content encoder on one device, with what their numbers mean.

    Attributes
    ----------
    name, description
        From the registry.
    calibration
        What the numbers of these encoders mean.
    clip, content
        The encoders.
    device
        Where they are.
    accelerations
        Those that are in use and change the bytes of results.
    """

    name: str
    description: str
    calibration: Calibration
    clip: ClipEncoder
    content: ContentEncoder
    device: torch.device
    accelerations: Accelerations = NONE

    @property
    def alone(self) -> EncoderSet:
        """The same encoders without what their owner keeps beside them (`clipstyler.loaded_encoders`)."""
        return EncoderSet(*(getattr(self, field.name) for field in fields(EncoderSet)))

    @property
    def models(self) -> tuple[EncoderModel, ...]:
        """The models with their digests, each file once."""
        named = (EncoderModel(encoder.name, encoder.digest) for encoder in (self.clip, self.content))
        return tuple({model.digest: model for model in reversed(list(named))}.values())[::-1]

    def describe(self) -> EncoderDescription:
        """Describe the set, without the encoders themselves."""
        described = EncoderDescription(self.name, self.description, self.models, self.calibration)
        if isinstance(self.clip, SupportsViewBytes):
            return replace(described, view_bytes=self.clip.view_bytes)
        return described


def accelerated(encoders: EncoderSet, accelerations: Accelerations) -> EncoderSet:
    """Apply accelerations to loaded encoders, in place where they support them; returns them with those in use."""
    parts = (encoders.clip, encoders.content)
    supporting = [part for part in parts if isinstance(part, SupportsBf16)]
    is_used = bool(supporting) or encoders.device.type == "cuda"
    used = replace(accelerations.on(encoders.device.type), memory=False)
    used = replace(used, bf16=used.bf16 and is_used)
    if accelerations.bf16:
        for part in supporting:
            part.to_bf16()
    if used.bf16 and used.kernels:
        for fusible in parts:
            if isinstance(fusible, SupportsFusion):
                fusible.fuse()
    return replace(encoders, accelerations=used)


def identity(encoder: ClipEncoder | ContentEncoder) -> str:
    """Tell an encoder from all others, for caches: one checkpoint may fit several architectures and configurations."""
    return f"{encoder.name} {encoder.digest} {encoder.form if isinstance(encoder, Configured) else ''}".rstrip()


class EncoderUnavailableError(RuntimeError):
    """Encoders that are known but cannot be loaded here; the message says why and what to do."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
