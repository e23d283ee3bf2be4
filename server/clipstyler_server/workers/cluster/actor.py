"""The actor on a node of the cluster that owns a device: an optimizer whose pipe is two of its methods.

It works on threads of its own, so that its methods answer at once: commands come in by one, messages go out by the
other, which also renews the leases of jobs.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clipstyler import __version__
from clipstyler.events import Result
from clipstyler.openmp import spin_briefly
from clipstyler_server.observability import logs
from clipstyler_server.spool import Spool, remove
from clipstyler_server.workers.cluster.leases import Leases
from clipstyler_server.workers.cluster.outbox import Numbered, Outbox
from clipstyler_server.workers.cluster.parcels import files_in, pack_message, undeliverable, unpack_command, with_end
from clipstyler_server.workers.engine import EngineLost, Task, TaskFailed, TaskStopped
from clipstyler_server.workers.messages import CannotStart, TaskEvent
from clipstyler_server.workers.optimizer.applications import Applied
from clipstyler_server.workers.optimizer.image_files import not_written
from clipstyler_server.workers.optimizer.inbox import Abandon, Inbox
from clipstyler_server.workers.optimizer.rounds import work
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, WorkloadFactory


@dataclass(frozen=True)
class Placed:
    """From an actor, first: the node that it runs on, the name of its host, and its process."""

    node_id: str
    host: str
    pid: int


class OptimizerActor:
    """Runs tasks on one device.

    Parameters
    ----------
    options, make_workload
        As those of an optimizer process; the spool and the cache are directories of this machine instead.
    lease_s
        Seconds after which a job stops whose lease was not renewed.
    version
        Of the front, which must be that of this node.
    node_id
        Of this node.
    """

    def __init__(
        self, options: OptimizerOptions, make_workload: WorkloadFactory, lease_s: float, version: str, node_id: str
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="clipstyler-"))
        self._options = replace(options, spool=Spool(self._directory))
        self._make_workload = make_workload
        self._outbox = Outbox()
        self._inbox = Inbox(self._options.spool)
        self._lock = threading.Lock()
        self._next_command = 1
        self._early: dict[int, Any] = {}
        self._leases = Leases(lease_s, self._abandon)
        self._outbox.put(Placed(node_id, socket.gethostname(), os.getpid()))
        if version == __version__:
            threading.Thread(target=self._work, name="optimizer", daemon=True).start()
        else:
            self._outbox.put(CannotStart(f"its node has clipstyler {__version__}, and the server {version}"))

    def command(self, number: int, command: Any) -> None:
        """Take a command. Commands are carried out in the order of their numbers, each once, however they arrive."""
        with self._lock:
            if number >= self._next_command:
                self._early[number] = command
            while self._next_command in self._early:
                self._carry_out(self._early.pop(self._next_command))
                self._next_command += 1

    def receive(self, seen: int, kept: Iterable[str], wait_s: float) -> list[Numbered]:
        """Return all messages after one, or wait for a moment; renews the leases of the jobs that are kept."""
        self._leases.renew(kept)
        return self._outbox.fetch(seen, wait_s)

    def _carry_out(self, command: Any) -> None:
        if isinstance(command, Task):
            self._leases.begin(command.job_id)
        self._inbox.receive(self._unpacked(command))

    def _unpacked(self, command: Any) -> Any:
        """Write the files of a command; one that cannot be written fails its work, and nothing else."""
        try:
            return unpack_command(command, self._directory)
        except OSError as error:
            end, stop = undeliverable(command.message, error)
            self._outbox.put(end)
            return stop

    def _abandon(self, job_id: str) -> None:
        with self._lock:
            self._inbox.receive(Abandon(job_id))

    def _work(self) -> None:
        """Work to the end of this process; an error ends it, as it ends a process of the front's machine."""
        try:
            os.nice(self._options.nice)
            spin_briefly()
            logs.configure(self._options.log_level, self._options.log_format, "optimizer")
            load = partial(self._make_workload, self._options)
            work(self._inbox, load, self._send, self._options.progress_interval_s)
        except BaseException:  # noqa: BLE001 - whatever it is, nothing works here any more
            logs.get_logger().exception("optimizer_failed")
            os._exit(1)

    def _send(self, message: Any) -> None:
        self._outbox.put(_packed(message))
        if isinstance(message, Applied):
            for path in self._directory.glob(f"style-{message.number}.*"):
                remove(path)
        elif isinstance(message, TaskEvent) and isinstance(
            message.event, Result | TaskStopped | TaskFailed | EngineLost
        ):
            self._leases.end(message.job_id)
            for path in files_in(self._directory, message.job_id):
                remove(path)


def _packed(message: Any) -> Any:
    """Read the image of a message; one that cannot be read fails its work, and nothing else."""
    try:
        return pack_message(message)
    except OSError as error:
        return with_end(message, not_written(error))
