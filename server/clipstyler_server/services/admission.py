"""Admission: everything that can be refused is refused here, before the first message of a call."""

from __future__ import annotations

from clipstyler.imaging import ImageError
from clipstyler.v1.stylization_service_pb2 import StylizeRequest
from clipstyler_server.engine.base import Order
from clipstyler_server.engine.decoding import PhotoDecoder
from clipstyler_server.errors import Violation, invalid
from clipstyler_server.jobs.broadcast import Mailbox
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.jobs.events import Warned
from clipstyler_server.jobs.model import Job
from clipstyler_server.services.from_proto import Wish, read_request
from clipstyler_server.settings import Settings
from clipstyler_server.telemetry import Metrics


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
    metrics
        Where photos are counted.
    """

    def __init__(self, settings: Settings, dispatcher: Dispatcher, decoder: PhotoDecoder, metrics: Metrics) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._decoder = decoder
        self._metrics = metrics

    async def admit(self, request: StylizeRequest, remaining_s: float | None) -> Job:
        """Check a request, decode its photo and put the job into the queue.

        Parameters
        ----------
        request
            As it came.
        remaining_s
            Seconds to the caller's deadline; None: there is none.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, DRAINING or QUEUE_FULL.
        """
        self._dispatcher.check_open()
        info = self._dispatcher.engine.info
        assert info is not None  # a worker that is ready has said what it is
        wish = read_request(request, info.encoders, self._settings)
        timeout_s = self._timeout_s(remaining_s)
        with self._dispatcher.reserve():
            try:
                decoded = await self._decoder.decode(request.image, wish.config.size, wish.config.enlarge)
            except ImageError as error:
                raise invalid(Violation("image", str(error))) from error
            order = Order(
                job_id=Job.new_id(),
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
            job = Job(order, decoded.decode_s, Mailbox(self._settings.heartbeat_s))
            self._dispatcher.accept(job, self._warnings(wish, remaining_s))
        self._metrics.photo_accepted(len(request.image))
        return job

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
