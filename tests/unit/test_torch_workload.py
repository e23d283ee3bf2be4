"""How the real workload reports failures of the algorithm."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
import torch
from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload


def workload(monkeypatch, trouble) -> TorchWorkload:
    def optimize(*_: object, **__: object):
        trouble()
        yield

    monkeypatch.setattr("clipstyler_server.workers.optimizer.torch_workload.stylizer.optimize", optimize)
    made = TorchWorkload.__new__(TorchWorkload)
    made._encoders = MagicMock()
    made._directions = MagicMock()
    made._photos = MagicMock()
    return made


def out_of_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("trouble", [out_of_device_memory, lambda: torch.empty(10**15)])
def test_memory_that_is_not_there_is_a_memory_error_on_every_device(monkeypatch, trouble):
    with pytest.raises(MemoryError, match="ran out of memory"):
        list(workload(monkeypatch, trouble).stylize(MagicMock(), MagicMock()))


def test_other_errors_stay_what_they_are(monkeypatch):
    def trouble() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(workload(monkeypatch, trouble).stylize(MagicMock(), MagicMock()))
