"""Where the optimizers of a server run: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from clipstyler_server.devices import Device
from clipstyler_server.settings import Settings
from clipstyler_server.worker_options import optimizer_options
from clipstyler_server.workers.child import MakeChild
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.worker import ClusterWorker
from clipstyler_server.workers.optimizer.default import local_optimizer
from clipstyler_server.workers.optimizer.workload import WorkloadFactory

Place = Callable[[Device], MakeChild]
"""Returns what makes the optimizer of a device."""


def on_this_machine(settings: Settings, make_workload: WorkloadFactory) -> Place:
    """Place optimizers in processes of this machine."""
    return lambda device: local_optimizer(optimizer_options(settings, device), make_workload)


def in_cluster(settings: Settings, make_workload: WorkloadFactory, connection: ClusterConnection) -> Place:
    """Place optimizers in actors of a cluster."""

    def place(device: Device) -> MakeChild:
        options = optimizer_options(settings, device)
        if device.is_gpu:
            options = replace(options, device="cuda:0")  # the only one that Ray lets the actor see
        resources = resources_of(settings, device)
        return partial(ClusterWorker, connection, resources, options, make_workload, settings.ray_lease_s)

    return place


def resources_of(settings: Settings, device: Device) -> dict[str, float]:
    """Return what the actor of a device asks for, as Ray names it."""
    return {"CPU": float(settings.optimizer_threads)} | ({"GPU": 1.0} if device.is_gpu else {})
