"""Metrics that are read from the running components when they are collected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from clipstyler.v1.names import word_of
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler_server.api.bounds import CallBounds
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.watchdog import resident_bytes
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.engine import WorkerState

_COUNT_S = 10.0
_PRIORITIES = {number: word_of(Stylization.Priority.DESCRIPTOR, number) for number in (1, 2, 3)}


class Gauges:
    """Gauges of jobs, calls and processes.

    Parameters
    ----------
    metrics
        Where they are registered.
    scheduler, backlog, storage, bounds, identity
        What they are read from.
    process_ids
        Returns the ids of the processes by name.
    """

    def __init__(
        self,
        metrics: Metrics,
        scheduler: Scheduler,
        backlog: JobQueue[Any],
        storage: Storage,
        bounds: CallBounds,
        identity: IdentityFiles,
        process_ids: Callable[[], Mapping[str, int | None]],
    ) -> None:
        self._scheduler = scheduler
        self._backlog = backlog
        self._storage = storage
        self._identity = identity
        self._stored: Mapping[str, int] = {}
        metrics.watch_each("queue_depth", "Jobs waiting, by priority.", "priority", self._queue_depth)
        metrics.watch_each("stored_jobs", "Jobs in the database, by state.", "state", lambda: self._stored)
        metrics.watch("watchers", "Calls following a job.", scheduler.watchers)
        metrics.watch("jobs_running", "Jobs running.", scheduler.running_count)
        metrics.watch_each("device_ready", "1 while an optimizer takes jobs.", "device", self._ready_devices)
        metrics.watch_each("device_busy", "1 while an optimizer runs a job.", "device", self._busy_devices)
        metrics.watch_all(
            "optimizer_provider",
            "1 for the device and backend of an optimizer.",
            ("device", "provider"),
            self._providers,
        )
        metrics.watch_each("open_calls", "Calls now, by method.", "method", bounds.open_calls)
        metrics.watch_each(
            "bytes_in_flight", "Bytes of requests, images and responses on their way.", "kind", bounds.in_flight
        )
        metrics.watch(
            "evaluations_in_flight",
            "Texts and images of EncoderService that the evaluator has.",
            lambda: bounds.evaluations.used,
        )
        metrics.watch_each(
            "certificate_expiry_timestamp_seconds", "When it expires.", "certificate", self._certificate_expiry
        )
        metrics.watch_each(
            "resident_bytes", "Resident memory, by process.", "process", lambda: resident_bytes(process_ids())
        )

    async def count_jobs(self) -> None:
        """Count the stored jobs now and then, until cancelled: a database with many of them takes a moment."""
        while True:
            self._stored = {state.value: count for state, count in (await self._storage.job_counts()).items()}
            await asyncio.sleep(_COUNT_S)

    def _certificate_expiry(self) -> dict[str, float]:
        served = self._identity.certificates
        return {"server": served.expires_at.timestamp()} if served else {}

    def _ready_devices(self) -> dict[str, int]:
        return {device.name: device.state is WorkerState.READY for device in self._scheduler.devices.statuses()}

    def _busy_devices(self) -> dict[str, int]:
        return {device.name: device.is_busy for device in self._scheduler.devices.statuses()}

    def _providers(self) -> dict[tuple[str, ...], int]:
        infos = [device.info for device in self._scheduler.devices.statuses()]
        return {(info.device, info.provider): 1 for info in infos if info}

    def _queue_depth(self) -> dict[str, int]:
        waiting = Counter(job.priority for job in self._backlog.order())
        return {name: waiting[number] for number, name in _PRIORITIES.items()}
