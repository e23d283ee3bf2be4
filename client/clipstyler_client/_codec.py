"""From the contract's messages to plain values, and from arguments to requests."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipstyler.v1 import event_pb2, image_pb2, options_pb2, region_pb2, stylization_pb2
from clipstyler.v1.names import word_of
from clipstyler_client import _events as events
from clipstyler_client._errors import (
    BrokenResultError,
    ServerUnavailableError,
    StylizationCancelledError,
    StylizeError,
    from_message,
)
from clipstyler_client._options import OptionError, PreviewOptions, choose, encoded, fill, present

Photo = bytes | str | Path
_MAX_PHOTO_BYTES = 256 * 2**20
_PHASES = ("queued", "decode", "prepare", "optimize", "render", "encode")
_FORMATS = image_pb2.ImageFormat.DESCRIPTOR
_STOP_REASONS = stylization_pb2.StylizationResult.StopReason.DESCRIPTOR


def photo_bytes(photo: Photo, field: str = "photo") -> bytes:
    """Return the bytes of a photo, read from its file if need be.

    Raises
    ------
    OSError
        The file cannot be read, or has more bytes than any server accepts: a device without end, for instance.
    OptionError
        It is neither bytes nor a path, or so many bytes. `field` names it.
    """
    if isinstance(photo, bytes):
        if len(photo) > _MAX_PHOTO_BYTES:
            raise OptionError(field, f"has {len(photo)} bytes, and no server accepts more than {_MAX_PHOTO_BYTES}")
        return photo
    if not isinstance(photo, (str, os.PathLike)):
        raise OptionError(field, f"must be the bytes of a file, or its path, got {type(photo).__name__}")
    with Path(photo).open("rb") as file:
        data = file.read(_MAX_PHOTO_BYTES + 1)
    if len(data) > _MAX_PHOTO_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(photo))
    return data


def spec_message(
    image: bytes | None,
    style_text: str,
    source_text: str | None,
    options: Mapping[str, Any],
    previews: PreviewOptions | None,
    result_format: str | None,
    upload: str = "",
    region: region_pb2.Region | None = None,
) -> stylization_pb2.StylizationSpec:
    """Build a spec; the photo is bytes, or the name of an upload, or elsewhere in the request.

    Raises
    ------
    OptionError
        An option is unknown or does not fit.
    """
    message = encoded(
        stylization_pb2.StylizationSpec,
        style_text=style_text,
        source_text=source_text,
        options=fill(options_pb2.StylizationOptions(), options),
        previews=fill(options_pb2.PreviewOptions(), previews or {}),
        result_format=format_number(result_format),
        region=region,
    )
    if upload:
        message.upload = upload
    elif image is not None:
        message.image = image
    return message


def format_word(number: int) -> str:
    """Return an image format as "jpeg", "webp" or "png"; "" if it is unspecified."""
    return word_of(_FORMATS, number)


def format_number(word: str | None) -> Any:
    """Return the number of "jpeg", "webp" or "png"; 0, the default, for None. Raises `OptionError`."""
    return choose("result_format", _FORMATS, word)


def spec(message: stylization_pb2.StylizationSpec) -> events.Spec:
    """Translate a resolved spec."""
    options: Any = present(message.options)
    previews: Any = present(message.previews)
    region = _region(message.region) if message.HasField("region") else None
    result_format = format_word(message.result_format)
    return events.Spec(message.style_text, message.source_text, options, previews, result_format, region)


def _region(message: region_pb2.Region) -> events.RegionSpec:
    boxes = tuple(events.Box(box.x, box.y, box.relative_width, box.relative_height) for box in message.boxes)
    text = message.text if message.HasField("text") else None
    return events.RegionSpec(boxes, text, message.feather, message.mask_digest)


def quality(message: stylization_pb2.QualityReport) -> events.QualityReport:
    """Translate a quality report."""
    return events.QualityReport(**{name: getattr(message, name) for name in events.QualityReport.__dataclass_fields__})


class EventReader:
    """Reads the events of one stylization in order; keeps the chunks of a large result until it is complete."""

    def __init__(self) -> None:
        self._chunks = bytearray()

    def read(self, message: event_pb2.StylizationEvent) -> events.Event | None:
        """Translate one event; None for a chunk, and for kinds that a newer server may send.

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
            raise from_message(body.error)
        if kind == "cancelled":
            raise _cancelled(body)
        if kind == "result":
            return self._result(body, header)
        return _READERS[kind](body, header)

    def _append(self, chunk: event_pb2.StylizationEvent.Chunk) -> None:
        if chunk.offset != len(self._chunks):
            raise _broken(f"a chunk at byte {chunk.offset} arrived instead of one at byte {len(self._chunks)}")
        self._chunks += chunk.data

    def _result(self, body: event_pb2.StylizationEvent.Result, header: dict[str, Any]) -> events.Result:
        result = body.result
        image = body.image_data or bytes(self._chunks)
        if len(image) != result.image.size_bytes or hashlib.sha256(image).digest() != result.image.sha256:
            raise _broken(f"{len(image)} bytes arrived that do not match the announced {result.image.size_bytes}")
        return events.Result(
            **header,
            image=image,
            format=format_word(result.image.format),
            width=result.image.width_px,
            height=result.image.height_px,
            spec=spec(body.spec),
            models=tuple(events.EncoderModel(model.name, model.digest) for model in result.models),
            device=result.device,
            provider=result.provider,
            threads=result.thread_count,
            versions=dict(result.versions),
            losses=_losses(result.losses),
            timings={phase: _seconds(getattr(result.timings, phase)) for phase in _PHASES},
            quality=quality(result.quality) if result.HasField("quality") else None,
            steps=result.step_count,
            stop_reason=word_of(_STOP_REASONS, result.stop_reason),
            style=result.style,
        )


