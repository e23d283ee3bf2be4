"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

from dataclasses import replace

from clipstyler.events import Warning
from clipstyler.footprint import footprint
from clipstyler.masking import Levels, pixels_left
from clipstyler.options import ConfigError
from clipstyler.original import result_size
from clipstyler.spec import SpecLimits, StylizationSpec, resolve_spec
from clipstyler_server.errors import ServiceError, Violation, invalid
from clipstyler_server.identity.roles import Principal, Role
from clipstyler_server.jobs.drafts import Drafts
from clipstyler_server.jobs.intake import Intake
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import draining_error, invalid_spec, spec_violations
from clipstyler_server.jobs.job_request import JobRequest
from clipstyler_server.jobs.job_storing import JobStoring
from clipstyler_server.jobs.photos import stored_photo
from clipstyler_server.jobs.request_images import RequestImages
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import load_spec, load_warnings
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import JobTrace, Span, current_span, traced
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import SEQUENCE_STRIDE, Record
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
        self._images = RequestImages(storage, decoder)
        self._storing = JobStoring(storage, intake)
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
            photo, mask, others = await self._images.find(request, caller)
            decoded = await self._images.decode(photo, request, caller, spec)
            levels, spec = await self._images.decode_mask(mask, caller, spec, decoded)
            output_limit = self._output_limit(caller)
            warnings = self._warnings(spec, decoded, output_limit, request.timeout_s)
            spec = _fitted(spec, decoded, levels, output_limit)
            self._check_footprint(spec, decoded, len(others))
            await self._images.check_others(others, caller, spec)
            images = [image for image in (photo, mask, *others) if image]
            sent_bytes = sum(image.size for image in images)
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
            arriving_bytes = sum(image.size for image in images if not image.digest)  # the others have their room
            stored = [image.digest for image in images if image.digest]
            async with self._room.hold(caller, arriving_bytes, stored):
                with traced("store"):
                    if self._scheduler.draining:
                        raise draining_error()
                    await self._storing.store(job, request, [photo, *others], mask, decoded, warnings)
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
        decoded = await self._images.decode(photo, None, caller, spec)
        mask = await stored_photo(self._storage, record.mask, "spec.region.mask") if record.mask else None
        levels, spec = await self._images.decode_mask(mask, caller, spec, decoded)
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
            lost_runs=record.lost_runs,
            first_sequence=first_sequence,
            stored_bytes=record.stored_bytes,
            fitted_photos=record.fitted_photos,
            lease=lease,
            trace=JobTrace(current_span(), attempts=record.attempts),
        )

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
        """Look at the images, if there is a place to do so: the other fields are bad anyway."""
        try:
            with self._intake.reserve(caller):
                return await self._images.first_look(request, caller)
        except ServiceError:
            return ()

    def _check_footprint(self, spec: StylizationSpec, decoded: Decoded, others: int) -> None:
        """Raise `ServiceError` INVALID_FIELD for a stylization that would take too much memory."""
        info, limit = self._scheduler.devices.info, self._settings.memory_bytes_per_job
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
            info.device.partition(":")[0] if info else "cpu",
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
