"""The connection of a front to a Ray cluster, and the places of its actors there."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from clipstyler import __version__
from clipstyler_server.workers.cluster.actor import OptimizerActor
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, WorkloadFactory

_LOOK_S = 0.5  # between two looks whether the cluster has room
_CALLS = 8  # of an actor at the same time: one waits for messages


class ClusterConnection:
    """Connects once, and creates actors one after the other, so that at most one of them waits for its place.

    Parameters
    ----------
    address
        Of the cluster: HOST:PORT of its head node, or "auto" for the one that this machine belongs to.

    Raises
    ------
    StartupError
        Ray is not installed.
    """

    def __init__(self, address: str) -> None:
        if importlib.util.find_spec("ray") is None:
            raise StartupError('the engine ray needs Ray: pip install "clipstyler[ray]"')
        self._address = address
        self._lock = asyncio.Lock()
        self._is_connected = False

    @asynccontextmanager
    async def place(self, resources: Mapping[str, float]) -> AsyncIterator[None]:
        """Wait until the cluster has room; the next actor waits until the block has ended.

        Raises
        ------
        OSError, RuntimeError
            The cluster cannot be reached.
        """
        async with self._lock:
            # On other threads than the main one Ray leaves signals alone.
            await asyncio.to_thread(self._connect)
            while not await asyncio.to_thread(_has_room, resources):
                await asyncio.sleep(_LOOK_S)
            yield

    def create(
        self,
        resources: Mapping[str, float],
        options: OptimizerOptions,
        make_workload: WorkloadFactory,
        lease_s: float,
    ) -> Any:
        """Create an actor; returns its handle."""
        import ray

        actor_class: Any = ray.remote(_OnNode)
        return actor_class.options(
            num_cpus=resources.get("CPU", 0),
            num_gpus=resources.get("GPU", 0),
            max_restarts=0,  # it is restarted by its supervisor, as a process is
            max_task_retries=0,
            max_concurrency=_CALLS,
            scheduling_strategy="SPREAD",
        ).remote(options, make_workload, lease_s, __version__)

    @property
    def is_connected(self) -> bool:
        """Whether the cluster was reached."""
        return self._is_connected

    def request(self, bundles: Sequence[Mapping[str, float]]) -> None:
        """Have the autoscaler make room for all of these at the same time, if there is one; blocks for a moment."""
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=[dict(bundle) for bundle in bundles])

    def is_alive(self, node_id: str) -> bool:
        """Return whether a node is there; blocks for a moment."""
        import ray

        return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())

    def _connect(self) -> None:
        import ray

        if not ray.is_initialized():
            ray.init(address=self._address, namespace="clipstyler", log_to_driver=False, configure_logging=False)
        self._is_connected = True


class _OnNode(OptimizerActor):
    """An optimizer that knows where Ray has put it."""

    def __init__(self, options: OptimizerOptions, make_workload: WorkloadFactory, lease_s: float, version: str) -> None:
        import ray

        node_id = ray.get_runtime_context().get_node_id()
        super().__init__(options, make_workload, lease_s, version, node_id)


def _has_room(resources: Mapping[str, float]) -> bool:
    import ray

    try:
        free = ray.available_resources()
    except ray.exceptions.RayError as error:
        raise OSError(f"the cluster does not answer: {error}") from error
    return all(free.get(name, 0.0) >= amount for name, amount in resources.items())
