"""Applies styles to photos beside the queue of stylizations: a bounded number at a time, callers in turn."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipstyler.image_format import ImageFormat
from clipstyler.imaging import EncodedImage, ImageError, ImageFile, Picture
from clipstyler.style_controls import StyleControls
from clipstyler_server.errors import Reason, ServiceError, Violation, error, invalid
from clipstyler_server.jobs.job_errors import crash_error, deadline_error
from clipstyler_server.jobs.photos import Photo
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.style_store import style_not_found
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller, FairBudget, Lease
from clipstyler_server.spool import PixelFile, Spool, remove, write_pixels
from clipstyler_server.storage.storage import full_error, unavailable_error
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.engine import EngineLost, FailureKind, StopCause, TaskFailed, TaskStopped
from clipstyler_server.workers.optimizer.applications import StyleFile, StyleFileError
from clipstyler_server.workers.optimizer.pool import OptimizerPool
from clipstyler_server.workers.turns import see_through

# Photos that are decoded, drawn or sent at the same time: each has two files in the spool.
_PLACES = 4

Provide = Callable[[Path], Coroutine[Any, Any, PixelFile]]
"""Writes the pixels of a photo to a file."""


@dataclass(frozen=True)
class Application:
    """How the photos of a call are stylized."""

    style: StyleFile
    second: StyleFile | None
    controls: StyleControls
    result_format: ImageFormat


class StyleLane:
    """Has photos decoded, stylized and encoded, in files.

    Parameters
    ----------
    settings
        Limits and deadlines.
    scheduler
        Knows whether the server takes work.
    optimizers
        Apply styles.
    decoder
        Decodes photos.
    spool
        Where the files lie until the result was sent.
    metrics
        Counts photos.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        optimizers: OptimizerPool,
        decoder: ImageDecoder,
        spool: Spool,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._optimizers = optimizers
        self._decoder = decoder
        self._spool = spool
        self._metrics = metrics
        self._places = FairBudget(_PLACES, settings.caller_share)
        self._numbers = itertools.count(1)
        self._cleaning: set[asyncio.Task[None]] = set()
        metrics.watch("style_applications", "Photos that styles are applied to now.", lambda: self.in_work)

    @property
    def in_work(self) -> int:
        """Number of photos that are decoded, drawn or sent now."""
        return self._places.used

    @asynccontextmanager
    async def stylized(
        self, application: Application, photo: Photo, caller: Caller, timeout_s: float | None
    ) -> AsyncIterator[ImageFile]:
        """Apply a style to a photo; its result is kept for the duration of the block.

        Raises
        ------
        ServiceError
            INVALID_FIELD: the photo cannot be used. WORKER_NOT_READY, DRAINING, WORKER_CRASHED, DEADLINE_EXCEEDED,
            STYLE_NOT_FOUND, STORAGE_DAMAGED, OUT_OF_MEMORY, STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        limit_s = min(timeout_s or self._settings.default_deadline_s, self._settings.max_deadline_s)
        most = caller.limits.output_limit(self._settings.max_output_size)
        size = min(application.controls.output_size or most, most)

        async def extract(target: Path) -> PixelFile:
            try:
                return await self._decoder.extract(photo.source, caller.account, size, False, target)
            except ImageError as problem:
                raise invalid(Violation(photo.field or "photo", str(problem))) from problem

        fitted = replace(application, controls=replace(application.controls, output_size=0))
        async with self._lent(fitted, extract, caller, limit_s) as image:
            yield image

    async def redrawn(
        self, application: Application, picture: Picture, caller: Caller, timeout_s: float
    ) -> EncodedImage:
        """Apply a style to a photo that was decoded already; returns a result that fits into memory.

        Raises
        ------
        ServiceError
            As `stylized`.
        OSError
            The spool cannot be used.
        """

        async def write(target: Path) -> PixelFile:
            return await asyncio.to_thread(write_pixels, picture, target)

        async with self._lent(application, write, caller, timeout_s) as image:
            return await asyncio.to_thread(_in_memory, image)

    @asynccontextmanager
    async def _lent(
        self, application: Application, provide: Provide, caller: Caller, limit_s: float
    ) -> AsyncIterator[ImageFile]:
        """Apply a style in one of the places, which is held for the duration of the block."""
        deadline = time.monotonic() + limit_s
        lease = await self._places.take(caller.account, 1)
        number = next(self._numbers)
        files = [self._spool.photo("style", number), self._spool.result(f"style-{number}")]
        work = asyncio.create_task(self._work(application, provide, deadline, files))
        try:
            yield await self._ended(work)
        finally:
            work.cancel()
            cleaning = asyncio.create_task(_clean(work, files, lease))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaning.discard)

    async def _ended(self, work: asyncio.Task[ImageFile]) -> ImageFile:
        begun = time.monotonic()
        try:
            image = await asyncio.shield(work)
        except ServiceError as problem:
            self._metrics.style_applied(problem.reason.lower(), time.monotonic() - begun)
            raise
        self._metrics.style_applied("succeeded", time.monotonic() - begun)
        return image

    async def _work(self, application: Application, provide: Provide, deadline: float, files: list[Path]) -> ImageFile:
        """Fetch and stylize a photo. Cancelled, it ends once nothing writes its files any more."""
        self._scheduler.check_open()
        pixels_at, result_at = files
        pixels = await see_through(provide(pixels_at))
        try:
            return await self._optimizers.for_style().apply(
                application.style,
                application.second,
                application.controls,
                pixels,
                application.result_format,
                result_at,
                max(0.0, deadline - time.monotonic()),
            )
        except TaskStopped as stopped:
            raise (deadline_error() if stopped.cause is StopCause.DEADLINE else _cancelled()) from None
        except TaskFailed as failed:
            raise _failure(failed) from None
        except StyleFileError as problem:
            raise _unusable(problem) from None
        except EngineLost as lost:
            raise crash_error(lost.problem) from None


def _in_memory(image: ImageFile) -> EncodedImage:
    described = image.metadata
    assert described.format is not None  # it was encoded here
    digest = bytes.fromhex(described.sha256)
    return EncodedImage(image.path.read_bytes(), described.format, described.width, described.height, digest)


async def _clean(work: asyncio.Task[ImageFile], files: list[Path], lease: Lease) -> None:
    """Delete files once nothing writes them any more, then give their place away."""
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()
    for path in files:
        await asyncio.to_thread(remove, path)
    lease.release()


def _cancelled() -> ServiceError:
    return error(Reason.CANCELLED, "the call ended before the photo was stylized")


def _unusable(problem: StyleFileError) -> ServiceError:
    if problem.is_gone:
        return style_not_found(problem.digest)
    return error(Reason.STORAGE_DAMAGED, "styles/{digest} is damaged here: upload it again", digest=problem.digest)


def _failure(failed: TaskFailed) -> ServiceError:
    match failed.kind:
        case FailureKind.OUT_OF_MEMORY:
            return error(Reason.OUT_OF_MEMORY, "{problem}: request a smaller output_size", problem=failed.problem)
        case FailureKind.STORAGE_FULL:
            return full_error()
        case FailureKind.STORAGE_UNAVAILABLE:
            return unavailable_error()
        case _:
            return error(
                Reason.INTERNAL, "an unexpected error ({problem}), recorded in the server's log", problem=failed.problem
            )
