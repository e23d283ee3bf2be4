"""Wiring: which room gets which, and the order in which they start and stop. Nothing is decided here.

The front process never imports PyTorch; the optimizer's process does.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from platformdirs import user_cache_path

from clipstyler.v1 import (
    encoder_service_pb2,
    encoder_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_service_pb2,
    stylization_service_pb2_grpc,
)
from clipstyler_server import logs
from clipstyler_server.engine.base import Engine, EngineEvent, WorkerLost, WorkerState
from clipstyler_server.engine.decoding import PhotoDecoder
from clipstyler_server.engine.evaluation import EvaluatorOptions
from clipstyler_server.engine.evaluator_link import EvaluatorLink
from clipstyler_server.engine.keeper import Patience
from clipstyler_server.engine.reporting import ReportingEngine
from clipstyler_server.engine.supervisor import Supervisor
from clipstyler_server.engine.workload import OptimizerOptions, UnfitError, WorkloadFactory, torch_workload
from clipstyler_server.errors import ServiceError
from clipstyler_server.interceptors import RpcGuard
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.recorder import Recorder
from clipstyler_server.jobs.retention import Limits, Retention
from clipstyler_server.jobs.storage import Storage, StorageUnfitError
from clipstyler_server.probes import Probes
from clipstyler_server.readiness import Readiness
from clipstyler_server.services import to_proto
from clipstyler_server.services.admission import Admission
from clipstyler_server.services.archive import Archive
from clipstyler_server.services.encoders import EncoderService
from clipstyler_server.services.recovery import Recovery
from clipstyler_server.services.server_info import ServerInfoService
from clipstyler_server.services.stylization import StylizationService
from clipstyler_server.settings import MAX_MESSAGE_BYTES, MIB, Settings
from clipstyler_server.telemetry import Metrics

SERVICES = (
    stylization_service_pb2.DESCRIPTOR.services_by_name["StylizationService"].full_name,
    server_service_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name,
    encoder_service_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name,
)
_FAREWELL_S = 2.0  # for last messages to reach their readers


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


class App:
    """The whole server on the running event loop.

    Parameters
    ----------
    settings
        What the operator decided.
    make_workload
        What the optimizer's process runs.

    Attributes
    ----------
    grpc_address, http_address
        Where it listens, once started.
    """

    def __init__(self, settings: Settings, make_workload: WorkloadFactory = torch_workload) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.queue = JobQueue(settings.queue_capacity)
        try:
            self.storage = Storage(settings.data_path, settings.database_url, self.metrics)
        except StorageUnfitError as error:
            raise StartError(str(error)) from error
        self.recorder = Recorder(self.storage, lambda job, end: to_proto.stored_end(job.id, end))
        self.dispatcher = Dispatcher(self.queue, self.metrics, self.recorder)
        self.supervisor = Supervisor(
            _optimizer_options(settings), make_workload, _patience(settings), self._on_event, self._on_state
        )
        self.evaluator = self._make_evaluator() if settings.evaluator else None
        self.engine: Engine = self.supervisor
        self._pass_on = self.dispatcher.handle
        if self.evaluator:
            reporting = ReportingEngine(
                self.supervisor, self.evaluator, settings.report_timeout_s, self.dispatcher.handle
            )
            self.engine, self._pass_on = reporting, reporting.handle
        self.dispatcher.attach(self.engine)
        self.decoder = PhotoDecoder(
            settings.image_limits, settings.decode_timeout_s, settings.log_level, settings.log_format
        )
        self.admission = Admission(settings, self.dispatcher, self.decoder, self.storage, self.metrics)
        self.recovery = Recovery(self.storage, self.admission, settings.on_restart == "requeue")
        self.retention = Retention(
            self.storage, Limits(settings.retention_s, settings.retention_bytes), settings.tidy_every_s
        )
        self.readiness = Readiness(self.dispatcher, SERVICES)
        self.probes = Probes(self.metrics, self.readiness)
        self.grpc_address = self.http_address = ""
        self._server = self._make_server()
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.metrics.watch("queue_depth", "Jobs that wait.", lambda: len(self.queue))
        self.metrics.watch("watchers", "Calls that follow a job.", self.dispatcher.watchers)
        self.metrics.watch("jobs_running", "Jobs that run.", lambda: self.dispatcher.running is not None)

    async def start(self) -> None:
        """Listen, and start the processes; calls are answered at once, work is taken when the worker is ready.

        Raises
        ------
        StartError
            A port is taken, or the storage cannot be used.
        """
        settings = self.settings
        try:
            port = self._server.add_insecure_port(_address(settings.host, settings.port))
        except RuntimeError as error:
            raise StartError(_taken(settings.host, settings.port)) from error
        try:
            http_port = await self.probes.start(settings.http_host, settings.http_port)
        except OSError as error:
            raise StartError(f"{_taken(settings.http_host, settings.http_port)} ({error.strerror})") from error
        self.grpc_address = _address(settings.host, port)
        self.http_address = _address(settings.http_host, http_port)
        try:
            await self.storage.open()
            await self.recovery.settle()
        except (StorageUnfitError, ServiceError) as error:
            raise StartError(str(error)) from error
        await self.decoder.start()
        await self._server.start()
        self._tasks = [
            asyncio.create_task(self.supervisor.run(), name="supervisor"),
            asyncio.create_task(self.readiness.keep_told(), name="health"),
            asyncio.create_task(self._take_up(), name="recovery"),
            asyncio.create_task(self.retention.keep_tidy(), name="retention"),
            asyncio.create_task(self._keep_evaluating(), name="evaluator"),
        ]

    async def ready(self) -> None:
        """Wait until the worker takes work.

        Raises
        ------
        StartError
            The worker cannot start.
        """
        await self._unless_broken(self._ready.wait())

    async def run_until(self, end: asyncio.Event) -> None:
        """Serve until `end` is set.

        Raises
        ------
        StartError
            The worker cannot start.
        """
        await self._unless_broken(end.wait())

    async def stop(self, grace_s: float) -> None:
        """Drain: refuse new work, give the running job its grace, end every process, listen no more."""
        self.dispatcher.close()
        self.readiness.changed()
        await self.dispatcher.drain(grace_s)
        await self._server.stop(_FAREWELL_S)
        await self.supervisor.stop()
        if self.evaluator:
            await self.evaluator.stop()
        await self.decoder.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.probes.stop()
        await self.recorder.settle()
        await asyncio.to_thread(self.storage.close)

    async def _take_up(self) -> None:
        await self._ready.wait()
        await self.recovery.take_up()
        await asyncio.Event().wait()

    async def _unless_broken(self, wanted: Any) -> None:
        """Wait for something, or for a background task that fails."""
        waiting = asyncio.ensure_future(wanted)
        done, _ = await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done:
            return
        waiting.cancel()
        for task in done:
            try:
                await task
            except UnfitError as error:
                raise StartError(f"a worker cannot start: {error}") from error

    def _on_state(self) -> None:
        self.readiness.changed()
        if self.supervisor.state is WorkerState.READY and not self._ready.is_set():
            self._ready.set()
            logs.get_logger().info("server_ready", grpc=self.grpc_address, http=self.http_address)

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, WorkerLost):
            self.metrics.worker_lost()
        self._pass_on(event)

    def _make_evaluator(self) -> EvaluatorLink:
        return EvaluatorLink(_evaluator_options(self.settings), _patience(self.settings), self._on_evaluator_state)

    async def _keep_evaluating(self) -> None:
        """Keep the evaluator alive; it starts when the optimizer is ready, so that it does not delay that."""
        await self._ready.wait()
        if self.evaluator:
            await self.evaluator.run()
        await asyncio.Event().wait()

    def _on_evaluator_state(self) -> None:
        if self.evaluator and self.evaluator.state is WorkerState.READY:
            self.metrics.evaluator_ready({facts.name: facts.backend for facts in self.evaluator.facts.values()})
        elif self.evaluator and self.evaluator.state is WorkerState.CRASHED:
            self.metrics.evaluator_lost()

    def _make_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[RpcGuard(self.metrics)],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self.settings.max_image_bytes + MIB),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Finds clients that vanished without a word, and bears pings of those that look for us.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        archive = Archive(self.settings, self.storage, self.dispatcher)
        stylization_service_pb2_grpc.add_StylizationServiceServicer_to_server(
            StylizationService(self.settings, self.admission, self.dispatcher, archive, self.metrics), server
        )
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(
            ServerInfoService(self.settings, self.dispatcher, self.evaluator), server
        )
        if self.evaluator:
            encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server(
                EncoderService(self.settings, self.evaluator, self.decoder, self.metrics), server
            )
        health_pb2_grpc.add_HealthServicer_to_server(self.readiness.health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server


def run(settings: Settings, make_workload: WorkloadFactory = torch_workload) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. A second signal cuts the grace short.

    Parameters
    ----------
    settings
        What the operator decided.
    make_workload
        What the optimizer's process runs.

    Raises
    ------
    SystemExit
        The server cannot start; the log says why.
    """
    logs.configure(settings.log_level, settings.log_format, "front")
    try:
        asyncio.run(_serve(settings, make_workload))
    except StartError as error:
        logs.get_logger().error("server_cannot_start", problem=str(error))
        raise SystemExit(1) from error


