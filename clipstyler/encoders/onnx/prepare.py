"""Exports encoders into a cache and compares them with PyTorch, in a program of its own: callers need no PyTorch.

It reads a task as JSON on standard input and writes the outcome as JSON on standard output. Its argument is a pipe
of its caller, with which it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipstyler.encoders.onnx.manifest import BrokenExportError
from clipstyler.encoders.onnx.providers import SessionOptions

if TYPE_CHECKING:
    from clipstyler.encoders.base import EncoderSet


class PreparationError(RuntimeError):
    """The program failed; the message says how."""


@dataclass(frozen=True)
class Prepared:
    """The outcome for one encoder set.

    Attributes
    ----------
    directory
        Of the export; "" if there is none.
    parity
        What the gate found.
    problem
        Why the export must not be used; "" if it may.
    provider_problem
        Why the requested provider does not become active; "" if it does.
    replaced
        What was wrong with an older export that was replaced.
    """

    directory: str = ""
    parity: str = ""
    problem: str = ""
    provider_problem: str = ""
    replaced: str = ""


@dataclass(frozen=True)
class Preparation:
    """The task: see `SessionOptions`, and `clipstyler.encoders.weights` for `models` (a directory)."""

    name: str
    cache: str
    providers: tuple[str, ...] = ()
    threads: int = 1
    models: str = ""
    offline: bool = False


def prepare(task: Preparation, timeout_s: float) -> Prepared:
    """Run the program for one encoder set and wait for it.

    Raises
    ------
    PreparationError
        It failed or took too long.
    """
    text = json.dumps(asdict(task))
    reading, writing = os.pipe()  # closed when this process exits, however it does
    command = [sys.executable, "-m", __name__, str(reading)]
    try:
        ran = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, timeout=timeout_s, pass_fds=[reading]
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().rpartition("\n")[2]
        raise PreparationError(f"preparing {task.name!r} failed: {last or error}") from error
    except subprocess.TimeoutExpired as error:
        raise PreparationError(f"preparing {task.name!r} took more than {timeout_s:g} s") from error
    finally:
        os.close(reading)
        os.close(writing)
    return Prepared(**json.loads(ran.stdout.strip().rpartition("\n")[2]))


def main() -> None:
    """Run a task."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that no scratch files are left
    threading.Thread(target=_end_with_caller, args=(int(sys.argv[1]),), daemon=True).start()
    print(json.dumps(asdict(_prepare(Preparation(**json.load(sys.stdin))))))


def _end_with_caller(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)


def _prepare(task: Preparation) -> Prepared:
    import torch  # importing this module is light: the caller does
    from filelock import FileLock

    from clipstyler.encoders import registry
    from clipstyler.encoders.base import EncoderUnavailableError
    from clipstyler.encoders.onnx.encoders import OnnxEncoders
    from clipstyler.encoders.onnx.export import OPSET, delete_abandoned, export
    from clipstyler.encoders.onnx.parity import check_parity
    from clipstyler.encoders.onnx.sessions import ProviderError
    from clipstyler.encoders.torch_encoders import TorchEncoders
    from clipstyler.encoders.weights.store import Store, default_directory

    torch.set_num_threads(task.threads)
    cache = Path(task.cache)
    options = SessionOptions(tuple(task.providers), threads=task.threads, cache=cache)
    store = Store(Path(task.models) if task.models else default_directory(), task.offline)
    encoders = registry.load(task.name, store=store)
    named = f"{encoders.clip.digest[:16]}-{encoders.content.digest[:16]}-{_described(encoders)}-opset{OPSET}"
    directory = cache / named
    cache.mkdir(parents=True, exist_ok=True)
    replaced = ""
    with FileLock(cache / f"{named}.lock"):
        delete_abandoned(directory)
        try:
            if not directory.is_dir():
                export(encoders, directory)
            try:
                exported = OnnxEncoders(directory, options)
            except BrokenExportError as error:
                replaced = str(error)
                shutil.rmtree(directory)  # all in a cache is its own, whatever is left of it
                export(encoders, directory)
                exported = OnnxEncoders(directory, options)
        except ProviderError as error:
            return Prepared(provider_problem=str(error))
        except (BrokenExportError, EncoderUnavailableError) as error:
            return Prepared(problem=str(error))
    parity = check_parity(TorchEncoders(encoders), exported)
    problem = "" if parity.holds else f"the export in {directory} does not agree with PyTorch: {parity}"
    return Prepared(str(directory), str(parity), problem, replaced=replaced)


def _described(encoders: EncoderSet) -> str:
    """Return a digest of what makes an export besides the weights, which sets may share."""
    from clipstyler.encoders.base import identity

    words = repr((encoders.name, encoders.description, encoders.calibration, identity(encoders.clip)))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
