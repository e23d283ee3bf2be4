"""Streams of a GPU, in place of which numbers are given out as PyTorch does: in turns."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from clipstyler import cuda_recording, device_streams
from clipstyler.cuda_recording import CudaRecording
from clipstyler.device_streams import beside_captures, capturing

_POOL = 32
CUDA = torch.device("cuda", 0)


class Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.waited_for: list[object] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.number == self.number

    def __hash__(self) -> int:
        return self.number

    def wait_stream(self, other: object) -> None:
        self.waited_for.append(other)


DEFAULT = Stream(-1)


@pytest.fixture(autouse=True)
def _streams(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = itertools.count()
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: Stream(next(turns) % _POOL))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(device_streams, "_for_captures", {})


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_nothing_is_started_on_the_stream_of_captures(device: str) -> None:
    with capturing(torch.device(device)) as captures:
        others = {beside_captures(CUDA) for _ in range(3 * _POOL)}
    assert captures not in others
    assert len(others) == _POOL - 1


class Device:
    """Stands for PyTorch's part for GPUs: notes the streams of captures, and how many were under way at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[Stream] = []
        self.most = 0
        self._capturing = 0
        self._current = threading.local()
        fake: dict[str, Any] = {"Event": MagicMock, "CUDAGraph": MagicMock, "current_stream": self.current_stream}
        for name, value in (fake | {"stream": self.stream, "graph": self.graph}).items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(cuda_recording.torch, "empty", MagicMock())

    def current_stream(self, _device: torch.device) -> Stream:
        return getattr(self._current, "stream", DEFAULT)

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self._current.stream = stream
        yield
        del self._current.stream

    @contextmanager
    def graph(self, _graph: object, *, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.streams.append(stream)
        self._capturing += 1
        self.most = max(self.most, self._capturing)
        yield
        self._capturing -= 1


def test_what_is_captured_waits_for_what_was_started_before(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch)
    CudaRecording(lambda: torch.zeros(1), CUDA)
    with capturing(CUDA) as captures:
        assert captures.waited_for == [DEFAULT]


def test_threads_capture_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    device, found = Device(monkeypatch), torch.zeros(1)
    is_over = threading.Event()

    def work() -> torch.Tensor:
        is_over.wait(0.02)
        return found

    with ThreadPoolExecutor(4) as pool:
        recordings = list(pool.map(lambda _: CudaRecording(work, CUDA), range(4)))
    assert device.most == 1
    with capturing(CUDA) as captures:
        assert device.streams == [captures] * 4
    assert captures not in [recording._stream for recording in recordings]
