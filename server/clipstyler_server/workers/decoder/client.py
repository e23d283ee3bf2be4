"""The decoders as the front process sees them. An image that crashes one affects only its own request."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Header, ImageError, Limits
from clipstyler.masking import Levels
from clipstyler.style import StyleDescription
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.sharing import FairBudget
from clipstyler_server.spool import MaskFile, PixelFile
from clipstyler_server.workers.decoder import process
from clipstyler_server.workers.decoder.messages import (
    Answer,
    Decode,
    Decoded,
    DecoderReady,
    Extract,
    Extracted,
    Inspect,
    Inspected,
    MaskExtracted,
    MaskRead,
    ReadMask,
    ReadStyle,
    Request,
    Source,
    StyleRead,
    Unavailable,
    Undecodable,
    View,
    Viewed,
)
from clipstyler_server.workers.engine import WorkerState
from clipstyler_server.workers.messages import InContext
from clipstyler_server.workers.process import ChildProcess
from clipstyler_server.workers.supervisor import ProcessSupervisor, SupervisionTimeouts
from clipstyler_server.workers.turns import finish

__all__ = ["Decoded", "ImageDecoder"]

_TRIES = 2  # a second one distinguishes an image that kills a decoder from a decoder that was killed
_START_WAIT_S = 5.0
_RETRY_S = 2.0


class DecoderProcess(ProcessSupervisor):
    """One decoder, which works on one image at a time.

    Parameters
    ----------
    arguments
        Of the process.
    timeouts
        How soon it is restarted.
    metrics
        Counts lost processes.
    changes
        Notified when `state` changes.
    """

    def __init__(
        self, arguments: tuple[Any, ...], timeouts: SupervisionTimeouts, metrics: Metrics, changes: ChangeSignal
    ) -> None:
        make_child = partial(ChildProcess, "clipstyler-decoder", process.main, arguments)
        super().__init__("decoder", make_child, timeouts, metrics, changes)
        self._waiting: asyncio.Future[Answer | None] | None = None
        self._asked = 0  # number of the latest request

    async def answer(self, request: Request, timeout_s: float) -> Answer | None:
        """Have one request answered; None if the process exited meanwhile. One that takes too long is killed.

        Raises
        ------
        TimeoutError
            It took too long.
        """
        self._waiting, self._asked = asyncio.get_running_loop().create_future(), request.number
        self._send(InContext(request, logs.context()))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._waiting
        except TimeoutError:
            self.kill()
            self._set_state(WorkerState.CRASHED)  # the next image waits for the successor
            raise
        finally:
            self._waiting = None

    def _is_busy(self) -> bool:
        return False  # each image has a time limit of its own

    def _take(self, message: DecoderReady | Answer) -> None:
        if isinstance(message, DecoderReady):
            self._enter_ready()
        elif message.number == self._asked and self._waiting and not self._waiting.done():
            # Another number is that of an image that took too long: its answer belongs to no one.
            self._waiting.set_result(message)

    def _drop(self, problem: str) -> None:
        if self._waiting and not self._waiting.done():
            logs.get_logger().error("image_interrupted", problem=problem)
            self._waiting.set_result(None)


class ImageDecoder:
    """Has images decoded in processes of their own. Callers take turns, and one of them never has every decoder.

    Parameters
    ----------
    count
        Number of decoders.
    limits
        Of an image.
    timeout_s
        Seconds that one image may take, header and pixels together.
    arguments
        Of the processes: memory in bytes, log level and format.
    timeouts
        How soon a lost process is restarted.
    metrics
        Counts lost processes.
    changes
        Notified when a decoder is lost or ready.
    """

    def __init__(
        self,
        count: int,
        limits: Limits,
        timeout_s: float,
        arguments: tuple[int, str, str],
        timeouts: SupervisionTimeouts,
        metrics: Metrics,
        changes: ChangeSignal,
    ) -> None:
        self.processes = [DecoderProcess(arguments, timeouts, metrics, changes) for _ in range(count)]
        self._limits = limits
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._free = list(self.processes)
        self._turns = FairBudget(count, share=(count - 1) / count)

    @property
    def busy(self) -> int:
        """Number of images that are being decoded."""
        return self._turns.used

    def problems(self) -> list[str]:
        """Return why no image is decoded; empty if one decoder works."""
        found = [problem for decoder in self.processes for problem in decoder.problems()]
        return found[:1] if len(found) == len(self.processes) else []

    async def wait_ready(self) -> None:
        """Wait until every decoder works."""
        for decoder in self.processes:
            await decoder.wait_ready()

    async def supervise(self) -> None:
        """Keep the processes alive until `stop`."""
        await asyncio.gather(*(decoder.supervise() for decoder in self.processes))

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(decoder.stop() for decoder in self.processes))

    async def inspect(self, source: Source, account: str) -> Header:
        """Read the header of an image.

        Parameters
        ----------
        source
            Bytes or a file.
        account
            Of the caller, who takes turns with others.

        Raises
        ------
        ImageError
            It cannot be read, takes too long, or crashes the decoder.
        ServiceError
            WORKER_NOT_READY.
        """
        answer = await self._in_turn(Inspect(next(self._numbers), source, self._limits), account)
        return cast("Inspected", answer).header

    async def decode(self, source: Source, account: str, size: int, enlarge: bool) -> Decoded:
        """Decode an image and fit it to a size; raises as `inspect`."""
        request = Decode(next(self._numbers), source, self._limits, size, enlarge)
        return cast("Decoded", await self._in_turn(request, account))

    async def extract(self, source: Source, account: str, size: int, enlarge: bool, target: Path) -> PixelFile:
        """Decode an image, fit it to a size and write its pixels to a file; raises as `inspect`."""
        request = Extract(next(self._numbers), source, self._limits, size, enlarge, target)
        return cast("Extracted", await self._in_turn(request, account)).pixels

    async def read_mask(
        self, source: Source, account: str, photo: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Levels, str]:
        """Decode a mask for a photo of a size, and resize it; returns its digest too. Raises as `inspect`."""
        request = ReadMask(next(self._numbers), source, self._limits, photo, size)
        answer = cast("MaskRead", await self._in_turn(request, account))
        return answer.levels, answer.digest

    async def extract_mask(
        self, source: Source, account: str, photo: tuple[int, int], size: tuple[int, int], target: Path
    ) -> MaskFile:
        """Decode a mask as `read_mask` does, and write it to a file; raises as `inspect`."""
        request = ReadMask(next(self._numbers), source, self._limits, photo, size, target)
        return cast("MaskExtracted", await self._in_turn(request, account)).pixels

    async def view(self, source: Source, account: str, side: int) -> NDArray[np.float32]:
        """Decode an image to the view of an encoder, float32 (1, 3, side, side) in [0, 1]; raises as `inspect`."""
        answer = await self._in_turn(View(next(self._numbers), source, self._limits, side), account)
        return cast("Viewed", answer).view

    async def read_style(self, source: Source, account: str) -> tuple[str, StyleDescription]:
        """Read the file of a style; returns its digest and what describes it. Raises as `inspect`."""
        answer = cast("StyleRead", await self._in_turn(ReadStyle(next(self._numbers), source), account))
        return answer.digest, answer.description

    async def _in_turn(self, request: Request, account: str) -> Answer:
        lease = await self._turns.take(account, 1)
        # A caller that leaves does not end the turn: the next image begins once the decoder is free.
        answer = await finish(self._take_turn(request), lease)
        if isinstance(answer, Undecodable):
            raise ImageError(answer.problem)
        if isinstance(answer, Unavailable):
            raise _unavailable(f"lacks something now ({answer.problem})")
        return answer

    async def _take_turn(self, request: Request) -> Answer:
        decoder = await self._ready_one()
        try:
            for _ in range(_TRIES):
                if answer := await decoder.answer(request, self._timeout_s):
                    return answer
                await _wait_ready(decoder)
        except TimeoutError:
            logs.get_logger().error("decoder_timed_out")
            problem = f"the image took more than {self._timeout_s:g} s to decode: send a smaller one"
            return Undecodable(request.number, problem)
        finally:
            self._free.append(decoder)
        return Undecodable(request.number, "the image crashes the decoder: save it again with another program")

    async def _ready_one(self) -> DecoderProcess:
        """Take a free decoder, one that works if there is one; there are as many turns as decoders."""
        decoder = next((one for one in self._free if one.state is WorkerState.READY), self._free[0])
        self._free.remove(decoder)
        try:
            await _wait_ready(decoder)
        except BaseException:
            self._free.append(decoder)
            raise
        return decoder


async def _wait_ready(decoder: DecoderProcess) -> None:
    try:
        async with asyncio.timeout(_START_WAIT_S):
            await decoder.wait_ready()
    except TimeoutError:
        raise _unavailable(decoder.state.in_words) from None


def _unavailable(state: str) -> ServiceError:
    return error(
        Reason.WORKER_NOT_READY,
        "the image decoder {state}: retry in a moment",
        retry_delay_s=_RETRY_S,
        state=state,
    )
