"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial

from clipstyler.events import Warning
from clipstyler.footprint import footprint
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageError, ImageMetadata
from clipstyler.options import ConfigError
from clipstyler.original import result_size
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler_server.errors import ServiceError, Violation, invalid
from clipstyler_server.identity.roles import Principal, Role
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.job import SEQUENCE_STRIDE, Job
from clipstyler_server.jobs.job_errors import draining_error, invalid_spec, spec_violations
from clipstyler_server.jobs.photos import Photo, stored_photo
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import dump_metadata, dump_spec, load_spec
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import JobTrace, Span, current_span, traced
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded, ImageDecoder

_GB = 1e9


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
    violations
        What cannot be used in the fields around the spec.
    """

    spec: SpecRequest
    image: bytes
    upload: str
    priority: int
    timeout_s: float | None = None
    request_id: str = ""
    violations: tuple[Violation, ...] = ()

    def digest(self, photo: str = "") -> str:
        """Digest what is asked for; neither the request id nor how the photo was sent counts.

        The SHA-256 of the photo may be known; computing it takes a moment.
        """
        photo = photo or self.upload or hashlib.sha256(self.image).hexdigest()
        payload = [photo, asdict(self.spec), self.priority, self.timeout_s]
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


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
    storage, room
        Store the job before it is accepted.
    metrics
        Counts photos.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        decoder: ImageDecoder,
        storage: Storage,
        room: Room,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._decoder = decoder
        self._storage = storage
        self._room = room
        self._metrics = metrics
        self._limits = SpecLimits(
            options={
                "size": settings.max_size,
                "output_size": settings.max_output_size,
                "steps": settings.max_steps,
                "patches": settings.max_patches,
                "crop_size": settings.max_size,
            },
            previews={"max_size": settings.max_preview_size},
            text_characters=settings.max_text_characters,
        )

    async def admit(self, request: JobRequest, caller: Caller, *, one_shot: bool) -> Job:
        """Check a request, decode its photo, store the job and put it into the queue.

        What costs little comes first: fields, a place in the queue. Only then is the photo looked at.

        Parameters
        ----------
        request, caller
            What is asked for, and by whom.
        one_shot
            Whether the job ends with the call.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, DRAINING, QUEUE_FULL, DEADLINE_UNREACHABLE, STORAGE_FULL or
            STORAGE_UNAVAILABLE.
        sqlalchemy.exc.IntegrityError
            There is a job of this request id.
        """
        parent = current_span()
        with traced("admission"):
            return await self._admit(request, caller, parent, one_shot)

    async def _admit(self, request: JobRequest, caller: Caller, parent: Span, one_shot: bool) -> Job:
        self._scheduler.check_open()
        spec = await self._resolved(request, caller)
        with self._scheduler.reserve(caller):
            photo = await self._photo(request, caller)
            decoded = await self._decoded(photo, caller, spec)
            output_limit = self._output_limit(caller)
            warnings = self._warnings(spec, decoded, output_limit, request.timeout_s)
            spec = _fitted(spec, decoded, output_limit)
            self._check_footprint(spec, decoded)
            job = Job(
                Job.new_id(),
                spec,
                decoded.picture,
                self._timeout_s(request.timeout_s),
                result_size=_result_size(spec, decoded),
                decode_s=decoded.decode_s,
                caller=caller,
                priority=request.priority,
                one_shot=one_shot,
                stored_bytes=photo.size,
                trace=JobTrace(parent, one_shot=one_shot, steps=spec.config.steps, size=spec.config.size),
                log_context=logs.context(),
            )
            self._scheduler.check_deadline(job)
            async with self._room.hold(caller, photo.size):
                with traced("store"):
                    await self._store(job, request, photo, decoded)
            self._scheduler.accept(job, warnings)
        self._metrics.photo_accepted(photo.size)
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
        caller = Caller(record.account, record.client, Principal(record.tenant, Role.USER))
        photo = await stored_photo(self._storage, record.content, "spec.image")
        decoded = await self._decoded(photo, caller, spec)
        job = Job(
            record.id,
            spec,
            decoded.picture,
            max(0.0, record.deadline_at - time.time()),
            result_size=_result_size(spec, decoded),
            decode_s=decoded.decode_s,
            caller=caller,
            priority=record.priority,
            one_shot=False,
            attempts=record.attempts,
            first_sequence=record.sequence + SEQUENCE_STRIDE,
            stored_bytes=photo.size,
            trace=JobTrace(current_span(), attempts=record.attempts),
        )
        async with self._storage.claiming:
            if await self._storage.write(self._storage.database.renumber, record.id, job.sequence):
                logs.get_logger().info("job_resumed", job_id=record.id, attempts=record.attempts)
                self._scheduler.accept(job)

    async def _photo(self, request: JobRequest, caller: Caller) -> Photo:
        if request.upload:
            return await stored_photo(self._storage, request.upload, "spec.upload", caller.scope)
        return Photo(request.image, len(request.image))

    async def _resolved(self, request: JobRequest, caller: Caller) -> StylizationSpec:
        """Resolve a request; if fields are bad, the photo's header is checked too, so that all are named at once."""
        info = self._scheduler.devices.info
        assert info is not None  # an engine that is ready has described itself
        calibrations = {encoders.name: encoders.calibration for encoders in info.encoder_sets}
        violations = list(request.violations)
        try:
            spec = resolve_spec(request.spec, calibrations, self._limits_of(caller))
        except ConfigError as error:
            violations += spec_violations(error.violations)
        if violations:
            raise invalid(*violations, *await self._photo_violations(request, caller))
        return spec

    async def _photo_violations(self, request: JobRequest, caller: Caller) -> tuple[Violation, ...]:
        if any(violation.field == "spec.upload" for violation in request.violations):
            return ()
        try:
            with self._scheduler.reserve(caller):
                photo = await self._photo(request, caller)
                await self._decoder.inspect(photo.source, caller.account)
        except ImageError as error:
            return spec_violations((Violation("image", str(error)),))
        except ServiceError as error:
            # Without a place to look at it there is nothing to say: the other fields are bad anyway.
            return error.details.violations
        return ()

    async def _decoded(self, photo: Photo, caller: Caller, spec: StylizationSpec) -> Decoded:
        try:
            with traced("decode", bytes=photo.size):
                return await self._decoder.decode(photo.source, caller.account, spec.config.size, spec.config.enlarge)
        except ImageError as error:
            raise invalid_spec(Violation("image", str(error))) from error

    def _check_footprint(self, spec: StylizationSpec, decoded: Decoded) -> None:
        """Raise `ServiceError` INVALID_FIELD for a stylization that would take too much memory."""
        info, limit = self._scheduler.devices.info, self._settings.max_job_memory_bytes
        known = {encoders.name: encoders.view_bytes for encoders in info.encoder_sets} if info else {}
        picture, config = decoded.picture, spec.config
        needed = footprint(
            config,
            picture.width,
            picture.height,
            known.get(spec.encoder_set, 0),
            _result_size(spec, decoded),
        )
        if limit and needed.total > limit:
            problem = (
                f"would take about {needed.total / _GB:.1f} GB of memory, {needed.image / _GB:.1f} of them for "
                f"{picture.width} x {picture.height} px and {needed.patches / _GB:.1f} for {config.patches} patches, "
                f"or {needed.result / _GB:.1f} for the result; a job of this server may take {limit / _GB:.1f} GB: "
                "reduce size, patches, crop_size or output_size"
            )
            raise invalid_spec(Violation(needed.option, problem))

    def _check_encoders(self, spec: StylizationSpec) -> None:
        info = self._scheduler.devices.info
        known = [encoders.name for encoders in info.encoder_sets] if info else []
        if spec.encoder_set not in known:
            problem = f"{spec.encoder_set!r} is no longer loaded here: use one of {', '.join(known)}"
            raise invalid_spec(Violation("encoder_set", problem))

    async def _store(self, job: Job, request: JobRequest, photo: Photo, decoded: Decoded) -> None:
        """Store a job; from here on it is all or nothing, also if the caller leaves meanwhile."""
        if self._scheduler.draining:
            raise draining_error()
        now = time.time()
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
            stored_bytes=photo.size,
            lease_owner=self._storage.owner,
            lease_until=now + job.remaining_s,
        )
        writing = asyncio.ensure_future(self._storage.write(self._write, record, request, photo, decoded))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(partial(self._caller_left, job))
            raise

    def _write(self, record: Record, request: JobRequest, photo: Photo, decoded: Decoded) -> None:
        content = photo.store(self._storage)
        self._storage.database.use_upload(record.tenant, content, record.created_at)
        header = decoded.header
        known = {image_format.value: image_format for image_format in ImageFormat}
        metadata = ImageMetadata(known.get(header.format.lower()), header.width, header.height, photo.size, content)
        described = replace(
            record,
            payload_digest=request.digest(content),
            content=content,
            content_metadata=dump_metadata(metadata),
        )
        self._storage.database.create(described)

    def _caller_left(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Nothing waits for a job that was just stored: a durable one runs, one that belongs to a call does not."""
        if writing.cancelled() or writing.exception():
            return
        self._scheduler.accept(job)
        if job.one_shot:
            self._scheduler.cancel(job, CancelReason.CALLER_LEFT)

    def _limits_of(self, caller: Caller) -> SpecLimits:
        """Return the limits of a caller's specs: its tenant's where they are stricter than the server's."""
        limits = caller.limits
        own = {
            "size": limits.max_size,
            "crop_size": limits.max_size,
            "output_size": self._output_limit(caller),
            "steps": limits.max_steps,
        }
        most = dict(self._limits.options or {})
        most |= {name: min(limit, most[name]) for name, limit in own.items() if limit is not None}
        return replace(self._limits, options=most)

    def _output_limit(self, caller: Caller) -> int:
        """Return the longest side that results of a caller may have, asked for or not."""
        return caller.limits.output_limit(self._settings.max_output_size)

    def _timeout_s(self, asked_s: float | None) -> float:
        if asked_s is None:
            return min(self._settings.default_deadline_s, self._settings.max_deadline_s)
        return min(asked_s, self._settings.max_deadline_s)

    def _warnings(
        self, spec: StylizationSpec, decoded: Decoded, output_limit: int, asked_s: float | None
    ) -> tuple[Warning, ...]:
        warnings = []
        longest = max(decoded.header.width, decoded.header.height)
        wanted = max(spec.config.size, spec.config.output_size)
        if longest < wanted and not spec.config.enlarge:
            warnings.append(
                Warning(
                    "PHOTO_SMALLER_THAN_SIZE",
                    f"the photo's longest side has {longest} px, fewer than the size of {wanted}: "
                    "it keeps its size; set options.enlarge to enlarge it",
                )
            )
        if max(_result_size(spec, decoded)) > output_limit:
            warnings.append(
                Warning(
                    "OUTPUT_LIMITED",
                    f"the photo's longest side has {longest} px, and results have at most {output_limit} px here: "
                    "the result has so many",
                )
            )
        limit_s = self._settings.max_deadline_s
        if asked_s is not None and asked_s > limit_s:
            warnings.append(Warning("DEADLINE_SHORTENED", f"this server stops a job after at most {limit_s:g} s"))
        return tuple(warnings)


def _fitted(spec: StylizationSpec, decoded: Decoded, output_limit: int) -> StylizationSpec:
    """Fill in what depends on the photo: the crop size, and the size of the result."""
    output_size = min(max(_result_size(spec, decoded)), output_limit)
    try:
        config = spec.config.fitted(decoded.picture.width, decoded.picture.height)
    except ConfigError as error:
        raise invalid_spec(*error.violations) from error
    return replace(spec, config=replace(config, output_size=output_size))


def _result_size(spec: StylizationSpec, decoded: Decoded) -> tuple[int, int]:
    return result_size(spec.config, decoded.header.width, decoded.header.height)
