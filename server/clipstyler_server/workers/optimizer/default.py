"""The optimizer of production: its process, and its workload, loaded without importing PyTorch in the front process."""

from __future__ import annotations

from functools import partial

from clipstyler_server.workers.child import MakeChild
from clipstyler_server.workers.optimizer import process
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, Workload, WorkloadFactory
from clipstyler_server.workers.process import ChildProcess


def local_optimizer(options: OptimizerOptions, make_workload: WorkloadFactory) -> MakeChild:
    """Return what makes an optimizer process on this machine."""
    return partial(ChildProcess, "clipstyler-optimizer", process.main, (options, make_workload))


def torch_workload(options: OptimizerOptions) -> Workload:
    """Load the algorithm; called in the optimizer process, which imports PyTorch."""
    from clipstyler_server.workers.optimizer.torch_workload import TorchWorkload

    return TorchWorkload(options)
