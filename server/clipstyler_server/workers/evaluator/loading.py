"""Loads the evaluator's encoders: the cached export if it agrees with PyTorch; else PyTorch, or none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from clipstyler.encoders.inference import InferenceEncoders
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.manifest import BrokenExportError
from clipstyler.encoders.onnx.prepare import Preparation, PreparationError, prepare
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.onnx.sessions import ProviderError
from clipstyler_server.observability import logs
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.evaluator.messages import EvaluatorOptions
from clipstyler_server.workers.startup import is_transient


class LoadedEncoders(NamedTuple):
    """Loaded encoders, and why preferred backends are not used."""

    encoders: InferenceEncoders
    skipped: tuple[str, ...]


def load_encoders(name: str, options: EvaluatorOptions) -> LoadedEncoders:
    """Load an encoder set by name, behind the parity gate.

    Raises
    ------
    StartupError
        The configured provider does not become active; parity fails and falling back to PyTorch is not allowed; or the
        system lacks something now, for which PyTorch is no answer.
    """
    try:
        exports = options.cache / "exports"
        task = Preparation(name, str(exports), options.providers, options.threads, options.models, options.offline)
        prepared = prepare(task, options.start_timeout_s)
        if prepared.provider_problem:
            raise StartupError(prepared.provider_problem)
        if prepared.replaced:
            logs.get_logger().warning("export_replaced", encoder_set=name, problem=prepared.replaced)
        problem = prepared.problem
        if not problem:
            session = SessionOptions(options.providers, threads=options.threads, cache=exports)
            encoders = OnnxEncoders(Path(prepared.directory), session)
            logs.get_logger().info(
                "encoders_loaded",
                encoder_set=name,
                backend=encoders.backend,
                precision=encoders.precision,
                parity=prepared.parity,
                skipped=encoders.skipped,
            )
            return LoadedEncoders(encoders, encoders.skipped)
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
