"""The devices of a server: a list such as `cuda:0,cuda:1` or `cpu*2`, one optimizer for each."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

MAX_DEVICES = 64
"""Optimizers of one server."""

ANY = "auto"
"""The first GPU, or else the processor."""

_ENTRY = re.compile(r"(?P<device>auto|cpu|cuda(?::\d{1,3})?)(?:\*(?P<count>\d{1,3}))?")


@dataclass(frozen=True)
class Device:
    """What one optimizer computes on.

    Attributes
    ----------
    name
        Its name among those of the server: that of the device, with a number if several optimizers share it.
    device
        As PyTorch names it, or "auto".
    """

    name: str
    device: str

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU, as far as that is known."""
        return self.device.startswith("cuda")


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read a list of devices.

    Entries are separated by commas. `cpu*2` stands for two optimizers on the processor, `cuda*2` for the first two
    GPUs, `cuda:0*2` for two optimizers on one GPU.

    Raises
    ------
    ValueError
        It is no such list; the message names every bad entry.
    """
    entries = [entry.strip() for entry in text.split(",")]
    problems = [problem for entry in entries if (problem := _problem(entry))]
    if not problems and ANY in entries and len(entries) > 1:
        problems = ["'auto' stands alone: name each device"]
    devices = [] if problems else [device for entry in entries for device in _expanded(entry)]
    if len(devices) > MAX_DEVICES:
        problems = [f"{len(devices)} devices: at most {MAX_DEVICES}"]
    if problems:
        raise ValueError("; ".join(problems))
    return _named(devices)


def _problem(entry: str) -> str:
    """Return what is wrong with an entry; empty if nothing is."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return f"{entry!r} is no device: use auto, cpu, cuda or cuda:N, with *COUNT for several optimizers"
    if match["count"] and match["device"] == ANY:
        return f"{entry!r}: name the device of which there are several"
    return f"{entry!r}: there must be at least one" if match["count"] and int(match["count"]) < 1 else ""


def _expanded(entry: str) -> list[str]:
    match = _ENTRY.fullmatch(entry)
    assert match is not None
    device, count = match["device"], int(match["count"] or 1)
    if device == "cuda":
        return [f"cuda:{index}" for index in range(count)]
    return [device] * count


def _named(devices: list[str]) -> tuple[Device, ...]:
    """Number those that share a device."""
    shared = Counter(devices)
    numbers: Counter[str] = Counter()
    named = []
    for device in devices:
        named.append(Device(f"{device}/{numbers[device]}" if shared[device] > 1 else device, device))
        numbers[device] += 1
    return tuple(named)
