"""Work of a GPU, recorded once and started again as a whole: a CUDA graph, started on a stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from clipstyler.device_streams import beside_captures, capturing

_WARM_RUNS = 3  # before recording: libraries choose their kernels, and take their memory, in the first ones


class Recording(Protocol):
    """Work that is done again each time it is started, on the same memory."""

    def start(self) -> None:
        """Start the work; does not wait for it."""
        ...

    def wait(self) -> Tensor:
        """Wait for the end of the latest start; returns what the work returned, on the CPU."""
        ...


Recorder = Callable[[Callable[[], Tensor], torch.device], Recording]
"""Records work, which may be done several times on the way: whatever it changes has changed then."""


class CudaRecording:
    """A CUDA graph: all its kernels are started at once, instead of one after the other by the host.

    Parameters
    ----------
    work
        Computes on the device alone: the host must not read a value. Tensors that it makes belong to the recording.
    device
        The GPU.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._device = device
        self._stream = beside_captures(device)
        self._done = torch.cuda.Event()
        self._graph = torch.cuda.CUDAGraph()
        with capturing(device) as stream:
            stream.wait_stream(torch.cuda.current_stream(device))
            self._found = self._record(work, stream)
        self._read = torch.empty(self._found.shape, dtype=self._found.dtype, pin_memory=True)

    def _record(self, work: Callable[[], Tensor], stream: torch.cuda.Stream) -> Tensor:
        with torch.cuda.stream(stream):
            for _ in range(_WARM_RUNS):
                work()
            # Other threads may go on to use the device meanwhile.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                return work()

    def start(self) -> None:
        """Start the work behind everything that was started on the current stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._graph.replay()
            self._read.copy_(self._found, non_blocking=True)
            self._done.record()

    def wait(self) -> Tensor:
        """Wait for the end of the latest start; returns what the work returned, on the CPU."""
        self._done.synchronize()
        return self._read
