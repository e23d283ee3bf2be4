"""Values of a device on their way to the host: neither the device nor the host waits before they are needed."""

from __future__ import annotations

import torch
from torch import Tensor

from clipstyler.device_streams import beside_captures


class Readback:
    """Begins to copy values of a GPU beside what it computes next; the values must not change meanwhile.

    Parameters
    ----------
    values
        On any device; those of a CPU are taken as they are.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._arrived: torch.cuda.Event | None = None
        if values.is_cuda:
            self._values, self._arrived = _sent(values)

    def wait(self) -> Tensor:
        """Return the values on the CPU."""
        if self._arrived is None:
            return self._values
        self._arrived.synchronize()
        return self._values.clone()  # so that nobody keeps pinned memory


def _sent(values: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Copy to pinned memory on a stream of its own; returns that memory, and the event of the copy."""
    stream, arrived = beside_captures(values.device), torch.cuda.Event()
    stream.wait_stream(torch.cuda.current_stream(values.device))
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    with torch.cuda.stream(stream):
        pinned.copy_(values, non_blocking=True)
        arrived.record()
    values.record_stream(stream)
    return pinned, arrived
