"""A process that serves: its limits, its signals, its log, and the server on an event loop."""

from __future__ import annotations

import asyncio
import os
import resource
import signal

from clipstyler.allocator import keep_little_memory
from clipstyler_server.app import App
from clipstyler_server.observability import logs
from clipstyler_server.observability.foreign_output import captured
from clipstyler_server.observability.watchdog import collect_only_young_objects
from clipstyler_server.settings import Settings
from clipstyler_server.start_checks import ServerStartError
from clipstyler_server.workers.ending_signals import ENDING_SIGNALS
from clipstyler_server.workers.optimizer.default import torch_workload
from clipstyler_server.workers.optimizer.workload import WorkloadFactory


def run(settings: Settings, make_workload: WorkloadFactory = torch_workload) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain and return. A second signal ends the grace period at once.

    Parameters
    ----------
    settings
        The operator's configuration.
    make_workload
        What the optimizer process runs.

    Raises
    ------
    SystemExit
        The server cannot start; the log says why.
    """
    _prepare_process()
    with captured("front"):
        logs.configure(settings.log_level, settings.log_format, "front")
        try:
            asyncio.run(_serve(settings, make_workload))
        except ServerStartError as error:
            logs.get_logger().error("server_cannot_start", problem=str(error))
            raise SystemExit(1) from error
        except Exception as error:
            logs.get_logger().exception("server_failed")
            raise SystemExit(1) from error


def _prepare_process() -> None:
    """Files for the owner only, as many descriptors as the system allows, and no more memory than is in use."""
    os.umask(0o077)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    keep_little_memory()


async def _serve(settings: Settings, make_workload: WorkloadFactory) -> None:
    app = App(settings, make_workload)

    def on_signal() -> None:
        if app.end.is_set():
            app.hurry()
        app.begin_drain()

    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
            loop.add_signal_handler(number, on_signal)
    grace_s = delay_s = 0.0
    try:
        await app.start()
        collect_only_young_objects()
        await app.run()
        grace_s, delay_s = settings.drain_grace_s, settings.drain_delay_s
        logs.get_logger().info("server_draining", grace_s=grace_s, delay_s=delay_s)
    finally:
        await app.stop(grace_s, delay_s)
        logs.get_logger().info("server_stopped")
