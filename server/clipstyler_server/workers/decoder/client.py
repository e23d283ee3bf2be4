"""The decoder as the front process sees it. An image that crashes the decoder affects only its own request."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from clipstyler.imaging import Header, ImageError, Limits
from clipstyler_server.errors import Reason, error
from clipstyler_server.observability import logs
from clipstyler_server.workers.decoder import process
from clipstyler_server.workers.decoder.messages import Decode, Decoded, Inspect, Inspected, Undecodable
from clipstyler_server.workers.process import ChildProcess

__all__ = ["Decoded", "ImageDecoder"]

_TRIES = 2  # a second one distinguishes an image that kills the decoder from a decoder that was killed
_RETRY_S = 2.0


class ImageDecoder:
    """Has images decoded in a process of their own, one after the other; restarts it when it is lost.

    Parameters
    ----------
    limits
        Of an image.
    timeout_s
        Seconds that one image may take.
    log_level, log_format
        Of the process.
    """

    def __init__(self, limits: Limits, timeout_s: float, log_level: str, log_format: str) -> None:
        self._arguments = (log_level, log_format)
        self._limits = limits
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._child: ChildProcess | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the decoder."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start the process, so that the first image does not wait for it.

        Raises
        ------
        ServiceError
            WORKER_NOT_READY: it cannot be started now; the next image tries again.
        """
        child = ChildProcess("clipstyler-decoder", process.main, self._arguments, self._receive)
        try:
            await child.start()
        except OSError as problem:
            logs.get_logger().error("decoder_cannot_start", problem=problem.strerror)
            raise error(
                Reason.WORKER_NOT_READY, "the image decoder cannot be started: retry", retry_delay_s=_RETRY_S
            ) from problem
        self._child = child

    async def stop(self) -> None:
        """End the process."""
        if self._child and not self._child.ended.is_set():
            await self._child.stop()

    async def inspect(self, data: bytes) -> Header:
        """Read the header of an image.

        Raises
        ------
        ImageError
            It cannot be read, takes too long, or crashes the decoder.
        ServiceError
            WORKER_NOT_READY.
        """
        request = Inspect(next(self._numbers), data, self._limits)
        answer: Inspected = await self._in_turn(request)
        return answer.header

    async def decode(self, data: bytes, size: int, enlarge: bool) -> Decoded:
        """Decode an image and fit it to a size; raises as `inspect`."""
        answer: Decoded = await self._in_turn(Decode(next(self._numbers), data, self._limits, size, enlarge))
        return answer

    async def _in_turn(self, request: Inspect | Decode) -> Any:
        await self._lock.acquire()
        turn = asyncio.create_task(self._take_turn(request))
        turn.add_done_callback(self._turn_ended)
        # A caller that leaves does not end the turn: the next image begins once the decoder is free.
        answer = await asyncio.shield(turn)
        if isinstance(answer, Undecodable):
            raise ImageError(answer.problem)
        return answer

    def _turn_ended(self, turn: asyncio.Task[Any]) -> None:
        self._lock.release()
        if not turn.cancelled():
            turn.exception()  # retrieved here in case the caller has left

    async def _take_turn(self, request: Inspect | Decode) -> Inspected | Decoded | Undecodable:
        for _ in range(_TRIES):
            if answer := await self._ask(request):
                return answer
        return Undecodable(request.number, "the image crashes the decoder: save it again with another program")

    async def _ask(self, request: Inspect | Decode) -> Inspected | Decoded | Undecodable | None:
        """Send one request and wait for its answer; None if the decoder exited meanwhile."""
        if self._child is None or self._child.ended.is_set():
            await self.start()
        child = self._child
        assert child is not None
        answer = self._answers[request.number] = asyncio.get_running_loop().create_future()
        ended = asyncio.create_task(child.ended.wait())
        child.send(request)
        try:
            first: set[asyncio.Future[Any]] = {answer, ended}
            await asyncio.wait(first, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                found: Inspected | Decoded | Undecodable = answer.result()
                return found
            logs.get_logger().error("decoder_lost", timed_out=not ended.done())
            if ended.done():
                return None
            child.kill()
            await child.ended.wait()
            problem = f"the image took more than {self._timeout_s:g} s to decode: send a smaller one"
            return Undecodable(request.number, problem)
        finally:
            ended.cancel()
            del self._answers[request.number]

    def _receive(self, answer: Inspected | Decoded | Undecodable) -> None:
        waiting = self._answers.get(answer.number)
        if waiting and not waiting.done():
            waiting.set_result(answer)
