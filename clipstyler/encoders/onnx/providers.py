"""Execution providers: which are requested, and the options of each for a graph."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort

from clipstyler.config import ConfigError

DEFAULT_ORDER = ("tensorrt", "cuda", "cpu")
NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

Shapes = Mapping[str, list[int | str]]


@dataclass(frozen=True)
class Span:
    """Sizes of a free dimension that a TensorRT engine is built for: minimum, optimum, maximum."""

    least: int
    typical: int
    most: int


BATCH = Span(1, 16, 128)
# Other free dimensions, by their names in the export: sides of an image, tokens of a sentence.
_SPANS = {"height": Span(64, 512, 1024), "width": Span(64, 512, 1024), "length": Span(1, 32, 192)}


@dataclass(frozen=True)
class SessionOptions:
    """Options of sessions.

    Attributes
    ----------
    providers
        "tensorrt", "cuda", "cpu" in the order of preference; the first must become active. Empty: the first of
        the default order that does.
    threads
        Of the CPU provider.
    device
        Number of the GPU.
    cache
        Folder for TensorRT's engines and timings; None keeps none.
    half
        Whether TensorRT may compute in half precision.
    batch
        Batch sizes that TensorRT is built for.

    Raises
    ------
    ConfigError
        A provider is unknown or named twice, or `threads` is less than 1.
    """

    providers: tuple[str, ...] = ()
    threads: int = 1
    device: int = 0
    cache: Path | None = None
    half: bool = False
    batch: Span = BATCH

    def __post_init__(self) -> None:
        for name in self.providers:
            if name not in NAMES:
                raise ConfigError("providers", f"{name!r} is unknown: use {', '.join(NAMES)}")
        if len(set(self.providers)) != len(self.providers):
            raise ConfigError("providers", f"names one twice: {', '.join(self.providers)}")
        if self.threads < 1:
            raise ConfigError("threads", f"must be at least 1, got {self.threads}")


@dataclass(frozen=True)
class Machine:
    """What a TensorRT engine depends on besides the graph."""

    gpu: str
    tensorrt: str
    onnxruntime: str

    @classmethod
    def here(cls, gpu: str) -> Machine:
        """Return the installed versions and the name of a GPU."""
        return cls(gpu, tensorrt_version(), ort.__version__)


def tensorrt_version() -> str:
    """Version of the TensorRT package, or "none"."""
    try:
        return version("tensorrt-cu13")
    except PackageNotFoundError:
        return "none"


def cuda_options(options: SessionOptions) -> dict[str, Any]:
    """Options of the CUDA provider: full precision, and no minutes-long search for the fastest convolution."""
    return {"device_id": options.device, "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}


def tensorrt_options(options: SessionOptions, digest: str, inputs: Shapes, machine: Machine) -> dict[str, Any]:
    """Options of the TensorRT provider for one graph.

    Parameters
    ----------
    options
        See `SessionOptions`.
    digest
        SHA-256 of the graph.
    inputs
        Shapes by input, free dimensions by name.
    machine
        Engines fit one graph, GPU, TensorRT and ONNX Runtime: each combination has its own folder.
    """
    chosen: dict[str, Any] = {"device_id": options.device, "trt_fp16_enable": options.half}
    for profile, size in (("min", "least"), ("opt", "typical"), ("max", "most")):
        shapes = (f"{name}:{'x'.join(_sized(d, options.batch, size) for d in shape)}" for name, shape in inputs.items())
        chosen[f"trt_profile_{profile}_shapes"] = ",".join(shapes)
    if options.cache is not None:
        folder = str(engine_folder(options.cache, digest, machine, options.half))
        chosen |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": folder,
        }
    return chosen


def engine_folder(cache: Path, digest: str, machine: Machine, half: bool) -> Path:
    """Return the folder of a graph's engine."""
    key = "\n".join((digest, machine.gpu, machine.tensorrt, machine.onnxruntime, str(half)))
    return cache / "tensorrt" / hashlib.sha256(key.encode()).hexdigest()[:32]


def _sized(dimension: int | str, batch: Span, size: str) -> str:
    if isinstance(dimension, int):
        return str(dimension)
    span = batch if dimension == "batch" else _SPANS[dimension]
    return str(getattr(span, size))
