"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial

from clipstyler.events import Warning
from clipstyler.footprint import footprint
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageError, ImageMetadata
from clipstyler.masking import Levels, pixels_left
from clipstyler.options import ConfigError
from clipstyler.original import result_size
from clipstyler.spec import SpecLimits, StylizationSpec, resolve_spec
from clipstyler_server.errors import Reason, ServiceError, Violation, invalid
from clipstyler_server.identity.roles import Principal, Role
from clipstyler_server.jobs.drafts import Drafts
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.intake import Intake
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import draining_error, invalid_spec, spec_violations
from clipstyler_server.jobs.job_request import JobRequest, PhotoRequest
from clipstyler_server.jobs.photos import Photo, stored_photo
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import dump_metadata, dump_spec, dump_warnings, load_spec, load_warnings
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import JobTrace, Span, current_span, traced
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import SEQUENCE_STRIDE, Record, State
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import Decoded, ImageDecoder

_GB = 1e9


class Admission:
    """Turns a request into an accepted job.

    Parameters
    ----------
    settings
        Limits and deadlines.
    scheduler
        Has the engine.
    intake
        Takes the job.
    drafts
        Know whether a draft can be drawn as asked for.
    decoder
        Decodes photo and mask in processes of their own.
    storage, room
        Store the job before it is accepted.
    metrics
        Counts photos.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        intake: Intake,
        drafts: Drafts,
        decoder: ImageDecoder,
        storage: Storage,
        room: Room,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._intake = intake
        self._drafts = drafts
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
        """Check a request, decode its photo and its mask, store the job and put it into the queue.

        What costs little comes first: fields, a place in the queue. Only then are the images looked at.

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
        await self._drafts.check(spec, caller)
        with self._intake.reserve(caller):
            photo, mask = await self._images(request, caller)
            others = await self._others(request, caller)
            decoded = await self._decoded(photo, request, caller, spec)
            levels, spec = await self._masked(mask, caller, spec, decoded)
            output_limit = self._output_limit(caller)
            warnings = self._warnings(spec, decoded, output_limit, request.timeout_s)
            spec = _fitted(spec, decoded, levels, output_limit)
            self._check_footprint(spec, decoded, len(others))
            await self._check_others(others, caller, spec)
            sent_bytes = sum(image.size for image in (photo, mask, *others) if image)
            job = Job(
                Job.new_id(),
                spec,
                decoded.picture,
                self._timeout_s(request.timeout_s),
                result_size=_result_size(spec, decoded),
                mask=levels,
                decode_s=decoded.decode_s,
                caller=caller,
                priority=request.priority,
                one_shot=one_shot,
                stored_bytes=sent_bytes,
                fitted_photos=0 if request.others is None else 1 + len(others),
                trace=JobTrace(parent, one_shot=one_shot, steps=spec.config.steps, size=spec.config.size),
                log_context=logs.context(),
            )
            self._intake.check_deadline(job)
            async with self._room.hold(caller, sent_bytes):
                with traced("store"):
                    await self._store(job, request, [photo, *others], mask, decoded, warnings)
            self._intake.accept(job, warnings)
        self._metrics.photo_accepted(sent_bytes)
        return job

    async def resume(self, record: Record) -> None:
        """Put a stored job that waits back into the queue, unless it was cancelled meanwhile.

        It runs by its stored spec, whatever defaults and limits are now.

        Raises
        ------
        ServiceError
            It can no longer be run, because its photo, mask or encoders are gone, or the storage does not work.
        """
        job = await self.rebuild(record, record.sequence + SEQUENCE_STRIDE)
        async with self._storage.claiming:
            if await self._storage.write(self._storage.database.renumber, record.id, job.sequence):
                logs.get_logger().info("job_resumed", job_id=record.id, attempts=record.attempts)
                self._scheduler.accept(job, load_warnings(record.warnings))

    async def rebuild(self, record: Record, first_sequence: int, lease: str = "") -> Job:
        """Make a job of what is stored of it.

        Parameters
        ----------
        record
            What is stored.
        first_sequence
            Number after which its events begin.
        lease
            Under which this server has claimed it; empty if it has its jobs for itself.

        Raises
        ------
        ServiceError
            It can no longer be run, because its photo or its encoders are gone, or the storage does not work.
        """
        spec = load_spec(record.spec)
        self._check_encoders(spec)
        caller = Caller(record.account, record.client, Principal(record.tenant, Role.USER))
        photo = await stored_photo(self._storage, record.content, "spec.image")
        decoded = await self._decoded(photo, None, caller, spec)
        mask = await stored_photo(self._storage, record.mask, "spec.region.mask") if record.mask else None
        levels, spec = await self._masked(mask, caller, spec, decoded)
        return Job(
            record.id,
            spec,
            decoded.picture,
            max(0.0, record.deadline_at - self._storage.now()),
            result_size=_result_size(spec, decoded),
            mask=levels,
            decode_s=decoded.decode_s,
            caller=caller,
            priority=record.priority,
            one_shot=False,
            attempts=record.attempts,
            first_sequence=first_sequence,
            stored_bytes=record.stored_bytes,
            fitted_photos=record.fitted_photos,
            lease=lease,
            trace=JobTrace(current_span(), attempts=record.attempts),
        )

    async def _images(self, request: JobRequest, caller: Caller) -> tuple[Photo, Photo | None]:
        """Find photo and mask; if neither is stored, both are named."""
        try:
            photo = await self._found(request.photo, "spec.upload", caller)
        except ServiceError as error:
            others = await self._problems(self._mask(request, caller), "region.mask", caller)
            raise (
                invalid(*error.details.violations, *others) if error.reason is Reason.INVALID_FIELD else error
            ) from None
        return photo, await self._mask(request, caller)

    async def _mask(self, request: JobRequest, caller: Caller) -> Photo | None:
        return await self._found(request.mask, "spec.region.upload", caller) if request.mask else None

    async def _others(self, request: JobRequest, caller: Caller) -> list[Photo]:
        asked = enumerate(request.others or (), 1)
        return [await self._found(other, f"photos[{number}].upload", caller) for number, other in asked]

    async def _found(self, asked: PhotoRequest, field: str, caller: Caller) -> Photo:
        if asked.upload:
            return await stored_photo(self._storage, asked.upload, field, caller.scope)
        return Photo(asked.image, len(asked.image))

    async def _resolved(self, request: JobRequest, caller: Caller) -> StylizationSpec:
        """Resolve a request; if fields are bad, the images' headers are checked too, so that all are named at once."""
        info = self._scheduler.devices.info
        assert info is not None  # an engine that is ready has described itself
        calibrations = {encoders.name: encoders.calibration for encoders in info.encoder_sets}
        violations = list(request.violations)
        try:
            spec = resolve_spec(request.spec, calibrations, self._limits_of(caller))
        except ConfigError as error:
            violations += spec_violations(error.violations)
        if violations:
            raise invalid(*violations, *await self._image_violations(request, caller))
        return spec

    async def _image_violations(self, request: JobRequest, caller: Caller) -> tuple[Violation, ...]:
        """Return what is wrong with the images at the first look, besides names of uploads that are none."""
        named = {violation.field for violation in request.violations}
        found: tuple[Violation, ...] = ()
        try:
            with self._intake.reserve(caller):
                if "spec.upload" not in named:
                    found += await self._problems(self._found(request.photo, "spec.upload", caller), "image", caller)
                if "spec.region.upload" not in named:
                    found += await self._problems(self._mask(request, caller), "region.mask", caller)
        except ServiceError:
            # Without a place to look at them there is nothing to say: the other fields are bad anyway.
            return found
        return found

    async def _problems(self, finding: Awaitable[Photo | None], field: str, caller: Caller) -> tuple[Violation, ...]:
        try:
            if image := await finding:
                await self._decoder.inspect(image.source, caller.account)
        except ImageError as error:
            return spec_violations((Violation(field, str(error)),))
        except ServiceError as error:
            return error.details.violations
        return ()

    async def _decoded(
        self, photo: Photo, request: JobRequest | None, caller: Caller, spec: StylizationSpec
    ) -> Decoded:
        """Decode a photo; if that fails, the mask of its request is looked at too, so that both are named."""
        try:
            with traced("decode", bytes=photo.size):
                return await self._decoder.decode(photo.source, caller.account, spec.config.size, spec.config.enlarge)
        except ImageError as error:
            others = await self._problems(self._mask(request, caller), "region.mask", caller) if request else ()
            raise invalid(*spec_violations((Violation("image", str(error)),)), *others) from error

    async def _masked(
        self, mask: Photo | None, caller: Caller, spec: StylizationSpec, decoded: Decoded
    ) -> tuple[Levels | None, StylizationSpec]:
        """Decode a mask at the size of the decoded photo, and note its digest in the spec."""
        if mask is None or spec.region is None:
            return None, spec
        header, picture = decoded.header, decoded.picture
        try:
            with traced("decode", bytes=mask.size):
                levels, digest = await self._decoder.read_mask(
                    mask.source, caller.account, (header.width, header.height), (picture.width, picture.height)
                )
        except ImageError as error:
            raise invalid_spec(Violation("region.mask", str(error))) from error
        return levels, replace(spec, region=replace(spec.region, mask_digest=digest))

    async def _check_others(self, photos: list[Photo], caller: Caller, spec: StylizationSpec) -> None:
        """Raise `ServiceError` INVALID_FIELD for further photos that no style can be fitted to, naming each."""
        violations = []
        for number, photo in enumerate(photos, 1):
            try:
                picture = (await self._decoded(photo, None, caller, spec)).picture
                spec.config.crop_side(picture.width, picture.height)
            except ConfigError as problem:
                violations.append(Violation(f"photos[{number}]", problem.problem))
            except ServiceError as problem:
                if problem.reason is not Reason.INVALID_FIELD:
                    raise
                violations += [Violation(f"photos[{number}]", found.problem) for found in problem.details.violations]
        if violations:
            raise invalid(*violations)

    def _check_footprint(self, spec: StylizationSpec, decoded: Decoded, others: int) -> None:
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
            len(spec.texts),
            others,
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

    async def _store(
        self,
        job: Job,
        request: JobRequest,
        photos: list[Photo],
        mask: Photo | None,
        decoded: Decoded,
        warnings: tuple[Warning, ...],
    ) -> None:
        """Store a job; from here on it is all or nothing, also if the caller leaves meanwhile."""
        if self._scheduler.draining:
            raise draining_error()
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
            writing.add_done_callback(partial(self._caller_left, job))
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

    def _caller_left(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Nothing waits for a job that was just stored: a durable one runs, one that belongs to a call does not."""
        if writing.cancelled() or writing.exception():
            return
        self._intake.accept(job)
        if job.one_shot:
            self._intake.cancel(job, CancelReason.CALLER_LEFT)

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


def _fitted(spec: StylizationSpec, decoded: Decoded, mask: Levels | None, output_limit: int) -> StylizationSpec:
    """Fill in what depends on the photo and its region: the crop size, and the size of the result."""
    output_size = min(max(_result_size(spec, decoded)), output_limit)
    size = (decoded.picture.width, decoded.picture.height)
    try:
        config = spec.config.fitted(*size, pixels_left(spec.region, mask, size))
    except ConfigError as error:
        raise invalid_spec(*error.violations) from error
    return replace(spec, config=replace(config, output_size=output_size))


def _result_size(spec: StylizationSpec, decoded: Decoded) -> tuple[int, int]:
    return result_size(spec.config, decoded.header.width, decoded.header.height)