def _cancelled(cancelled: event_pb2.StylizationEvent.Cancelled) -> StylizeError:
    if cancelled.reason == stylization_pb2.Stylization.CANCEL_REASON_DRAINING:
        return ServerUnavailableError("UNAVAILABLE", "the server shut down meanwhile: retry", "DRAINING")
    return StylizationCancelledError("CANCELLED", f"cancelled after {cancelled.step} steps", "CANCELLED")


def _broken(what: str) -> BrokenResultError:
    return BrokenResultError("DATA_LOSS", f"the result is broken: {what}; request it again", "BROKEN_RESULT")


def _seconds(duration: Any) -> float:
    return float(duration.ToTimedelta().total_seconds())


def _losses(losses: stylization_pb2.StylizationResult.Losses) -> events.Losses:
    return events.Losses(losses.total, losses.direction, losses.patch, losses.content, losses.total_variation)


def _queued(body: event_pb2.StylizationEvent.Queued, header: dict[str, Any]) -> events.Event:
    return events.Queued(**header, position=body.position, seed=body.seed)


def _started(body: event_pb2.StylizationEvent.Started, header: dict[str, Any]) -> events.Event:
    return events.Started(**header, steps=body.steps, width=body.width_px, height=body.height_px, device=body.device)


def _preparing(body: Any, header: dict[str, Any]) -> events.Event:
    remaining_s = _seconds(body.remaining) if body.HasField("remaining") else None
    return events.Preparing(**header, part=body.part, parts=body.parts, remaining_s=remaining_s)


def _progress(body: event_pb2.StylizationEvent.Progress, header: dict[str, Any]) -> events.Event:
    return events.Progress(
        **header,
        step=body.step,
        steps=body.steps,
        losses=_losses(body.losses),
        rejected=body.rejected,
        elapsed_s=_seconds(body.elapsed),
        remaining_s=_seconds(body.remaining),
    )


def _preview(body: event_pb2.StylizationEvent.Preview, header: dict[str, Any]) -> events.Event:
    return events.Preview(
        **header,
        step=body.step,
        image=body.image_data,
        format=format_word(body.image.format),
        width=body.image.width_px,
        height=body.image.height_px,
    )


def _draft(body: event_pb2.StylizationEvent.Draft, header: dict[str, Any]) -> events.Event:
    return events.Draft(
        **header,
        style=body.style,
        style_text=body.style_text,
        similarity=body.similarity if body.HasField("similarity") else None,
        image=body.image_data,
        format=format_word(body.image.format),
        width=body.image.width_px,
        height=body.image.height_px,
    )


def _rendering(body: event_pb2.StylizationEvent.Rendering, header: dict[str, Any]) -> events.Event:
    return events.Rendering(**header, tile=body.tile, tiles=body.tiles)


def _warning(body: event_pb2.StylizationEvent.Warning, header: dict[str, Any]) -> events.Event:
    return events.Warning(**header, code=body.code, message=body.message)


def _gap(body: event_pb2.StylizationEvent.Gap, header: dict[str, Any]) -> events.Event:
    return events.Gap(
        **header,
        skipped_progress=body.skipped_progress_count,
        skipped_previews=body.skipped_preview_count,
        log_expired=body.log_expired,
    )


def _heartbeat(_body: event_pb2.StylizationEvent.Heartbeat, header: dict[str, Any]) -> events.Event:
    return events.Heartbeat(**header)


_READERS: dict[str, Callable[[Any, dict[str, Any]], events.Event]] = {
    "queued": _queued,
    "started": _started,
    "preparing": _preparing,
    "progress": _progress,
    "preview": _preview,
    "draft": _draft,
    "rendering": _rendering,
    "warning": _warning,
    "gap": _gap,
    "heartbeat": _heartbeat,
}
