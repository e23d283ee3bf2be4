"""A spawned process and the channel to it, seen from the event loop of the front process.

Spawned, never forked: a fork after gRPC was imported crashes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import Any

from clipstyler_server.observability.foreign_output import WorkerStderr, relay
from clipstyler_server.workers.channel import Channel
from clipstyler_server.workers.ending_signals import held_back
from clipstyler_server.workers.messages import Shutdown

_CONTEXT = multiprocessing.get_context("spawn")


class ChildProcess:
    """One process from its start to its end.

    Parameters
    ----------
    name
        For `ps` and logs.
    target, arguments
        An importable function, called with its end of the pipe and these arguments.
    on_message
        Called on the event loop with each message of the process.

    Attributes
    ----------
    ended
        Set when the process has exited and was reaped.
    lost_with_machine
        Never: this process would have ended too.
    """

    def __init__(
        self,
        name: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        on_message: Callable[[Any], None],
    ) -> None:
        self.ended = asyncio.Event()
        self.lost_with_machine = False
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._connection, self._their_end = _CONTEXT.Pipe(duplex=True)
        self._channel = Channel(self._connection, self._received, self._pipe_ended)
        self._name = name
        self._stderr = WorkerStderr()
        arguments = (self._stderr, target, self._their_end, *arguments)
        self._process = _CONTEXT.Process(target=_run, args=arguments, name=name, daemon=True)
        self._reaping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None before the start."""
        return self._process.pid

    async def start(self) -> None:
        """Start the process. It is ready when it reports so.

        Raises
        ------
        OSError, RuntimeError
            It cannot be started now, for instance because no file descriptor or thread is free.
        """
        try:
            relay(self._stderr.reading, self._name)
            await asyncio.to_thread(self._spawn)
            self._channel.start()
        except (OSError, RuntimeError):
            self.kill()
            self._connection.close()
            self.ended.set()
            raise
        finally:
            # Only the process may hold its ends: otherwise its exit would not close the pipes.
            self._their_end.close()
            self._stderr.close()

    def send(self, message: object) -> None:
        """Send a message; it is dropped if the process has exited."""
        self._channel.send(message)

    def kill(self) -> None:
        """Kill the process if it was started; `ended` follows."""
        if self.pid is not None:
            self._process.kill()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the process to exit, wait, and kill it if it does not."""
        self.send(Shutdown())
        try:
            await asyncio.wait_for(self.ended.wait(), timeout_s)
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def describe_end(self) -> str:
        """Describe how the process exited, for people."""
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def _spawn(self) -> None:
        resource_tracker.ensure_running()  # by itself, because it would end what holds signals back
        with held_back():
            self._process.start()

    def _received(self, message: object) -> None:
        self._loop.call_soon_threadsafe(self._on_message, message)

    def _pipe_ended(self) -> None:
        self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        self._reaping = asyncio.create_task(self._join())

    async def _join(self) -> None:
        await asyncio.to_thread(self._process.join, 2)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)
        self.ended.set()


def _run(_stderr: object, target: Callable[..., None], *arguments: Any) -> None:
    """Run the target in the spawned process. Its stderr has been installed when the first argument arrived."""
    target(*arguments)
