"""How the real workload reports failures of the algorithm."""

from __future__ import annotations

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload

from clipstyler import acceleration_choice
from clipstyler.embedding import Embedding
from clipstyler.footprint import RECOMPUTED_PIXELS
from clipstyler.imaging import Picture
from clipstyler.interruption import never


def workload(monkeypatch, trouble) -> TorchWorkload:
    def optimize(*_: object, **__: object):
        trouble()
        yield

    monkeypatch.setattr("clipstyler_server.workers.optimizer.torch_workload.optimization.optimize_in_parts", optimize)
    made = TorchWorkload.__new__(TorchWorkload)
    made._encoders = MagicMock()
    made._reuse = MagicMock()
    made._captured = MagicMock()
    made._retains_memory = False
    return made


def out_of_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("trouble", [out_of_device_memory, lambda: torch.empty(10**15)])
def test_memory_that_is_not_there_is_a_memory_error_on_every_device(monkeypatch, trouble):
    made = workload(monkeypatch, trouble)
    with pytest.raises(MemoryError, match="ran out of memory"):
        list(made.stylize(MagicMock(), MagicMock(), [], never))
    made._captured.clear.assert_called_once_with()


def test_other_errors_stay_what_they_are(monkeypatch):
    def trouble() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(workload(monkeypatch, trouble).stylize(MagicMock(), MagicMock(), [], never))


@pytest.mark.parametrize(
    ("retains", "pixels", "expected"),
    [
        (True, RECOMPUTED_PIXELS, ["retain_memory"]),
        (True, RECOMPUTED_PIXELS + 1, ["retain_small_blocks"]),
        (False, RECOMPUTED_PIXELS + 1, []),
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


def waiting(clip: object, views: int = 2) -> Embedding:
    return Embedding(clip, torch.zeros(views, 3, 4, 4), lambda rows: rows.sum())


@pytest.mark.parametrize("trouble", [out_of_device_memory, lambda: torch.empty(10**15)])
def test_a_batch_of_several_tasks_that_does_not_fit_is_a_memory_error(monkeypatch, trouble):
    made = workload(monkeypatch, lambda: None)
    made._is_strict = False
    clip = MagicMock(encode_image=lambda _: trouble())
    with pytest.raises(MemoryError, match="ran out of memory"):
        made.share([waiting(clip), waiting(clip)])


def test_each_encoder_sees_its_own_tasks_and_none_when_accelerations_are_off(monkeypatch):
    made, seen = workload(monkeypatch, lambda: None), []

    def encoder(name: str) -> MagicMock:
        def encode(views: torch.Tensor) -> torch.Tensor:
            seen.append((name, len(views)))
            return views.flatten(1)[:, :8] + 1

        return MagicMock(encode_image=encode)

    one, other, alone = encoder("one"), encoder("other"), encoder("alone")
    steps = [waiting(clip, count) for clip, count in ((one, 2), (other, 3), (one, 4), (other, 5), (alone, 6))]
    made._is_strict = True
    made.share(steps)
    assert seen == []
    made._is_strict = False
    made.share(steps)
    assert seen == [("one", 6), ("other", 8)]
    assert [step.gradient is None for step in steps] == [False] * 4 + [True]
    assert [step.gradient.shape[0] for step in steps[:4]] == [2, 3, 4, 5]
