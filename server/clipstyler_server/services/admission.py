"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from functools import partial

from clipstyler.imaging import ImageError
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest
from clipstyler_server import logs
from clipstyler_server.engine.base import Order
from clipstyler_server.engine.decoding import PhotoDecoder
from clipstyler_server.errors import Violation, invalid
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.jobs.events import CancelReason, Warned
from clipstyler_server.jobs.failures import draining_error
from clipstyler_server.jobs.model import SEQUENCE_STRIDE, Job
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.jobs.storage import Storage
from clipstyler_server.services.from_proto import UPLOADS, Wish, read_priority, read_request
from clipstyler_server.settings import Settings
from clipstyler_server.telemetry import Metrics


@dataclass(frozen=True)
class Caller:
    """Who asks, for how long, and whether the job ends with the call."""

    client: str
    remaining_s: float | None
    one_shot: bool


class Admission:
    """Turns a request into an accepted job.

    Parameters
    ----------
    settings
        The limits.
    dispatcher
        Takes the job.
    decoder
        Decodes the photo, apart from the front.
    storage
        Where the job is written down before it is accepted.
    metrics
        Where photos are counted.
    """

    def __init__(
        self, settings: Settings, dispatcher: Dispatcher, decoder: PhotoDecoder, storage: Storage, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._decoder = decoder
        self._storage = storage
        self._metrics = metrics

    async def admit(self, request: CreateStylizationRequest, caller: Caller) -> Job:
        """Check a request, decode its photo, write the job down and put it into the queue.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, DRAINING, QUEUE_FULL, DEADLINE_UNREACHABLE, STORAGE_FULL or
            STORAGE_UNAVAILABLE.
        sqlalchemy.exc.IntegrityError
            There is a job of this request id.
        """
        self._dispatcher.check_open()
        priority = read_priority(request)
        photo = await self._photo(request)
        digest = await asyncio.to_thread(payload_digest, request)
        wish = self._wish(request, photo)
        with self._dispatcher.reserve():
            order, decode_s = await self._order(Job.new_id(), wish, photo, self._timeout_s(caller.remaining_s))
            job = Job(order, decode_s, client=caller.client, priority=priority, one_shot=caller.one_shot)
            job.stored_bytes = len(photo)
            self._dispatcher.check_deadline(job)
            # From here on it is all or nothing, also when the caller leaves meanwhile.
            writing = asyncio.ensure_future(self._write_down(job, request, photo, digest))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                writing.add_done_callback(partial(self._left, job))
                raise
            self._dispatcher.accept(job, self._warnings(wish, caller.remaining_s))
        self._metrics.photo_accepted(len(photo))
        return job

    async def restore(self, record: Record) -> None:
        """Take up a stored job that waits, unless it was cancelled meanwhile.

        Raises
        ------
        ServiceError
            It cannot be run any more, as its photo or its encoders are gone, or the storage does not work.
        """
        request = CreateStylizationRequest.FromString(record.request)
        photo = await self._stored(record.content, "image")
        wish = self._wish(request, photo)
        order, decode_s = await self._order(record.id, wish, photo, max(0.0, record.deadline_at - time.time()))
        job = Job(
            order,
            decode_s,
            client=record.client,
            priority=record.priority,
            one_shot=False,
            attempts=record.attempts,
            first_sequence=record.sequence + SEQUENCE_STRIDE,
        )
        job.stored_bytes = len(photo)
        async with self._storage.claiming:
            if await self._storage.run(self._storage.store.renumber, record.id, job.sequence):
                logs.get_logger().info("job_taken_up", job_id=record.id, attempts=record.attempts)
                self._dispatcher.accept(job)

    def _left(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Nobody waits for a job that was just written down: a durable one is run, a call's is not."""
        if writing.cancelled() or writing.exception():
            return
        self._dispatcher.accept(job)
        if job.one_shot:
            self._dispatcher.cancel(job, CancelReason.CALLER_LEFT)

    async def _photo(self, request: CreateStylizationRequest) -> bytes:
        if not request.upload:
            return request.image
        if request.image:
            raise invalid(Violation("upload", "cannot go together with image: give one of them"))
        return await self._stored(request.upload.removeprefix(UPLOADS), "upload")

    async def _stored(self, digest: str, field: str) -> bytes:
        photo = await self._storage.look(self._storage.images.get, digest)
        if photo is None:
            raise invalid(Violation(field, "is not stored here, or not any more: upload it again"))
        return photo

    def _wish(self, request: CreateStylizationRequest, photo: bytes) -> Wish:
        info = self._dispatcher.engine.info
        assert info is not None  # a worker that is ready has said what it is
        return read_request(request, photo, info.encoders, self._settings)

    async def _order(self, job_id: str, wish: Wish, photo: bytes, timeout_s: float) -> tuple[Order, float]:
        try:
            decoded = await self._decoder.decode(photo, wish.config.size, wish.config.enlarge)
        except ImageError as error:
            raise invalid(Violation("image", str(error))) from error
        order = Order(
            job_id=job_id,
            picture=decoded.picture,
            style_text=wish.style_text,
            source_text=wish.source_text,
            encoders=wish.encoders,
            preset=wish.preset,
            config=wish.config,
            seed=wish.seed,
            previews=wish.previews,
            result_format=wish.result_format,
            timeout_s=timeout_s,
        )
        return order, decoded.decode_s

    async def _write_down(self, job: Job, request: CreateStylizationRequest, photo: bytes, digest: str) -> None:
        if self._dispatcher.draining:
            raise draining_error()
        stored = CreateStylizationRequest()
        stored.CopyFrom(request)
        stored.ClearField("image")
        stored.options.seed = job.order.seed
        now = time.time()
        await self._storage.run(self._store, job, stored, photo, digest, now)

    def _store(self, job: Job, request: CreateStylizationRequest, photo: bytes, digest: str, now: float) -> None:
        deadline_at = now + job.remaining_s
        content = self._storage.images.put(photo)
        self._storage.store.create(
            Record(
                id=job.id,
                request_id=request.request_id or None,
                payload_digest=digest,
                client=job.client,
                priority=job.priority,
                one_shot=job.one_shot,
                state=State.QUEUED,
                created_at=now,
                deadline_at=deadline_at,
                request=request.SerializeToString(),
                content=content,
                stored_bytes=len(photo),
                lease_owner=self._storage.owner,
                lease_until=deadline_at,
            )
        )

    def _timeout_s(self, remaining_s: float | None) -> float:
        if remaining_s is None:
            return min(self._settings.default_deadline_s, self._settings.max_deadline_s)
        return min(remaining_s, self._settings.max_deadline_s)

    def _warnings(self, wish: Wish, remaining_s: float | None) -> tuple[Warned, ...]:
        warnings = []
        longest = max(wish.header.width, wish.header.height)
        if longest < wish.config.size and not wish.config.enlarge:
            warnings.append(
                Warned(
                    "PHOTO_SMALLER_THAN_SIZE",
                    f"the photo's longest side has {longest} px, fewer than the size of {wish.config.size}: "
                    "it keeps its size; set options.enlarge to have it enlarged",
                )
            )
        limit_s = self._settings.max_deadline_s
        if remaining_s is not None and remaining_s > limit_s:
            warnings.append(Warned("DEADLINE_SHORTENED", f"this server stops a job after {limit_s:g} s at the latest"))
        return tuple(warnings)


def payload_digest(request: CreateStylizationRequest) -> str:
    """Digest what is asked for; the id and the way in which the photo came do not count."""
    payload = CreateStylizationRequest()
    payload.CopyFrom(request)
    photo = request.upload.removeprefix(UPLOADS) if request.upload else hashlib.sha256(request.image).hexdigest()
    for field in ("image", "request_id", "upload"):
        payload.ClearField(field)
    return hashlib.sha256(photo.encode() + payload.SerializeToString(deterministic=True)).hexdigest()
