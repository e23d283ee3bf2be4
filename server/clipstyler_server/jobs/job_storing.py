"""Stores an admitted job with its images, before it is accepted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from clipstyler.events import Warning
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageMetadata
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.intake import Intake
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_request import JobRequest
from clipstyler_server.jobs.photos import Photo
from clipstyler_server.jobs.stored_forms import dump_metadata, dump_spec, dump_warnings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded


class JobStoring:
    """Stores jobs.

    Parameters
    ----------
    storage
        Where they are stored.
    intake
        Takes them, also if their callers leave meanwhile.
    """

    def __init__(self, storage: Storage, intake: Intake) -> None:
        self._storage = storage
        self._intake = intake

    async def store(
        self,
        job: Job,
        request: JobRequest,
        photos: list[Photo],
        mask: Photo | None,
        decoded: Decoded,
        warnings: tuple[Warning, ...],
    ) -> None:
        """Store a job; from here on it is all or nothing, also if the caller leaves meanwhile."""
        now = self._storage.now()
        record = Record(
            id=job.id,
            request_id=request.request_id or None,
            payload_digest="",
            tenant=job.caller.tenant,
            account=job.caller.account,
            client=job.caller.name,
            priority=job.priority,
            one_shot=job.one_shot,
            state=State.QUEUED,
            created_at=now,
            deadline_at=now + job.remaining_s,
            spec=dump_spec(job.spec),
            content="",
            content_metadata="",
            stored_bytes=job.stored_bytes,
            fitted_photos=job.fitted_photos,
            lease_owner=self._storage.owner,
            lease_until=now + job.remaining_s,
            warnings=dump_warnings(warnings),
        )
        work = partial(self._write, record, job.caller, request, photos, mask, decoded)
        writing = asyncio.ensure_future(self._storage.write(work))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(partial(self._caller_left, job, warnings))
            raise
        except ServiceError as error:
            self._failed(job, warnings, error)
            raise

    def _write(
        self,
        record: Record,
        caller: Caller,
        request: JobRequest,
        photos: list[Photo],
        mask: Photo | None,
        decoded: Decoded,
    ) -> None:
        (content, *others), mask_digest = [photo.name() for photo in photos], mask.name() if mask else None
        header = decoded.header
        known = {image_format.value: image_format for image_format in ImageFormat}
        metadata = ImageMetadata(known.get(header.format.lower()), header.width, header.height, photos[0].size, content)
        described = replace(
            record,
            payload_digest=request.digest(content, mask_digest or ""),
            content=content,
            mask=mask_digest,
            other_photos=" ".join(others),
            content_metadata=dump_metadata(metadata),
        )
        images = dict(zip([content, *others], photos, strict=True))
        images |= {mask_digest: mask} if mask and mask_digest else {}
        with self._storage.database.holding(*images):
            for digest, image in images.items():
                image.store(self._storage, digest)
                self._storage.database.use_upload(record.tenant, digest, record.created_at)
            self._intake.create(described, caller)

    def _caller_left(self, job: Job, warnings: tuple[Warning, ...], writing: asyncio.Future[None]) -> None:
        """Nothing waits for a job that was just stored: a durable one runs, one that belongs to a call does not."""
        if writing.cancelled():
            return
        if problem := writing.exception():
            self._failed(job, warnings, problem)
            return
        self._intake.accept(job, warnings)
        if job.one_shot:
            self._intake.cancel(job, CancelReason.CALLER_LEFT)

    def _failed(self, job: Job, warnings: tuple[Warning, ...], problem: BaseException) -> None:
        """Look after a job that was not stored; that may be in doubt."""
        if isinstance(problem, ServiceError) and problem.reason is Reason.STORAGE_UNAVAILABLE:
            self._intake.reconcile(job, warnings, problem)
