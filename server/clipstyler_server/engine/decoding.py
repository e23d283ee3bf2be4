"""Photos are decoded in a small process of their own: a decoder that crashes takes neither the front nor a job down.

The process needs Pillow and NumPy only, starts in a moment, and is started again when it is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.imaging import ImageError, Limits, Picture, decode, fit
from clipstyler_server import logs
from clipstyler_server.engine.base import Shutdown
from clipstyler_server.engine.process import ChildProcess

_TRIES = 2  # a second one tells a photo that kills the decoder from a decoder that was killed


@dataclass(frozen=True)
class DecodeRequest:
    """A photo, and the size it is fitted to."""

    number: int
    data: bytes
    limits: Limits
    size: int
    enlarge: bool


@dataclass(frozen=True)
class Decoded:
    """The fitted photo, and how long that took."""

    number: int
    picture: Picture
    decode_s: float


@dataclass(frozen=True)
class Undecodable:
    """The photo cannot be used."""

    number: int
    problem: str


def main(connection: Connection[Any, Any], log_level: str, log_format: str) -> None:
    """Run the process: decode one photo after the other until the front is gone."""
    logs.configure(log_level, log_format, "decoder")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            request = connection.recv()
            if isinstance(request, Shutdown):
                return
            connection.send(_decode(request))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _decode(request: DecodeRequest) -> Decoded | Undecodable:
    begun = time.monotonic()
    try:
        picture = fit(decode(request.data, request.limits), request.size, request.enlarge)
    except ImageError as error:
        return Undecodable(request.number, str(error))
    except MemoryError:
        return Undecodable(request.number, "the image does not fit into memory: send a smaller one")
    return Decoded(request.number, picture, time.monotonic() - begun)


class PhotoDecoder:
    """The decoding process as the front sees it.

    Parameters
    ----------
    limits
        Of a photo.
    timeout_s
        Seconds one photo may take.
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
        self._answers: dict[int, asyncio.Future[Decoded | Undecodable]] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the decoder."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start the process, so that the first photo does not wait for it."""
        self._child = ChildProcess("clipstyler-decoder", main, self._arguments, self._receive)
        await self._child.start()

    async def stop(self) -> None:
        """End the process."""
        if self._child and not self._child.ended.is_set():
            await self._child.stop()

    async def decode(self, data: bytes, size: int, enlarge: bool) -> Decoded:
        """Decode a photo and fit it.

        Raises
        ------
        ImageError
            It cannot be decoded, takes too long, or crashes the decoder.
        """
        await self._lock.acquire()
        turn = asyncio.create_task(self._take_turn(data, size, enlarge))
        turn.add_done_callback(lambda _: self._lock.release())
        # A caller who leaves does not end the turn: the next photo begins when the decoder is free, with its full time.
        answer = await asyncio.shield(turn)
        if isinstance(answer, Undecodable):
            raise ImageError(answer.problem)
        return answer

    async def _take_turn(self, data: bytes, size: int, enlarge: bool) -> Decoded | Undecodable:
        for _ in range(_TRIES):
            if answer := await self._ask(data, size, enlarge):
                return answer
        return Undecodable(0, "the image crashes the decoder: save it again with another program")

    async def _ask(self, data: bytes, size: int, enlarge: bool) -> Decoded | Undecodable | None:
        """Send one request and wait for its answer; None if the decoder ended meanwhile."""
        if self._child is None or self._child.ended.is_set():
            await self.start()
        child = self._child
        assert child is not None
        number = next(self._numbers)
        answer: asyncio.Future[Decoded | Undecodable] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        ended = asyncio.create_task(child.ended.wait())
        child.send(DecodeRequest(number, data, self._limits, size, enlarge))
        try:
            first: set[asyncio.Future[Any]] = {answer, ended}
            await asyncio.wait(first, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            logs.get_logger().error("decoder_lost", timed_out=not ended.done())
            if ended.done():
                return None
            child.kill()
            await child.ended.wait()
            return Undecodable(number, f"the image took more than {self._timeout_s:g} s to decode: send a smaller one")
        finally:
            ended.cancel()
            del self._answers[number]

    def _receive(self, answer: Decoded | Undecodable) -> None:
        waiting = self._answers.get(answer.number)
        if waiting and not waiting.done():
            waiting.set_result(answer)
