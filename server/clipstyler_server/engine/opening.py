"""Opens the evaluator's encoders: the cached export if it agrees with PyTorch, else PyTorch loudly, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from clipstyler.encoders.inference import InferenceEncoders
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.manifest import BrokenExportError
from clipstyler.encoders.onnx.prepare import Preparation, PreparationError, prepare
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.onnx.sessions import ProviderError
from clipstyler_server import logs
from clipstyler_server.engine.evaluation import EvaluatorOptions
from clipstyler_server.engine.workload import UnfitError


class OpenEncoders(NamedTuple):
    """Encoders at hand, and why what was preferred to them is not used."""

    encoders: InferenceEncoders
    skipped: tuple[str, ...]


def open_encoders(name: str, options: EvaluatorOptions) -> OpenEncoders:
    """Open encoders by name, behind the parity gate.

    Raises
    ------
    UnfitError
        The provider that was asked for does not become active; or the gate is shut, and the operator wants no PyTorch.
    """
    try:
        exports = options.cache / "exports"
        task = Preparation(name, str(exports), options.providers, options.threads, options.models, options.offline)
        prepared = prepare(task, options.start_timeout_s)
        if prepared.provider_problem:
            raise UnfitError(prepared.provider_problem)
        if prepared.replaced:
            logs.get_logger().warning("export_replaced", encoders=name, problem=prepared.replaced)
        problem = prepared.problem
        if not problem:
            session = SessionOptions(options.providers, threads=options.threads, cache=exports)
            encoders = OnnxEncoders(Path(prepared.directory), session)
            logs.get_logger().info(
                "encoders_open",
                encoders=name,
                backend=encoders.backend,
                precision=encoders.precision,
                parity=prepared.parity,
                skipped=encoders.skipped,
            )
            return OpenEncoders(encoders, encoders.skipped)
    except ProviderError as error:
        raise UnfitError(str(error)) from error
    except (PreparationError, BrokenExportError) as error:
        problem = str(error)
    if options.on_mismatch == "refuse":
        raise UnfitError(f"{problem}; CLIPSTYLER_ON_MISMATCH=pytorch would evaluate with PyTorch instead")
    logs.get_logger().error("evaluating_with_pytorch", encoders=name, problem=problem)
    return OpenEncoders(_with_torch(name, options), (problem,))


def _with_torch(name: str, options: EvaluatorOptions) -> InferenceEncoders:
    import torch  # noqa: PLC0415 - only where there is no other way

    from clipstyler.config import ConfigError  # noqa: PLC0415
    from clipstyler.encoders import registry  # noqa: PLC0415
    from clipstyler.encoders.base import EncoderUnavailableError  # noqa: PLC0415
    from clipstyler.encoders.torch_encoders import TorchEncoders  # noqa: PLC0415
    from clipstyler.encoders.weights.store import Store, default_directory  # noqa: PLC0415

    torch.set_num_threads(options.threads)
    try:
        store = Store(Path(options.models) if options.models else default_directory(), options.offline)
        return TorchEncoders(registry.load(name, store=store))
    except (ConfigError, EncoderUnavailableError, OSError) as error:
        raise UnfitError(str(error)) from error
