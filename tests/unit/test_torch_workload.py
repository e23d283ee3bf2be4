"""How the real workload reports failures of the algorithm."""

from __future__ import annotations

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload

from clipstyler import acceleration_choice
from clipstyler.footprint import BANDED_PIXELS
from clipstyler.imaging import Picture
from clipstyler.interruption import never


def workload(monkeypatch, trouble) -> TorchWorkload:
    def optimize(*_: object, **__: object):
        trouble()
        yield

    monkeypatch.setattr("clipstyler_server.workers.optimizer.torch_workload.optimization.optimize", optimize)
    made = TorchWorkload.__new__(TorchWorkload)
    made._encoders = MagicMock()
    made._directions = MagicMock()
    made._photos = MagicMock()
    made._retains_memory = False
    return made


def out_of_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("trouble", [out_of_device_memory, lambda: torch.empty(10**15)])
def test_memory_that_is_not_there_is_a_memory_error_on_every_device(monkeypatch, trouble):
    with pytest.raises(MemoryError, match="ran out of memory"):
        list(workload(monkeypatch, trouble).stylize(MagicMock(), MagicMock(), [], never))


def test_other_errors_stay_what_they_are(monkeypatch):
    def trouble() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(workload(monkeypatch, trouble).stylize(MagicMock(), MagicMock(), [], never))


@pytest.mark.parametrize(
    ("retains", "pixels", "expected"),
    [
        (True, BANDED_PIXELS, ["retain_memory"]),
        (True, BANDED_PIXELS + 1, ["retain_small_blocks"]),
        (False, BANDED_PIXELS + 1, []),
    ],
)
def test_the_allocator_is_set_for_the_size_of_each_job(monkeypatch, retains, pixels, expected):
    called: list[str] = []
    for name in ("retain_memory", "retain_small_blocks"):
        monkeypatch.setattr(acceleration_choice.allocator, name, lambda name=name: called.append(name))
    made = workload(monkeypatch, lambda: None)
    made._retains_memory = retains
    task = MagicMock(picture=Picture(np.zeros((1, pixels, 3), np.uint8)))
    list(made.stylize(task, MagicMock(), [], never))
    assert called == expected
