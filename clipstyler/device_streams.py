"""Streams of a GPU: the one that work is captured on, and others. PyTorch gives out the same 32 in turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.Lock()
_for_captures: dict[int, torch.cuda.Stream] = {}  # by index of the device


@contextmanager
def capturing(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """Capture work on this stream, within this context: one thread of the process at a time, as PyTorch needs it."""
    with _one_at_a_time:
        yield _for_captures_of(device)


def beside_captures(device: torch.device) -> torch.cuda.Stream:
    """Return a stream that no work is captured on: what another thread starts would become part of the capture."""
    captures = _for_captures_of(device)
    while (stream := torch.cuda.Stream(device)) == captures:
        pass
    return stream


def _for_captures_of(device: torch.device) -> torch.cuda.Stream:
    index = torch.cuda.current_device() if device.index is None else device.index
    return _for_captures.get(index) or _for_captures.setdefault(index, torch.cuda.Stream(index))
