"""An engine whose results may have another size than the optimization: it fetches photo and mask at their size."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from clipstyler.events import Result
from clipstyler.imaging import ImageError
from clipstyler_server.errors import ServiceError, internal
from clipstyler_server.jobs.photos import stored_photo
from clipstyler_server.jobs.stored_forms import load_metadata
from clipstyler_server.observability.traces import traced
from clipstyler_server.spool import MaskFile, PixelFile, Spool, remove
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.engine import EngineEvent, Task, TaskFailed
from clipstyler_server.workers.optimizer.pool import OptimizerPool


@dataclass
class _Run:
    """One run of a task, and where its images are decoded to."""

    task: Task
    photo: Path
    mask: Path
    others: list[Path]
    is_over: bool = False

    @property
    def files(self) -> list[Path]:
        """All of these."""
        return [self.photo, self.mask, *self.others]


class FullSizeEngine:
    """Has the stored images of a task decoded at the size of its result, into files, while the steps are made.

    Parameters
    ----------
    engine
        Does the work.
    decoder, storage
        Of photos.
    spool
        Where their pixels are kept until the task has ended.
    """

    def __init__(self, engine: OptimizerPool, decoder: ImageDecoder, storage: Storage, spool: Spool) -> None:
        self._engine = engine
        self._decoder = decoder
        self._storage = storage
        self._spool = spool
        self._numbers = itertools.count(1)
        self._cleaning: set[asyncio.Task[None]] = set()

    def cancel(self, job_id: str) -> None:
        """Stop a task within one step or one tile."""
        self._engine.cancel(job_id)

    async def run(self, task: Task) -> AsyncGenerator[EngineEvent, None]:
        """Run a task and stream its events, the result last.

        Raises
        ------
        ServiceError
            The photo could not be fetched, and that is not its own fault.
        """
        run = self._new_run(task)
        providing = asyncio.create_task(self._provide(run))
        has_result = False
        try:
            async with aclosing(self._engine.run(task)) as events:
                async for event in events:
                    has_result = has_result or isinstance(event, Result)
                    yield event
        except TaskFailed:
            if providing.done() and (problem := providing.result()):
                raise problem from None
            raise
        finally:
            run.is_over = True
            if not has_result:  # now: the next run of the job writes to the same place
                await asyncio.to_thread(remove, self._spool.result(task.job_id))
            cleaning = asyncio.create_task(_clean(providing, run.files))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaning.discard)

    def _new_run(self, task: Task) -> _Run:
        number = next(self._numbers)
        others = [self._spool.photo(task.job_id, next(self._numbers)) for _ in range(task.other_photos)]
        return _Run(task, self._spool.photo(task.job_id, number), self._spool.mask(task.job_id, number), others)

    async def _provide(self, run: _Run) -> ServiceError | None:
        """Hand photos and mask to the engine, or a problem; returns one that none of them is to blame for."""
        task = run.task
        if not (task.needs_original or run.others):
            return None
        number = min(len(run.others), 1)
        try:
            record = await self._storage.read(self._storage.database.get, task.job_id)
            if record is None:
                raise internal(task.job_id)
            for number, (digest, path) in enumerate(zip(record.other_photos.split(), run.others, strict=True), 1):
                pixels = await self._pixels(record, digest, task, task.spec.config.size, path)
                self._hand_over(run, pixels, number=number)
            number = 0
            if task.needs_original:
                pixels = await self._pixels(record, record.content, task, max(task.result_size), run.photo)
                self._hand_over(run, pixels, await self._mask(record, task, run.mask))
        except ImageError as error:
            self._hand_over(run, str(error), number=number)
        except ServiceError as error:
            self._hand_over(run, error.details.message, number=number)
            return error
        return None

    def _hand_over(self, run: _Run, photo: PixelFile | str, mask: MaskFile | None = None, number: int = 0) -> None:
        """Hand over a photo, unless its run is over: the job may run again, with files of that run."""
        if not run.is_over:
            self._engine.provide(run.task.job_id, photo, mask, number)

    async def _pixels(self, record: Record, digest: str, task: Task, size: int, target: Path) -> PixelFile:
        photo = await stored_photo(self._storage, digest, "spec.image")
        with traced("extract", bytes=photo.size):
            enlarge = task.spec.config.enlarge
            return await self._decoder.extract(photo.source, record.account, size, enlarge, target)

    async def _mask(self, record: Record, task: Task, target: Path) -> MaskFile | None:
        if record.mask is None:
            return None
        mask = await stored_photo(self._storage, record.mask, "spec.region.mask")
        photo = load_metadata(record.content_metadata)
        shape = (photo.width, photo.height)
        with traced("extract", bytes=mask.size):
            return await self._decoder.extract_mask(mask.source, record.account, shape, task.result_size, target)


async def _clean(providing: asyncio.Task[ServiceError | None], files: list[Path]) -> None:
    """Delete files once nothing writes them any more: a decoder finishes what it began."""
    await asyncio.wait([providing])
    for path in files:
        await asyncio.to_thread(remove, path)
