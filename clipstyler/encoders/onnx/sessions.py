"""ONNX Runtime sessions, opened with the first provider that the session reports as active."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort

from clipstyler.encoders.onnx import gpu
from clipstyler.encoders.onnx.manifest import BrokenExportError, Graph
from clipstyler.encoders.onnx.providers import (
    DEFAULT_ORDER,
    NAMES,
    Machine,
    SessionOptions,
    cuda_options,
    tensorrt_options,
)

_BY_NAME = {full: name for name, full in NAMES.items()}
_ERRORS_ONLY = 3


class ProviderError(RuntimeError):
    """The requested provider does not become active; the message explains why."""


class Opened(NamedTuple):
    """A session with its active providers, the one that computes first, and why others were skipped."""

    session: ort.InferenceSession
    providers: tuple[str, ...]
    skipped: tuple[str, ...]


def open_session(directory: Path, graph: Graph, options: SessionOptions, precision: str) -> Opened:
    """Open a graph of an export, whose digest has been checked.

    Raises
    ------
    ProviderError
        The first requested provider does not become active, or none does if none was requested.
    BrokenExportError
        ONNX Runtime cannot read the file.
    """
    skipped: list[str] = []
    for name in options.providers[:1] or DEFAULT_ORDER:
        try:
            session = _session(directory / graph.file, _chain(name, options, graph), options, precision)
        except _UnfitError as reason:
            skipped.append(f"{name}: {reason}")
            continue
        active = tuple(_BY_NAME.get(full, full) for full in session.get_providers())
        # Only the session knows: a build may include a provider whose libraries are missing.
        if active[0] == name:
            return Opened(session, active, tuple(skipped))
        skipped.append(f"{name}: ONNX Runtime took {active[0]} instead; is a library of {name} missing?")
    asked = ", ".join(options.providers) or "any"
    raise ProviderError(f"provider {asked} does not become active: {'; '.join(skipped)}")


class _UnfitError(Exception):
    """A provider cannot be used; the message explains why."""


def _chain(name: str, options: SessionOptions, graph: Graph) -> list[Any]:
    """Return the provider with its options, followed by those that take the nodes it does not support."""
    if NAMES[name] not in ort.get_available_providers():
        raise _UnfitError(f"this build of ONNX Runtime {ort.__version__} does not have it")
    if name == "cpu":
        return [NAMES["cpu"]]
    try:
        machine = Machine.here(gpu.name(options.device))
    except gpu.NoGpuError as error:
        raise _UnfitError(str(error)) from error
    _load_libraries()
    chain: list[Any] = [(NAMES["cuda"], cuda_options(options)), NAMES["cpu"]]
    if name == "tensorrt":
        chosen = tensorrt_options(options, graph.sha256, graph.inputs, machine)
        if options.cache is not None:
            Path(chosen["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
        chain.insert(0, (NAMES["tensorrt"], chosen))
    return chain


def _load_libraries() -> None:
    """Load CUDA and TensorRT from their Python packages if the loader would not find them."""
    ort.preload_dlls()
    with contextlib.suppress(ImportError):
        import tensorrt  # noqa: F401 - importing it loads its libraries


def _session(path: Path, chain: list[Any], options: SessionOptions, precision: str) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    # Spinning threads would take CPU time from the optimizer.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if chain == [NAMES["cpu"]] and precision == "fp16":
        # The last level of optimization crashes on half-precision text towers (seen with ONNX Runtime 1.32).
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    try:
        return ort.InferenceSession(str(path), settings, providers=chain, enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own exceptions and built-in ones
        if chain == [NAMES["cpu"]]:
            raise BrokenExportError(f"{path} cannot be read by ONNX Runtime {ort.__version__}: {error}") from error
        raise _UnfitError(str(error)) from error
