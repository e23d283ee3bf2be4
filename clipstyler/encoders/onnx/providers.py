"""Execution providers: which are asked for, with which options, and which one a session really uses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from clipstyler.config import ConfigError

DEFAULT_ORDER = ("tensorrt", "cuda", "cpu")
_NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_BYTES_PER_GIB = 2**30


class ProviderError(RuntimeError):
    """A provider that was asked for by name and does not become active; the message tells why."""


@dataclass(frozen=True)
class Batches:
    """Batch sizes that a TensorRT engine is built for: the smallest, the one it is tuned to, the largest."""

    smallest: int = 1
    typical: int = 16
    largest: int = 128


@dataclass(frozen=True)
class SessionOptions:
    """How sessions are made.

    Attributes
    ----------
    providers
        "tensorrt", "cuda", "cpu" in the order of preference.
    required
        Whether the first of them must become active; otherwise the first that does is used.
    threads
        Of the CPU provider.
    device
        Number of the GPU.
    cache
        Folder for TensorRT's engines and timings; None keeps none.
    half
        Whether TensorRT may compute in half precision.
    batches
        Sizes that TensorRT is built for.
    """

    providers: tuple[str, ...] = DEFAULT_ORDER
    required: bool = False
    threads: int = 1
    device: int = 0
    cache: Path | None = None
    half: bool = False
    batches: Batches = Batches()

    def __post_init__(self) -> None:
        for name in self.providers:
            if name not in _NAMES:
                raise ConfigError("providers", f"{name!r} is unknown: use {', '.join(_NAMES)}")
        if not self.providers or len(set(self.providers)) != len(self.providers):
            raise ConfigError("providers", "must name each of tensorrt, cuda, cpu at most once, and at least one")


def provider_options(
    name: str, options: SessionOptions, digest: str, inputs: dict[str, list[int | str]], gpu: str = ""
) -> dict[str, Any]:
    """Options of one provider for one graph, as ONNX Runtime takes them.

    Parameters
    ----------
    name
        "tensorrt", "cuda" or "cpu".
    options
        See `SessionOptions`.
    digest
        SHA-256 of the graph: an engine belongs to it.
    inputs
        Shapes by input, free dimensions by name.
    gpu
        Name of the GPU: an engine belongs to it too.
    """
    if name == "cuda":
        return {"device_id": options.device, "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}
    if name == "tensorrt":
        return _tensorrt(options, digest, inputs, gpu)
    return {}


def _tensorrt(options: SessionOptions, digest: str, inputs: dict[str, list[int | str]], gpu: str) -> dict[str, Any]:
    chosen: dict[str, Any] = {"device_id": options.device, "trt_fp16_enable": options.half}
    for profile, batch in (
        ("min", options.batches.smallest),
        ("opt", options.batches.typical),
        ("max", options.batches.largest),
    ):
        shapes = (f"{key}:{'x'.join(_sized(d, batch, profile) for d in shape)}" for key, shape in inputs.items())
        chosen[f"trt_profile_{profile}_shapes"] = ",".join(shapes)
    if options.cache is not None:
        # Engines fit one graph on one GPU under one TensorRT: any other pair finds another folder.
        key = "\n".join((digest, gpu, tensorrt_version(), ort.__version__, str(options.half)))
        folder = options.cache / hashlib.sha256(key.encode()).hexdigest()[:32]
        chosen |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
        }
    return chosen


# What free dimensions other than the batch are sized to: sides of images, tokens of a sentence.
_SIZES = {
    "height": {"min": 64, "opt": 512, "max": 1024},
    "width": {"min": 64, "opt": 512, "max": 1024},
    "length": {"min": 1, "opt": 32, "max": 192},
}


def _sized(dimension: int | str, batch: int, profile: str) -> str:
    if isinstance(dimension, int):
        return str(dimension)
    return str(batch if dimension == "batch" else _SIZES[dimension][profile])


def tensorrt_version() -> str:
    """Version of the installed TensorRT, or "none"."""
    try:
        import tensorrt  # noqa: PLC0415 - an extra
    except ImportError:
        return "none"
    return str(tensorrt.__version__)


def available(order: Sequence[str]) -> tuple[str, ...]:
    """Those of some providers that this build of ONNX Runtime has, in order; having is not yet becoming active."""
    built_in = set(ort.get_available_providers())
    return tuple(name for name in order if _NAMES[name] in built_in)


def open_session(
    path: Path, options: SessionOptions, digest: str, inputs: dict[str, list[int | str]], precision: str
) -> tuple[ort.InferenceSession, str]:
    """Open a graph with the first provider that becomes active.

    Returns
    -------
    The session, and the name of the provider that the session itself says it uses.

    Raises
    ------
    ProviderError
        None of the providers, or not the required one, becomes active.
    """
    tried: list[str] = []
    for name in options.providers[:1] if options.required else options.providers:
        if name not in available(options.providers):
            tried.append(f"{name}: this onnxruntime {ort.__version__} was built without it")
            continue
        try:
            session = _session(path, name, options, digest, inputs, precision)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds when libraries or devices are missing
            tried.append(f"{name}: {error}")
            continue
        active = session.get_providers()[0]
        if active == _NAMES[name]:
            return session, name
        tried.append(f"{name}: ONNX Runtime fell back to {active}; its log tells which library is missing")
    raise ProviderError(f"{path.name}: no provider becomes active ({'; '.join(tried)})")


def _session(
    path: Path, name: str, options: SessionOptions, digest: str, inputs: dict[str, list[int | str]], precision: str
) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if name == "cpu" and precision == "fp16":
        # The last level of optimisation crashes on half-precision text towers (seen with onnxruntime 1.32).
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    chosen = provider_options(name, options, digest, inputs, _gpu_name(options.device) if name == "tensorrt" else "")
    providers: list[Any] = [(_NAMES[name], chosen)]
    if name == "tensorrt":
        # Nodes that TensorRT does not take run on CUDA.
        providers.append((_NAMES["cuda"], provider_options("cuda", options, digest, inputs)))
    return ort.InferenceSession(str(path), settings, providers=providers)


def _gpu_name(device: int) -> str:
    import torch  # noqa: PLC0415 - a GPU's name is asked for only where there is one

    return torch.cuda.get_device_name(device)
