"""What the system lacks for a moment is no reason to give up a worker, or to blame an image."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clipstyler_server.spool import Spool
from clipstyler_server.workers.decoder import process as decoder
from clipstyler_server.workers.decoder.messages import Inspect, Unavailable
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.evaluator import loading
from clipstyler_server.workers.evaluator.messages import EvaluatorOptions
from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload
from clipstyler_server.workers.optimizer.workload import OptimizerOptions
from clipstyler_server.workers.startup import cannot_start, is_transient

from clipstyler.encoders.base import EncoderUnavailableError
from clipstyler.encoders.onnx.prepare import PreparationError
from clipstyler.encoders.weights.download import DownloadError
from clipstyler.imaging import Limits

NO_DESCRIPTOR = OSError(errno.EMFILE, "Too many open files")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")
OF_ANOTHER_PROGRAM = PreparationError("preparing 'pocket' failed: OSError: [Errno 12] Cannot allocate memory")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


def raising(error: Exception):
    def fail(*_: object, **__: object):
        raise error

    return fail


@pytest.mark.parametrize(
    "problem",
    [
        NO_DESCRIPTOR,
        OSError(errno.ENFILE, ""),
        OSError(errno.ENOMEM, ""),
        BlockingIOError(errno.EAGAIN, ""),
        NO_SPACE,
        caused(StartupError("x"), caused(EncoderUnavailableError("x"), NO_DESCRIPTOR)),
        OF_ANOTHER_PROGRAM,
        EncoderUnavailableError("cannot be loaded: Too many open files (os error 24)"),
    ],
    ids=repr,
)
def test_a_lack_that_may_end_is_worth_another_try(problem):
    assert is_transient(problem)


@pytest.mark.parametrize(
    "problem",
    [
        MISSING,
        PermissionError(errno.EACCES, ""),
        DownloadError("the server answers 404"),
        caused(StartupError("x"), EncoderUnavailableError("digest mismatch: 24 is not 12")),
        PreparationError("preparing 'x' failed: FileNotFoundError: [Errno 2] No such file"),
    ],
    ids=repr,
)
def test_what_stays_wrong_is_not(problem):
    assert not is_transient(problem)


@pytest.mark.parametrize(("problem", "transient"), [(NO_DESCRIPTOR, True), (NO_SPACE, True), (MISSING, False)])
def test_an_optimizer_that_cannot_load_says_whether_another_try_helps(monkeypatch, tmp_path, problem, transient):
    monkeypatch.setattr("clipstyler_server.workers.optimizer.torch_workload.registry.load", raising(problem))
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda count: None)
    options = OptimizerOptions(
        ("pocket",), "cpu", torch.get_num_threads(), 0, tmp_path, Spool(tmp_path), 0, "info", "json"
    )
    with pytest.raises(StartupError) as caught:
        TorchWorkload(options)
    assert (cannot_start(caught.value).is_transient, caught.value.args) == (transient, (str(problem),))


@pytest.mark.parametrize("problem", [NO_DESCRIPTOR, OF_ANOTHER_PROGRAM])
def test_an_evaluator_that_lacks_something_tries_again_instead_of_serving_with_pytorch(monkeypatch, tmp_path, problem):
    monkeypatch.setattr(loading, "prepare", raising(problem))
    monkeypatch.setattr(loading, "_with_torch", raising(AssertionError("fell back to PyTorch")))
    with pytest.raises((StartupError, OSError)) as caught:
        loading.load_encoders("pocket", evaluator_options(tmp_path))
    assert cannot_start(caught.value).is_transient


def evaluator_options(cache: Path, **changes: object) -> EvaluatorOptions:
    plain = EvaluatorOptions(("pocket",), (), "pytorch", 1, 0, cache, 0, 0.0, 120.0, "info", "json")
    return replace(plain, **changes)


def test_an_export_is_proven_once_in_the_life_of_a_server_unless_it_breaks(monkeypatch, tmp_path):
    proven = loading.load_encoders("pocket", evaluator_options(tmp_path)).export
    again = evaluator_options(tmp_path, proven={"pocket": proven})
    with monkeypatch.context() as patch:
        patch.setattr(loading, "prepare", raising(AssertionError("proven again")))
        assert loading.load_encoders("pocket", again).export == proven
    graph = next(Path(proven).glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    assert loading.load_encoders("pocket", again).export == proven  # made and proven anew
    assert not graph.read_bytes().endswith(b"!")


def test_a_decoder_that_cannot_open_a_file_does_not_blame_the_image(monkeypatch, tmp_path):
    request = Inspect(7, tmp_path / "photo", Limits())
    monkeypatch.setattr(Path, "read_bytes", raising(NO_DESCRIPTOR))
    assert decoder._answer(request) == Unavailable(7, "Too many open files")
    monkeypatch.setattr(Path, "read_bytes", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        decoder._answer(request)
