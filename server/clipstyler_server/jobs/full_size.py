"""An engine whose results may have another size than the optimization: it fetches photo and mask at their size."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from clipstyler.events import Result
from clipstyler.imaging import ImageError
from clipstyler_server.errors import ServiceError, internal
from clipstyler_server.jobs.photos import stored_photo
from clipstyler_server.jobs.stored_forms import load_metadata
from clipstyler_server.observability.traces import traced
from clipstyler_server.spool import MaskFile, Spool, remove
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.engine import EngineEvent, Task, TaskFailed
from clipstyler_server.workers.optimizer.pool import OptimizerPool


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
        number = next(self._numbers)
        targets = [self._spool.photo(task.job_id, number), self._spool.mask(task.job_id, number)]
        providing = asyncio.create_task(self._provide(task, *targets))
        useless = [*targets, self._spool.result(task.job_id)]
        try:
            async with aclosing(self._engine.run(task)) as events:
                async for event in events:
                    if isinstance(event, Result):
                        useless = targets
                    yield event
        except TaskFailed:
            if providing.done() and (problem := providing.result()):
                raise problem from None
            raise
        finally:
            cleaning = asyncio.create_task(_clean(providing, useless))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaning.discard)

    async def _provide(self, task: Task, target: Path, mask_target: Path) -> ServiceError | None:
        """Hand photo and mask to the engine, or a problem; returns one that neither is to blame for."""
        if not task.needs_original:
            return None
        try:
            record = await self._storage.read(self._storage.database.get, task.job_id)
            if record is None:
                raise internal(task.job_id)
            photo = await stored_photo(self._storage, record.content, "spec.image")
            size, enlarge = max(task.result_size), task.spec.config.enlarge
            with traced("extract", bytes=photo.size):
                pixels = await self._decoder.extract(photo.source, record.account, size, enlarge, target)
            mask = await self._mask(record, task, mask_target)
        except ImageError as error:
            self._engine.provide(task.job_id, str(error))
        except ServiceError as error:
            self._engine.provide(task.job_id, error.details.message)
            return error
        else:
            self._engine.provide(task.job_id, pixels, mask)
        return None

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
