"""What the queue needs, as a hint for the autoscaler of a Ray cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from clipstyler_server.observability import logs
from clipstyler_server.workers.cluster.connection import ClusterConnection

_LOOK_S = 1.0
_LEAST = 1  # device that is kept while nothing is to be done


async def request_devices(
    connection: ClusterConnection, bundles: Sequence[Mapping[str, float]], job_count: Callable[[], int]
) -> None:
    """Ask for a device per job, until cancelled: at least one, and at most all.

    Parameters
    ----------
    connection
        To the cluster.
    bundles
        What each device needs.
    job_count
        Returns the number of jobs that run or wait.
    """
    requested = 0
    while True:
        wanted = max(_LEAST, min(len(bundles), job_count()))
        if connection.is_connected and wanted != requested and await _is_requested(connection, bundles[:wanted]):
            requested = wanted
            logs.get_logger().info("devices_requested", count=wanted)
        await asyncio.sleep(_LOOK_S)


async def _is_requested(connection: ClusterConnection, bundles: Sequence[Mapping[str, float]]) -> bool:
    """Ask for devices; False if the cluster does not hear that now. It is a hint: the server works without it."""
    try:
        await asyncio.to_thread(connection.request, bundles)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises
        logs.get_logger().warning("devices_not_requested", problem=str(error)[:500])
        return False
    return True