async def _serve(settings: Settings, make_workload: WorkloadFactory) -> None:
    app = App(settings, make_workload)
    end = asyncio.Event()

    def on_signal() -> None:
        if end.is_set():
            app.dispatcher.cut_short()
        end.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    grace_s = 0.0
    try:
        await app.start()
        await app.run_until(end)
        grace_s = settings.drain_grace_s
        logs.get_logger().info("server_draining", grace_s=grace_s)
    finally:
        await app.stop(grace_s)
        logs.get_logger().info("server_stopped")


def _optimizer_options(settings: Settings) -> OptimizerOptions:
    return OptimizerOptions(
        encoders=settings.encoders,
        device=settings.device,
        threads=settings.optimizer_threads,
        nice=settings.nice,
        log_level=settings.log_level,
        log_format=settings.log_format,
        models=settings.models,
        offline=settings.offline,
    )


def _evaluator_options(settings: Settings) -> EvaluatorOptions:
    return EvaluatorOptions(
        encoders=settings.encoders,
        providers=() if settings.providers == ("auto",) else settings.providers,
        on_mismatch=settings.on_mismatch,
        threads=settings.evaluator_threads,
        nice=settings.nice,
        cache=Path(settings.cache_dir) if settings.cache_dir else user_cache_path("clipstyler"),
        direction_bytes=settings.direction_cache_bytes,
        batch_wait_s=settings.batch_wait_s,
        start_timeout_s=settings.start_timeout_s,
        log_level=settings.log_level,
        log_format=settings.log_format,
        models=settings.models,
        offline=settings.offline,
    )


def _patience(settings: Settings) -> Patience:
    return Patience(settings.start_timeout_s, settings.stall_timeout_s, settings.restart_delay_s)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken(host: str, port: int) -> str:
    return f"cannot listen on {_address(host, port)}: is it in use? Choose another address or port, 0 for a free one"
