"""Accelerations: which there are, and which are in use. No PyTorch here.

`clipstyler.acceleration_choice` decides by measurement. Those that change the bytes of results are reported with them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from clipstyler.options import ConfigError

AUTO = "auto"
OFF = "off"


@dataclass(frozen=True)
class Accelerations:
    """Which accelerations are in use.

    Attributes
    ----------
    memory
        Of a CPU: freed memory is kept for the next step (`clipstyler.allocator`); same bytes, a quarter more memory.
    bf16
        The frozen ViT's linear layers and VGG19 multiply in bfloat16, on a GPU also StyleNet's convolutions; all else
        stays in single precision.
    channels_last
        StyleNet computes with interleaved channels and a normalization written for them.
    tf32
        Of a GPU: products in single precision round their factors to TF32, 10 bits of mantissa.
    kernels
        Of a GPU, with `channels_last`: StyleNet's normalization by kernels written for it (`clipstyler.norm_kernels`);
        with `bf16` also sums and normalizations of a frozen ViT, and VGG19's biases (`vit_kernels`, `bias_kernels`).
    graphs
        Of a GPU: steps are captured once and started as a whole (`clipstyler.captured_steps`).
    """

    memory: bool = False
    bf16: bool = False
    channels_last: bool = False
    tf32: bool = False
    kernels: bool = False
    graphs: bool = False

    def on(self, device_type: str) -> Accelerations:
        """Return those that a type of device has, "cpu" or "cuda"; `kernels` only with the layout that they are for."""
        own = Accelerations(**{name: getattr(self, name) for name in NAMES_BY_DEVICE.get(device_type, ())})
        return replace(own, kernels=own.kernels and own.channels_last)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of those in use."""
        return tuple(name for name in NAMES if getattr(self, name))

    def __str__(self) -> str:
        return ",".join(self.names) or OFF


RECORD = "accelerations.json"
"""Name of the file in a cache directory that keeps the measurement."""

NAMES = tuple(field.name for field in fields(Accelerations))
NAMES_BY_DEVICE = {
    "cpu": ("memory", "bf16", "channels_last"),
    "cuda": ("graphs", "tf32", "channels_last", "bf16", "kernels"),
}
"""By type of device, in the order in which they are measured."""
NONE = Accelerations()


def parse(wanted: str) -> Accelerations | None:
    """Read "off" or names separated by commas; None for "auto", which leaves the choice to a measurement.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    if not isinstance(wanted, str):
        raise ConfigError("accelerations", f"must be a text, got {wanted!r}")
    if wanted == AUTO:
        return None
    if wanted == OFF:
        return NONE
    named = [name.strip() for name in wanted.split(",")]
    if unknown := [name for name in named if name not in NAMES]:
        choices = f"use {AUTO}, {OFF}, or some of {', '.join(NAMES)}"
        raise ConfigError("accelerations", f"{', '.join(map(repr, unknown))}: unknown: {choices}")
    return Accelerations(**dict.fromkeys(named, True))
