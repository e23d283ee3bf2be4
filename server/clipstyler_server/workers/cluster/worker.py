"""An actor of a cluster seen from the front, in the form of a child process: a supervisor keeps either alive."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipstyler_server.observability import logs
from clipstyler_server.spool import remove
from clipstyler_server.workers.cluster.actor import Placed
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.parcels import Parcel, pack_command, undeliverable, unpack_message, with_end
from clipstyler_server.workers.engine import EngineLost, Task, TaskFailed, TaskStopped
from clipstyler_server.workers.messages import CannotStart, TaskEvent, WorkerReady
from clipstyler_server.workers.optimizer.applications import Applied, Apply
from clipstyler_server.workers.optimizer.image_files import not_written
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, WorkloadFactory

_POLLS_PER_LEASE = 4
_LONGEST_POLL_S = 1.0
_UNAVAILABLE_PAUSE_S = 0.1
_STOP_S = 5.0
_DETAIL_CHARACTERS = 300


class ClusterWorker:
    """One actor from its placement to its end; see `workers.child.Child`.

    Parameters
    ----------
    connection
        To the cluster.
    resources
        What the actor asks for, as Ray names it: "CPU", "GPU".
    options, make_workload
        What it runs.
    lease_s
        Seconds after which its jobs stop if this process is not heard of.
    on_message
        Called on the event loop with each message of the actor.

    Attributes
    ----------
    ended
        Set when the actor has ended.
    """

    def __init__(
        self,
        connection: ClusterConnection,
        resources: Mapping[str, float],
        options: OptimizerOptions,
        make_workload: WorkloadFactory,
        lease_s: float,
        on_message: Callable[[Any], None],
    ) -> None:
        self.ended = asyncio.Event()
        self.pid: int | None = None
        self.lost_with_machine = False
        self._connection = connection
        self._resources = resources
        self._options = options
        self._make_workload = make_workload
        self._lease_s = lease_s
        self._on_message = on_message
        self._actor: Any = None
        self._placed: Placed | None = None
        self._numbers = itertools.count(1)
        self._kept: set[str] = set()
        self._targets: dict[int, Path] = {}
        self._end = "has ended"
        self._work: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Wait for a place in the cluster, and create the actor there.

        Raises
        ------
        OSError, RuntimeError
            The cluster cannot be reached.
        """
        try:
            async with self._connection.place(self._resources):
                work = (self._resources, self._options, self._make_workload, self._lease_s)
                self._actor = await asyncio.to_thread(self._connection.create, *work)
                self._spawn(self._follow())
                await self._is_placed_or_ended()
        except BaseException:
            self.kill()  # one that waits for its place would go on waiting
            self.ended.set()
            raise

    def send(self, message: Any) -> None:
        """Send a command; it is dropped if the actor has ended."""
        if self._actor is None or self.ended.is_set():
            return
        if isinstance(message, Task):
            self._kept.add(message.job_id)
        elif isinstance(message, Apply):
            self._targets[message.number] = message.target
        self._spawn(self._deliver(next(self._numbers), message))

    def kill(self) -> None:
        """Kill the actor; `ended` follows."""
        if self._actor is not None:
            import ray

            self._spawn(asyncio.to_thread(ray.kill, self._actor))

    async def stop(self) -> None:
        """End the actor."""
        if self._actor is None:
            self.ended.set()
            return
        self.kill()
        with contextlib.suppress(TimeoutError):  # the cluster does not answer: it ends the actor once this process has
            await asyncio.wait_for(self.ended.wait(), _STOP_S)
        self.ended.set()

    def describe_end(self) -> str:
        """Describe how the actor ended, for people."""
        return self._end

    async def _follow(self) -> None:
        """Fetch messages, in order, until the actor has ended."""
        import ray

        seen, wait_s = 0, min(self._lease_s / _POLLS_PER_LEASE, _LONGEST_POLL_S)
        try:
            while True:
                try:
                    messages = await self._actor.receive.remote(seen, tuple(self._kept), wait_s)
                except ray.exceptions.ActorUnavailableError:
                    await asyncio.sleep(_UNAVAILABLE_PAUSE_S)
                    continue
                for number, message in messages:
                    seen = number
                    await self._take(message)
        except ray.exceptions.RayError as error:
            await self._describe(error)
        finally:
            self.ended.set()

    async def _take(self, message: Any) -> None:
        """Pass a message on, its file in the place that was meant for it."""
        match message:
            case Placed():
                self._placed, self.pid = message, message.pid
                return
            case WorkerReady(info) if self._placed:
                message = WorkerReady(replace(info, host=self._placed.host))
            case Parcel(TaskEvent(job_id)):
                self._kept.discard(job_id)
                message = await self._unpacked(message, self._options.spool.result(job_id))
            case TaskEvent(job_id, TaskStopped() | TaskFailed() | EngineLost()):
                self._kept.discard(job_id)
            case CannotStart():
                self.kill()  # as a process exits then
            case Parcel(Applied(number)):
                message = await self._unpacked(message, self._targets.pop(number))
            case Applied(number):
                self._targets.pop(number)
        self._on_message(message)

    async def _unpacked(self, parcel: Parcel, target: Path) -> Any:
        """Write the image of a message; one that cannot be written fails its work, and nothing else."""
        try:
            return await asyncio.to_thread(unpack_message, parcel, target)
        except OSError as error:
            remove(target)
            return with_end(parcel.message, not_written(error))

    async def _packed(self, message: Any) -> Any:
        """Read the files of a command; one that cannot be read fails its work, and nothing else."""
        try:
            return await asyncio.to_thread(pack_command, message)
        except OSError as error:
            end, stop = undeliverable(message, error)
            await self._take(end)
            return stop  # commands after it wait for its number

    async def _deliver(self, number: int, message: Any) -> None:
        """Hand a command over, again if it is not known whether it arrived: the actor knows its number."""
        import ray

        try:
            packed = await self._packed(message)
            while not self.ended.is_set():
                try:
                    # In a thread: what is large is copied into the object store.
                    await (await asyncio.to_thread(self._actor.command.remote, number, packed))
                    return
                except ray.exceptions.ActorUnavailableError:
                    await asyncio.sleep(_UNAVAILABLE_PAUSE_S)
        except ray.exceptions.ActorDiedError:
            return  # `_follow` says so
        except Exception as error:  # noqa: BLE001 - whatever it is, commands after it would wait for it forever
            logs.get_logger().error("command_not_delivered", problem=_first_words(error) or type(error).__name__)
            self.kill()

    async def _is_placed_or_ended(self) -> None:
        while self._placed is None and not self.ended.is_set():
            await asyncio.sleep(0.01)

    async def _describe(self, error: Exception) -> None:
        node_id = self._placed.node_id if self._placed else ""
        if node_id and not await asyncio.to_thread(self._connection.is_alive, node_id):
            self.lost_with_machine = True
            self._end = "was lost with its node"
        else:
            self._end = f"exited unexpectedly ({_first_words(error)})"

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:_DETAIL_CHARACTERS]
