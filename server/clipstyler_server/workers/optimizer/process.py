"""The optimizer process: it owns the device, runs the tasks that it is given and hears of stops within every step.

When the front process exits, however it does, the pipe closes and this process exits too.
"""

from __future__ import annotations

import faulthandler
import os
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.openmp import spin_briefly
from clipstyler_server.observability import logs
from clipstyler_server.workers.channel import Channel
from clipstyler_server.workers.ending_signals import leave_to_the_front
from clipstyler_server.workers.messages import Shutdown
from clipstyler_server.workers.optimizer.inbox import Inbox
from clipstyler_server.workers.optimizer.rounds import work
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, WorkloadFactory


def main(connection: Connection[Any, Any], options: OptimizerOptions, make_workload: WorkloadFactory) -> None:
    """Run the process: load the workload, then run tasks until the front process exits."""
    _prepare_process(options)
    inbox = Inbox(options.spool)

    def receive(command: Any) -> None:
        if isinstance(command, Shutdown):
            _exit_now()
        inbox.receive(command)

    channel = Channel(connection, receive, _exit_now)
    channel.start()
    work(inbox, partial(make_workload, options), channel.send, options.progress_interval_s)
    channel.flush(timeout_s=5)  # it could not start


def _prepare_process(options: OptimizerOptions) -> None:
    leave_to_the_front()
    faulthandler.enable()
    os.nice(options.nice)
    spin_briefly()
    logs.configure(options.log_level, options.log_format, "optimizer")


def _exit_now() -> None:
    """Exit at once, in the middle of a step if need be: nothing here outlives the front process."""
    os._exit(0)
