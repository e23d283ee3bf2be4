"""What is known about encoders without loading them. No PyTorch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clipstyler.config import Calibration


class EncoderModel(NamedTuple):
    """A model and the SHA-256 digest (lower-case hexadecimal) that identifies its weights everywhere."""

    name: str
    digest: str


class TextConfidence(NamedTuple):
    """How likely a text is about something that the encoders know, 0 to 1, and the nearest things that they know."""

    probability: float
    nearest: tuple[str, ...]


# Of an encoder that does not state it.
_VIEW_BYTES = 32 * 2**20


@dataclass(frozen=True)
class EncoderDescription:
    """Describes a loaded encoder set: name, description, models and calibration.

    `view_bytes` is the memory of the CLIP encoder's activations for one view, forward and backward.
    """

    name: str
    description: str
    models: tuple[EncoderModel, ...]
    calibration: Calibration
    view_bytes: int = _VIEW_BYTES
