"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial

from clipstyler.events import Warning
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageError, ImageMetadata
from clipstyler.options import ConfigError
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler_server.errors import ServiceError, Violation
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.job import SEQUENCE_STRIDE, Job
from clipstyler_server.jobs.job_errors import draining_error, invalid_spec
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import dump_metadata, dump_spec, load_spec
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.settings import Settings
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded, ImageDecoder


@dataclass(frozen=True)
class JobRequest:
    """A request as the API read it.

    Attributes
    ----------
    spec
        What is asked for, unresolved.
    image, upload
        Bytes of the photo, or digest of an uploaded one; the other is empty.
    priority
        Class in the queue; larger runs first.
    timeout_s
        Seconds for waiting and running; None for the server's default.
    request_id
        The caller's; empty if there is none.
    """

    spec: SpecRequest
    image: bytes
    upload: str
    priority: int
    timeout_s: float | None = None
    request_id: str = ""

    def digest(self) -> str:
        """Digest what is asked for; neither the request id nor how the photo was sent counts."""
        photo = self.upload or hashlib.sha256(self.image).hexdigest()
        payload = [photo, asdict(self.spec), self.priority, self.timeout_s]
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Caller:
    """Who asks, and whether the job ends with the call."""

    client: str
    one_shot: bool


