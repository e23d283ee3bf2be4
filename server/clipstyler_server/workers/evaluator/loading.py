"""Loads the evaluator's encoders: the cached export if it agrees with PyTorch; else PyTorch, or none."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from clipstyler.encoders.inference import InferenceEncoders
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.manifest import BrokenExportError
from clipstyler.encoders.onnx.prepare import Preparation, PreparationError, Prepared, prepare
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.onnx.sessions import ProviderError
from clipstyler_server.observability import logs
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.evaluator.messages import EvaluatorOptions
from clipstyler_server.workers.startup import is_transient


class LoadedEncoders(NamedTuple):
    """Loaded encoders.

    Attributes
    ----------
    skipped
        Why preferred backends are not used.
    export
        Directory of the export that they are; "" for PyTorch.
    """

    encoders: InferenceEncoders
    skipped: tuple[str, ...]
    export: str = ""


def load_encoders(name: str, options: EvaluatorOptions) -> LoadedEncoders:
    """Load an encoder set by name, behind the parity gate.

    Raises
    ------
    StartupError
        The configured provider does not become active; parity fails and falling back to PyTorch is not allowed; or the
        system lacks something now, for which PyTorch is no answer.
    """
    try:
        if export := options.proven.get(name):
            with contextlib.suppress(BrokenExportError):  # the gate replaces it
                return _open(name, export, "proven before", options)
        prepared = _passed_the_gate(name, options)
        if not prepared.problem:
            return _open(name, prepared.directory, prepared.parity, options)
        problem = prepared.problem
    except ProviderError as error:
        raise StartupError(str(error)) from error
    except (PreparationError, BrokenExportError) as error:
        if is_transient(error):
            raise StartupError(str(error)) from error
        problem = str(error)
    if options.on_mismatch == "refuse":
        raise StartupError(f"{problem}; CLIPSTYLER_ON_MISMATCH=pytorch would evaluate with PyTorch instead")
    logs.get_logger().error("evaluating_with_pytorch", encoder_set=name, problem=problem)
    return LoadedEncoders(_with_torch(name, options), (problem,))


def _open(name: str, export: str, parity: str, options: EvaluatorOptions) -> LoadedEncoders:
    session = SessionOptions(options.providers, threads=options.threads, cache=_exports(options))
    encoders = OnnxEncoders(Path(export), session)
    logs.get_logger().info(
        "encoders_loaded",
        encoder_set=name,
        backend=encoders.backend,
        precision=encoders.precision,
        parity=parity,
        skipped=encoders.skipped,
    )
    return LoadedEncoders(encoders, encoders.skipped, export)


def _exports(options: EvaluatorOptions) -> Path:
    return options.cache / "exports"


def _passed_the_gate(name: str, options: EvaluatorOptions) -> Prepared:
    """Export if need be, and compare with PyTorch."""
    task = Preparation(
        name, str(_exports(options)), options.providers, options.threads, options.models, options.offline
    )
    prepared = prepare(task, options.start_timeout_s)
    if prepared.provider_problem:
        raise StartupError(prepared.provider_problem)
    if prepared.replaced:
        logs.get_logger().warning("export_replaced", encoder_set=name, problem=prepared.replaced)
    return prepared


def _with_torch(name: str, options: EvaluatorOptions) -> InferenceEncoders:
    import torch  # only where there is no other way

    from clipstyler.encoders import registry
    from clipstyler.encoders.base import EncoderUnavailableError
    from clipstyler.encoders.torch_encoders import TorchEncoders
    from clipstyler.encoders.weights.store import Store, default_directory
    from clipstyler.options import ConfigError

    torch.set_num_threads(options.threads)
    try:
        store = Store(Path(options.models) if options.models else default_directory(), options.offline)
        return TorchEncoders(registry.load(name, store=store))
    except (ConfigError, EncoderUnavailableError, OSError) as error:
        raise StartupError(str(error)) from error
