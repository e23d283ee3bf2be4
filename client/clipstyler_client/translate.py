"""From the contract's events to plain ones: chunks are put together, and ends that are no result become errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipstyler.v1 import event_pb2, stylization_service_pb2
from clipstyler_client import events
from clipstyler_client.errors import (
    BrokenResultError,
    ServerUnavailableError,
    StylizationCancelledError,
    StylizeError,
    from_status,
)
from clipstyler_client.options import (
    PreviewOptions,
    StylizeOptions,
    image_format_from_proto,
    image_format_to_proto,
    options_from_proto,
    options_to_proto,
    previews_to_proto,
)

Photo = bytes | str | Path
_PHASES = ("queued", "decode", "prepare", "optimize", "encode")


def request_to_proto(
    photo: Photo,
    style_text: str,
    source_text: str | None,
    options: StylizeOptions | None,
    previews: PreviewOptions | None,
    result_format: str | None,
) -> stylization_service_pb2.StylizeRequest:
    """Build a request. A photo is bytes, or the path of a file to read.

    Raises
    ------
    OSError
        The file cannot be read.
    OptionError
        An option is none of the known ones.
    """
    request = stylization_service_pb2.StylizeRequest(
        image=photo_bytes(photo),
        style_text=style_text,
        source_text=source_text,
        options=options_to_proto(options or StylizeOptions()),
        previews=previews_to_proto(previews or PreviewOptions()),
    )
    wanted = image_format_to_proto("result_format", result_format)
    if wanted is not None:
        request.result_format = wanted  # type: ignore[assignment]
    return request


def photo_bytes(photo: Photo) -> bytes:
    """Bytes of a photo, read from its file if need be."""
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


class EventReader:
    """Reads the events of one stylization in order; keeps the chunks of a large result until it is whole."""

    def __init__(self) -> None:
        self._chunks = bytearray()

    def read(self, message: event_pb2.StylizationEvent) -> events.Event | None:
        """Translate one event; None for a part of a result, and for kinds that a newer server may send.

        Raises
        ------
        StylizeError
            The stylization failed or was cancelled, or its result arrived broken.
        """
        kind = message.WhichOneof("event")
        if kind is None:
            return None
        header = {"stylization": message.stylization, "sequence": message.sequence}
        body = getattr(message, kind)
        if kind == "chunk":
            self._append(body)
            return None
        if kind == "failed":
            raise from_status(body.status)
        if kind == "cancelled":
            raise _cancelled(body)
        if kind == "result":
            return self._result(body, header)
        return _READERS[kind](body, header)

    def _append(self, chunk: event_pb2.Chunk) -> None:
        if chunk.offset != len(self._chunks):
            raise _broken(f"a part at byte {chunk.offset} arrived where byte {len(self._chunks)} was due")
        self._chunks += chunk.data

    def _result(self, result: event_pb2.Result, header: dict[str, Any]) -> events.Result:
        image = result.image.data or bytes(self._chunks)
        if len(image) != result.image.size_bytes or hashlib.sha256(image).digest() != result.image.sha256:
            raise _broken(f"{len(image)} bytes arrived that do not match the announced {result.image.size_bytes}")
        return events.Result(
            **header,
            image=image,
            format=image_format_from_proto(result.image.format),
            width=result.image.width,
            height=result.image.height,
            seed=result.seed,
            style_text=result.style_text,
            source_text=result.source_text,
            options=options_from_proto(result.options),
            models=tuple(events.Model(model.name, model.digest) for model in result.models),
            device=result.device,
            threads=result.threads,
            versions=dict(result.versions),
            losses=_losses(result.losses),
            timings={phase: _seconds(getattr(result.timings, phase)) for phase in _PHASES},
            quality=quality_from_proto(result.quality) if result.HasField("quality") else None,
        )


def quality_from_proto(quality: event_pb2.Quality) -> events.Quality:
    """Translate a quality report."""
    return events.Quality(**{name: getattr(quality, name) for name in events.Quality.__dataclass_fields__})


def _cancelled(cancelled: event_pb2.Cancelled) -> StylizeError:
    if cancelled.reason == event_pb2.CANCEL_REASON_DRAINING:
        return ServerUnavailableError("UNAVAILABLE", "the server shut down meanwhile: try again", "DRAINING")
    return StylizationCancelledError("CANCELLED", f"cancelled after {cancelled.step} steps", "CANCELLED")


def _broken(what: str) -> BrokenResultError:
    return BrokenResultError("DATA_LOSS", f"the result is broken: {what}; ask again", "BROKEN_RESULT")


def _seconds(duration: Any) -> float:
    return float(duration.ToTimedelta().total_seconds())


def _losses(losses: event_pb2.Losses) -> events.Losses:
    return events.Losses(losses.total, losses.direction, losses.patch, losses.content, losses.total_variation)


def _queued(body: event_pb2.Queued, header: dict[str, Any]) -> events.Event:
    return events.Queued(**header, position=body.position, seed=body.seed)


def _started(body: event_pb2.Started, header: dict[str, Any]) -> events.Event:
    return events.Started(**header, steps=body.steps, width=body.width, height=body.height, device=body.device)


def _progress(body: event_pb2.Progress, header: dict[str, Any]) -> events.Event:
    return events.Progress(
        **header,
        step=body.step,
        steps=body.steps,
        losses=_losses(body.losses),
        rejected=body.rejected,
        elapsed_s=_seconds(body.elapsed),
        remaining_s=_seconds(body.remaining),
    )


def _preview(body: event_pb2.Preview, header: dict[str, Any]) -> events.Event:
    image = body.image
    return events.Preview(
        **header,
        step=body.step,
        image=image.data,
        format=image_format_from_proto(image.format),
        width=image.width,
        height=image.height,
    )


def _warning(body: event_pb2.Warning, header: dict[str, Any]) -> events.Event:
    return events.Warning(**header, code=body.code, message=body.message)


def _gap(body: event_pb2.Gap, header: dict[str, Any]) -> events.Event:
    return events.Gap(
        **header,
        skipped_progress=body.skipped_progress,
        skipped_previews=body.skipped_previews,
        log_expired=body.log_expired,
    )


def _heartbeat(_body: event_pb2.Heartbeat, header: dict[str, Any]) -> events.Event:
    return events.Heartbeat(**header)


_READERS: dict[str, Callable[[Any, dict[str, Any]], events.Event]] = {
    "queued": _queued,
    "started": _started,
    "progress": _progress,
    "preview": _preview,
    "warning": _warning,
    "gap": _gap,
    "heartbeat": _heartbeat,
}
