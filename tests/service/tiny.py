"""The real algorithm on encoders so small that a step takes milliseconds."""

from __future__ import annotations

from clipstyler_server.engine.torch_workload import TorchWorkload
from clipstyler_server.engine.workload import OptimiserOptions

from tests.tiny_encoders import tiny_encoders


def make(options: OptimiserOptions) -> TorchWorkload:
    return TorchWorkload(options, load=lambda _name, _device: tiny_encoders())
