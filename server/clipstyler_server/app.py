"""Wiring: which component gets which, and the order in which they start and stop. Nothing is decided here.

The front process never imports PyTorch; the optimizer process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Coroutine
from typing import Any

from clipstyler_server.api.health_service import HealthService
from clipstyler_server.api.server import (
    ENCODER_SERVICE,
    SERVER_SERVICE,
    STYLE_SERVICE,
    STYLIZATION_SERVICE,
    ApiServer,
)
from clipstyler_server.errors import ServiceError
from clipstyler_server.gauges import Gauges
from clipstyler_server.job_parts import JobParts, OwnJobs, SharedJobs
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.directions import DirectionLookup
from clipstyler_server.jobs.drafts import Drafts
from clipstyler_server.jobs.full_size import FullSizeEngine
from clipstyler_server.jobs.style_lane import StyleLane
from clipstyler_server.jobs.style_matching import StyleMatcher
from clipstyler_server.jobs.style_store import StyleStore
from clipstyler_server.jobs.upload_store import UploadStore
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.health import SERVER, Health
from clipstyler_server.observability.http_pages import HttpPages
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import Tracer, TracesUnavailableError, tracer_for
from clipstyler_server.observability.watchdog import Watchdog
from clipstyler_server.placement import Place, in_cluster, on_this_machine, resources_of
from clipstyler_server.settings import Settings
from clipstyler_server.spool import Spool
from clipstyler_server.start_checks import ServerStartError, check_start
from clipstyler_server.storage.retention import Retention
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage, StorageUnusableError
from clipstyler_server.worker_options import (
    decoder_arguments,
    evaluator_options,
    supervision_timeouts,
)
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.demand import request_devices
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.engine import Engine, StartupError
from clipstyler_server.workers.evaluator.client import EvaluatorClient
from clipstyler_server.workers.measured_engine import MeasuredEngine
from clipstyler_server.workers.optimizer.client import OptimizerClient
from clipstyler_server.workers.optimizer.default import torch_workload
from clipstyler_server.workers.optimizer.pool import OptimizerPool
from clipstyler_server.workers.optimizer.workload import WorkloadFactory

_STORAGE_CHECK_S = 1.0
_IDENTITY_CHECK_S = 1.0


class App:
    """The whole server on the running event loop.

    Parameters
    ----------
    settings
        The operator's configuration.
    make_workload
        What the optimizer process runs.
    tracer
        Makes traces; by default as the settings say.

    Attributes
    ----------
    grpc_address, http_address
        Where it listens, once started.
    end
        Set when it is to drain and stop.
    """

    def __init__(
        self, settings: Settings, make_workload: WorkloadFactory = torch_workload, tracer: Tracer | None = None
    ) -> None:
        self.identity = check_start(settings)
        self.settings = settings
        self.metrics = Metrics(settings.metrics_tenants)
        self.changes = ChangeSignal()
        try:
            self.tracer = tracer or tracer_for(settings.traces)
            self.storage = Storage(settings.data_path, settings.database_url, self.metrics, settings.shared_dir)
            self.cluster = ClusterConnection(settings.ray_address) if settings.engine == "ray" else None
        except (TracesUnavailableError, StorageUnusableError, StartupError) as error:
            raise ServerStartError(str(error)) from error
        timeouts = supervision_timeouts(settings)
        self.optimizers = OptimizerPool(self._optimizers(self._place(make_workload)))
        self.evaluator = (
            EvaluatorClient(evaluator_options(settings), timeouts, self.metrics, self.changes)
            if settings.evaluator
            else None
        )
        self.decoder = ImageDecoder(
            settings.decoders,
            settings.image_limits,
            settings.decode_timeout_s,
            decoder_arguments(settings),
            timeouts,
            self.metrics,
            self.changes,
        )
        self.jobs = self._job_parts()
        self.scheduler, self.persister, self.catalog = self.jobs.scheduler, self.jobs.persister, self.jobs.catalog
        self.queue = self.scheduler.queue
        self.changes.follow(self.scheduler.wake)
        self.room = Room(self.storage, settings.retention_bytes, settings.caller_share)
        self.uploads = UploadStore(self.storage, self.room, settings.upload_retention_s)
        self.styles = StyleStore(self.storage, self.room, self.decoder)
        spool = Spool(settings.spool_path)
        self.lane = StyleLane(settings, self.scheduler, self.optimizers, self.decoder, spool, self.metrics)
        self.directions = (
            DirectionLookup(self.evaluator, settings.direction_cache_bytes, self.metrics) if self.evaluator else None
        )
        self.drafts = Drafts(self.styles, StyleMatcher(self.styles, self.directions), self.lane, self.scheduler)
        self.scheduler.on_accepted = self.drafts.begin
        self.admission = Admission(
            settings, self.scheduler, self.jobs.intake, self.drafts, self.decoder, self.storage, self.room, self.metrics
        )
        self.retention = Retention(self.storage, self.room, settings.retention_s, settings.retention_interval_s)
        self.health_service = HealthService()
        self.health = Health(self._health_checks(), self.changes, self.health_service.set, self.optimizers.lost)
        self.pages = HttpPages(self.metrics, self.health, self.identity, settings.http_auth)
        self.api = self._api()
        self.grpc_address = self.http_address = ""
        self.end = asyncio.Event()
        self._is_leaving = False
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.gauges = Gauges(
            self.metrics,
            self.scheduler,
            self.jobs.backlog,
            self.storage,
            self.api.bounds,
            self.identity,
            self._process_ids,
        )

    def _job_parts(self) -> JobParts:
        engine, common = self._engine(), (self.optimizers, self.metrics, self.tracer)
        if self.settings.shared_dir:
            return SharedJobs(self.settings, self.storage, engine, *common, self.identity)
        return OwnJobs(self.settings, self.storage, engine, *common)

    def _place(self, make_workload: WorkloadFactory) -> Place:
        if self.cluster:
            return in_cluster(self.settings, make_workload, self.cluster)
        return on_this_machine(self.settings, make_workload)

    def _optimizers(self, place: Place) -> list[OptimizerClient]:
        devices = self.settings.optimizer_devices
        return [
            OptimizerClient(
                device.name,
                place(device),
                supervision_timeouts(self.settings),
                self.metrics,
                self.changes,
                is_one_of_several=len(devices) > 1,
                most_runs=self.settings.runs_per_device,
            )
            for device in devices
        ]

    def _engine(self) -> Engine:
        engine = FullSizeEngine(self.optimizers, self.decoder, self.storage, Spool(self.settings.spool_path))
        if self.evaluator is None:
            return engine
        return MeasuredEngine(engine, self.evaluator, self.settings.report_timeout_s)

    def _process_ids(self) -> dict[str, int | None]:
        pids = {f"decoder {number}": decoder.pid for number, decoder in enumerate(self.decoder.processes)}
        pids |= self._optimizer_ids() | {"front": os.getpid()}
        return pids | ({"evaluator": self.evaluator.pid} if self.evaluator else {})

    def _optimizer_ids(self) -> dict[str, int | None]:
        workers = self.optimizers.workers
        if len(workers) == 1:
            return {"optimizer": workers[0].pid}
        return {f"optimizer {worker.name}": worker.pid for worker in workers}

    def _health_checks(self) -> dict[str, Any]:
        checks = {
            SERVER: self._problems,
            STYLIZATION_SERVICE: self._problems,
            STYLE_SERVICE: self._problems,
            SERVER_SERVICE: _always_healthy,
        }
        return checks | ({ENCODER_SERVICE: self._encoder_problems} if self.evaluator else {})

    def _problems(self) -> list[str]:
        parts = (self._leaving(), self.scheduler.problems(), self.decoder.problems(), self.jobs.problems())
        return [*itertools.chain(*parts), *self.storage.problems]

    def _encoder_problems(self) -> list[str]:
        evaluator = self.evaluator.problems() if self.evaluator else []
        return [*self._leaving(), *evaluator, *self.decoder.problems()]

    def _leaving(self) -> list[str]:
        return ["the server is shutting down"] if self._is_leaving else []

    def _api(self) -> ApiServer:
        api = ApiServer(self.settings, self.metrics, self.identity, self.tracer, self.jobs.peer_key)
        api.add_stylization(self.admission, self.jobs.intake, self.catalog, self.jobs.follower, self.uploads)
        api.add_styles(self.styles, self.lane, self.admission, self.catalog, self.storage)
        api.add_server(self.scheduler, self.jobs.backlog, self.evaluator, self.room, self.begin_drain)
        if self.evaluator and self.directions:
            api.add_encoders(self.evaluator, self.decoder, self.directions)
        api.add_health(self.health_service)
        return api

    async def start(self) -> None:
        """Listen, and start the processes. Calls are answered at once; work is taken when the worker is ready.

        Raises
        ------
        ServerStartError
            A port is taken, or the storage cannot be used.
        """
        settings = self.settings
        try:
            self.grpc_address = self.api.bind(settings.host, settings.port)
            self.http_address = await self.pages.start(settings.http_host, settings.http_port)
            await self.storage.open()
            await self.styles.open()
            await asyncio.to_thread(Spool(settings.spool_path).clear)
            await self.jobs.open(self.admission, settings.advertise or self.grpc_address)
        except (OSError, StorageUnusableError, ServiceError) as error:
            raise ServerStartError(str(error)) from error
        await self.api.start()
        self._run_in_background(
            optimizers=self.optimizers.supervise(),
            decoder=self.decoder.supervise(),
            evaluator=self._evaluate(),
            scheduler=self.scheduler.run(),
            recovery=self._recover(),
            retention=self.retention.run_retention(),
            health=self.health.publish_health(),
            watchdog=Watchdog(self.metrics, self.api.bounds.calls.by_method.total).watch_loop(),
            storage=self._watch_storage(),
            gauges=self.gauges.count_jobs(),
            identity=self._watch_identity(),
            demand=self._request_devices(),
            **self.jobs.background(),
        )

    async def ready(self) -> None:
        """Wait until the worker takes work.

        Raises
        ------
        ServerStartError
            The worker cannot start.
        """
        await self._unless_broken(self._workers_ready())

    async def run(self) -> None:
        """Serve until `end` is set.

        Raises
        ------
        ServerStartError
            The worker cannot start.
        """
        await self._unless_broken(self.end.wait())

    def begin_drain(self) -> None:
        """Report that the server is not ready, and have it stopped. Without a delay, refuse new work already."""
        self._is_leaving = True
        if not self.settings.drain_delay_s:
            self.scheduler.close()
        self.changes.notify()
        self.end.set()

    def hurry(self) -> None:
        """End the delay and the grace period of `stop`."""
        self._hurry.set()
        self.scheduler.close()
        self.scheduler.cancel_running()

    async def stop(self, grace_s: float, delay_s: float = 0) -> None:
        """Drain: report so, refuse new work, give running jobs and calls their grace period, end all processes.

        Parameters
        ----------
        grace_s
            Seconds that running jobs and calls may continue.
        delay_s
            Seconds before that in which all calls are still answered, so that load balancers can notice.
        """
        self.begin_drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), delay_s)
        self.scheduler.close()
        until = time.monotonic() + grace_s

        def left_s() -> float:
            return 0 if self._hurry.is_set() else max(0, until - time.monotonic())

        await self.scheduler.drain(left_s())
        await self.drafts.close()
        await self.jobs.follower.close(left_s)
        await self.api.stop(left_s)
        await self.optimizers.stop()
        if self.evaluator:
            await self.evaluator.stop()
        await self.decoder.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pages.stop()
        await self.persister.settle()
        await self.jobs.close()
        await asyncio.to_thread(self.storage.close)
        await asyncio.to_thread(self.tracer.close)

    def _run_in_background(self, **work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]

    async def _workers_ready(self) -> None:
        await self.optimizers.wait_ready()
        await self.decoder.wait_ready()

    async def _recover(self) -> None:
        await self._workers_ready()
        self.health.has_started = True
        logs.get_logger().info(
            "server_ready",
            grpc=self.grpc_address,
            http=self.http_address,
            tls=self.identity.certificates is not None,
            credentials=self.identity.authenticator is not None,
        )
        await self.jobs.resume()

    async def _watch_storage(self) -> None:
        """Look at the storage every second: health must not wait for a caller to find out."""
        while True:
            before = self.storage.problems
            await self.storage.check()
            if self.storage.problems != before:
                self.changes.notify()
            await asyncio.sleep(_STORAGE_CHECK_S)

    async def _watch_identity(self) -> None:
        """Follow the files of identity: a revoked token, or the certificate that replaces one that expires."""
        while True:
            await asyncio.sleep(_IDENTITY_CHECK_S)
            for paths, problem in await asyncio.to_thread(self.identity.refresh):
                names = [str(path) for path in paths]
                if problem:
                    logs.get_logger().error("identity_not_reloaded", files=names, problem=problem)
                else:
                    logs.get_logger().info("identity_reloaded", files=names)

    async def _evaluate(self) -> None:
        """Keep the evaluator alive; it starts after the first optimizer, so that it does not delay that."""
        await self.optimizers.wait_ready()
        if self.evaluator:
            await self.evaluator.supervise()

    async def _request_devices(self) -> None:
        """Tell the cluster, if there is one, how many devices the queue needs."""
        if self.cluster:
            bundles = [resources_of(self.settings, device) for device in self.settings.optimizer_devices]
            await request_devices(self.cluster, bundles, self._job_count)

    def _job_count(self) -> int:
        """Return the number of jobs that run here, or wait for any server that could run them."""
        return self.scheduler.running_count() + len(self.jobs.backlog)

    async def _unless_broken(self, wanted: Coroutine[Any, Any, Any]) -> None:
        """Wait for something, or raise the error of a background task that fails first."""
        waiting = asyncio.ensure_future(wanted)
        while not waiting.done():
            pending = [task for task in self._tasks if not task.done()]
            await asyncio.wait({waiting, *pending}, return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in self._tasks if task.done() and task.exception()), None)
            if failed:
                waiting.cancel()
                try:
                    failed.result()
                except StartupError as error:
                    raise ServerStartError(f"a worker cannot start: {error}") from error


def _always_healthy() -> list[str]:
    return []
