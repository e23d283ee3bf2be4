"""The workload of production, loaded without importing PyTorch here: the front process passes this function on."""

from __future__ import annotations

from clipstyler_server.workers.optimizer.workload import OptimizerOptions, Workload


def torch_workload(options: OptimizerOptions) -> Workload:
    """Load the algorithm; called in the optimizer process, which imports PyTorch."""
    from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload

    return TorchWorkload(options)
