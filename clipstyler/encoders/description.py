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


@dataclass(frozen=True)
class EncoderDescription:
    """Describes a loaded encoder set: name, description, models and calibration."""

    name: str
    description: str
    models: tuple[EncoderModel, ...]
    calibration: Calibration
