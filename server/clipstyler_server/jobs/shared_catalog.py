"""All jobs of a database that servers share: what is stored, what runs here, and what waits for any of them."""

from __future__ import annotations

from collections.abc import Mapping

from clipstyler_server.jobs.catalog import Catalog, JobDescription
from clipstyler_server.jobs.events import Cancelled, CancelReason, Queued
from clipstyler_server.jobs.fronts import Fronts
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import dump_end, load_spec
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.shared_queue import SharedQueue
from clipstyler_server.storage.storage import Storage


class SharedCatalog(Catalog):
    """Reads and changes jobs of all servers.

    Parameters
    ----------
    storage, scheduler
        Of this server.
    fronts, queue
        This server among others, and what waits.
    """

    def __init__(self, storage: Storage, scheduler: Scheduler, fronts: Fronts, queue: SharedQueue) -> None:
        super().__init__(storage, scheduler)
        self._fronts = fronts
        self._queue = queue

    async def describe(self, job_id: str, scope: str | None) -> JobDescription:
        """Describe a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        record = await self.record(job_id, scope)
        if record.state is State.QUEUED and self.waiting(record) is None:  # it has just arrived
            await self._fronts.look()
        return self._described(record, self.waiting(record))

    def waiting(self, record: Record) -> Queued | None:
        """Return the position of a waiting job, as last seen; None if it was not seen waiting."""
        position = self._fronts.position(record.id)
        return None if position is None else Queued(position, load_spec(record.spec).seed)

    def _estimates(self, records: list[Record]) -> Mapping[str, Queued]:
        found = {record.id: self.waiting(record) for record in records}
        return {job_id: queued for job_id, queued in found.items() if queued}

    async def _cancel_stored(self, job_id: str, scope: str | None) -> None:
        """Cancel a job that waits, or that another server runs."""
        record = await self.record(job_id, scope)
        if not record.state.is_final:
            reason = CancelReason.REQUESTED
            end = dump_end(Cancelled(0, reason))
            await self._storage.write(self._queue.cancel, job_id, reason.value, end)
            self._fronts.notify()
