"""Accelerations of a CPU: which there are, and which are in use. No PyTorch here.

`clipstyler.acceleration_choice` decides by measurement. Those that change the bytes of results are reported with them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from clipstyler.options import ConfigError

AUTO = "auto"
OFF = "off"


@dataclass(frozen=True)
class Accelerations:
    """Which accelerations are in use.

    Attributes
    ----------
    memory
        Freed memory is kept for the next step (`clipstyler.allocator`); same bytes, a quarter more memory.
    bf16
        The frozen ViT's linear layers and VGG19 multiply in bfloat16; all else stays in single precision.
    channels_last
        StyleNet computes with interleaved channels and a normalization written for them.
    """

    memory: bool = False
    bf16: bool = False
    channels_last: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of those in use."""
        return tuple(name for name in NAMES if getattr(self, name))

    def __str__(self) -> str:
        return ",".join(self.names) or OFF


RECORD = "accelerations.json"
"""Name of the file in a cache directory that keeps the measurement."""

NAMES = tuple(field.name for field in fields(Accelerations))
NONE = Accelerations()


def parse(wanted: str) -> Accelerations | None:
    """Read "off" or names separated by commas; None for "auto", which leaves the choice to a measurement.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    if wanted == AUTO:
        return None
    if wanted == OFF:
        return NONE
    named = [name.strip() for name in wanted.split(",")]
    if unknown := [name for name in named if name not in NAMES]:
        choices = f"use {AUTO}, {OFF}, or some of {', '.join(NAMES)}"
        raise ConfigError("accelerations", f"{', '.join(map(repr, unknown))}: unknown: {choices}")
    return Accelerations(**dict.fromkeys(named, True))
