"""What computes a result, besides the request: the device, its threads, and the versions of libraries."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_LIBRARIES = ("clipstyler", "torch", "torchvision", "open_clip_torch", "numpy", "pillow")


def provider(device: torch.device) -> str:
    """Return the execution provider on a device: "torch-cpu" or "torch-cuda"."""
    return f"torch-{device.type}"


def threads(device: torch.device) -> int:
    """Return the number of CPU threads that compute; 0 on other devices."""
    return torch.get_num_threads() if device.type == "cpu" else 0


def library_versions() -> dict[str, str]:
    """Return the versions of the interpreter and the libraries that determine the bytes of a result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