class Admission:
    """Turns a request into an accepted job.

    Parameters
    ----------
    settings
        Limits and deadlines.
    scheduler
        Accepts the job.
    decoder
        Decodes the photo in a process of its own.
    storage
        Stores the job before it is accepted.
    metrics
        Counts photos.
    """

    def __init__(
        self, settings: Settings, scheduler: Scheduler, decoder: ImageDecoder, storage: Storage, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._decoder = decoder
        self._storage = storage
        self._metrics = metrics
        self._limits = SpecLimits(
            options={"size": settings.max_size, "steps": settings.max_steps, "patches": settings.max_patches},
            previews={"max_size": settings.max_preview_size},
            text_characters=settings.max_text_characters,
        )

    async def admit(self, request: JobRequest, caller: Caller) -> Job:
        """Check a request, decode its photo, store the job and put it into the queue.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, DRAINING, QUEUE_FULL, DEADLINE_UNREACHABLE, STORAGE_FULL or
            STORAGE_UNAVAILABLE.
        sqlalchemy.exc.IntegrityError
            There is a job of this request id.
        """
        self._scheduler.check_open()
        photo = await self._photo(request)
        digest = await asyncio.to_thread(request.digest)
        spec = await self._resolved(request.spec, photo)
        with self._scheduler.reserve():
            decoded = await self._decoded(photo, spec)
            spec = _fitted(spec, decoded)
            job = Job(
                Job.new_id(),
                spec,
                decoded.picture,
                self._timeout_s(request.timeout_s),
                decode_s=decoded.decode_s,
                client=caller.client,
                priority=request.priority,
                one_shot=caller.one_shot,
                stored_bytes=len(photo),
            )
            self._scheduler.check_deadline(job)
            await self._store(job, request, photo, digest, decoded)
            self._scheduler.accept(job, self._warnings(spec, decoded, request.timeout_s))
        self._metrics.photo_accepted(len(photo))
        return job

    async def resume(self, record: Record) -> None:
        """Put a stored job that waits back into the queue, unless it was cancelled meanwhile.

        It runs by its stored spec, whatever defaults and limits are now.

        Raises
        ------
        ServiceError
            It can no longer be run, because its photo or its encoders are gone, or the storage does not work.
        """
        spec = load_spec(record.spec)
        self._check_encoders(spec)
        photo = await self._stored_photo(record.content, "image")
        decoded = await self._decoded(photo, spec)
        job = Job(
            record.id,
            spec,
            decoded.picture,
            max(0.0, record.deadline_at - time.time()),
            decode_s=decoded.decode_s,
            client=record.client,
            priority=record.priority,
            one_shot=False,
            attempts=record.attempts,
            first_sequence=record.sequence + SEQUENCE_STRIDE,
            stored_bytes=len(photo),
        )
        async with self._storage.claiming:
            if await self._storage.write(self._storage.database.renumber, record.id, job.sequence):
                logs.get_logger().info("job_resumed", job_id=record.id, attempts=record.attempts)
                self._scheduler.accept(job)

    async def _photo(self, request: JobRequest) -> bytes:
        return await self._stored_photo(request.upload, "upload") if request.upload else request.image

    async def _stored_photo(self, digest: str, field: str) -> bytes:
        photo = await self._storage.read(self._storage.blobs.get, digest)
        if photo is None:
            raise invalid_spec(Violation(field, "is not stored here, or no longer: upload it again"))
        return photo

    async def _resolved(self, request: SpecRequest, photo: bytes) -> StylizationSpec:
        """Resolve a request; if fields are bad, the photo's header is checked too, so that all are named at once."""
        info = self._scheduler.engine.info
        assert info is not None  # an engine that is ready has described itself
        calibrations = {encoders.name: encoders.calibration for encoders in info.encoder_sets}
        try:
            return resolve_spec(request, calibrations, self._limits)
        except ConfigError as error:
            raise invalid_spec(*error.violations, *await self._photo_violations(photo)) from error

    async def _photo_violations(self, photo: bytes) -> tuple[Violation, ...]:
        try:
            with self._scheduler.reserve():
                await self._decoder.inspect(photo)
        except ImageError as error:
            return (Violation("image", str(error)),)
        except ServiceError:
            return ()  # no place to look at it: the other fields are bad anyway
        return ()

    async def _decoded(self, photo: bytes, spec: StylizationSpec) -> Decoded:
        try:
            return await self._decoder.decode(photo, spec.config.size, spec.config.enlarge)
        except ImageError as error:
            raise invalid_spec(Violation("image", str(error))) from error

    def _check_encoders(self, spec: StylizationSpec) -> None:
        info = self._scheduler.engine.info
        known = [encoders.name for encoders in info.encoder_sets] if info else []
        if spec.encoder_set not in known:
            problem = f"{spec.encoder_set!r} is no longer loaded here: use one of {', '.join(known)}"
            raise invalid_spec(Violation("encoder_set", problem))

    async def _store(self, job: Job, request: JobRequest, photo: bytes, digest: str, decoded: Decoded) -> None:
        """Store a job; from here on it is all or nothing, also if the caller leaves meanwhile."""
        if self._scheduler.draining:
            raise draining_error()
        now = time.time()
        record = Record(
            id=job.id,
            request_id=request.request_id or None,
            payload_digest=digest,
            client=job.client,
            priority=job.priority,
            one_shot=job.one_shot,
            state=State.QUEUED,
            created_at=now,
            deadline_at=now + job.remaining_s,
            spec=dump_spec(job.spec),
            content="",
            content_metadata="",
            stored_bytes=len(photo),
            lease_owner=self._storage.owner,
            lease_until=now + job.remaining_s,
        )
        writing = asyncio.ensure_future(self._storage.write(self._write, record, photo, decoded))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(partial(self._caller_left, job))
            raise

    def _write(self, record: Record, photo: bytes, decoded: Decoded) -> None:
        content = self._storage.blobs.put(photo)
        header = decoded.header
        known = {image_format.value: image_format for image_format in ImageFormat}
        metadata = ImageMetadata(known.get(header.format.lower()), header.width, header.height, len(photo), content)
        self._storage.database.create(replace(record, content=content, content_metadata=dump_metadata(metadata)))

    def _caller_left(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Nothing waits for a job that was just stored: a durable one runs, one that belongs to a call does not."""
        if writing.cancelled() or writing.exception():
            return
        self._scheduler.accept(job)
        if job.one_shot:
            self._scheduler.cancel(job, CancelReason.CALLER_LEFT)

    def _timeout_s(self, asked_s: float | None) -> float:
        if asked_s is None:
            return min(self._settings.default_deadline_s, self._settings.max_deadline_s)
        return min(asked_s, self._settings.max_deadline_s)

    def _warnings(self, spec: StylizationSpec, decoded: Decoded, asked_s: float | None) -> tuple[Warning, ...]:
        warnings = []
        longest = max(decoded.header.width, decoded.header.height)
        if longest < spec.config.size and not spec.config.enlarge:
            warnings.append(
                Warning(
                    "PHOTO_SMALLER_THAN_SIZE",
                    f"the photo's longest side has {longest} px, fewer than the size of {spec.config.size}: "
                    "it keeps its size; set options.enlarge to enlarge it",
                )
            )
        limit_s = self._settings.max_deadline_s
        if asked_s is not None and asked_s > limit_s:
            warnings.append(Warning("DEADLINE_SHORTENED", f"this server stops a job after at most {limit_s:g} s"))
        return tuple(warnings)


def _fitted(spec: StylizationSpec, decoded: Decoded) -> StylizationSpec:
    """Fill in the crop size, which depends on the photo."""
    try:
        return replace(spec, config=spec.config.fitted(decoded.picture.width, decoded.picture.height))
    except ConfigError as error:
        raise invalid_spec(*error.violations) from error
