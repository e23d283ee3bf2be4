"""From the domain to the contract's messages. Nothing is computed here."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from clipstyler.config import Calibration, StylizeConfig, TvForm
from clipstyler.evaluation.quality import Quality
from clipstyler.events import Losses
from clipstyler.v1 import event_pb2, options_pb2, stylization_pb2
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest, GetStylizationImageResponse
from clipstyler_server.engine.base import (
    EncodedImage,
    Model,
    Order,
    Previewed,
    Progressed,
    Started,
)
from clipstyler_server.errors import to_status
from clipstyler_server.jobs.dispatcher import CHUNK_BYTES
from clipstyler_server.jobs.events import (
    Cancelled,
    CancelReason,
    Chunk,
    Event,
    Failed,
    Gap,
    Heartbeat,
    Payload,
    Queued,
    Succeeded,
    Warned,
)
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.services.from_proto import AUGMENT_FILLS, IMAGE_FORMATS, NAMES, PRESETS, STATES, TV_FORMS

_Value = TypeVar("_Value")


def event(job_id: str, happened: Event) -> event_pb2.StylizationEvent:
    """Translate one event of a job."""
    message = event_pb2.StylizationEvent(stylization=name(job_id), sequence=happened.sequence)
    message.time.FromDatetime(happened.time)
    part = _PARTS[type(happened.payload)](happened.payload)
    # The event's fields are named as the messages, in lower case.
    getattr(message, part.DESCRIPTOR.name.lower()).CopyFrom(part)
    return message


def image(encoded: EncodedImage, with_data: bool = True) -> event_pb2.Image:
    """Translate an image; without its data when that goes as chunks."""
    return event_pb2.Image(
        data=encoded.data if with_data else b"",
        format=_number(IMAGE_FORMATS, encoded.format),  # type: ignore[arg-type]
        width=encoded.width,
        height=encoded.height,
        size_bytes=len(encoded.data),
        sha256=encoded.sha256,
    )


def name(job_id: str) -> str:
    """Name a job."""
    return f"{NAMES}{job_id}"


def stored_end(job_id: str, end: Event) -> bytes:
    """Encode the end of a job for the store: without the bytes of its image, which are a file of their own."""
    message = event(job_id, end)
    if message.HasField("result"):
        message.result.image.ClearField("data")
    return message.SerializeToString()


def page_token(last: Record, state: State | None) -> str:
    """Make the token of the page behind a job."""
    return base64.urlsafe_b64encode(f"{last.created_at!r}/{last.id}/{state or ''}".encode()).decode()


def image_parts(described: tuple[event_pb2.Image, bytes]) -> Iterator[GetStylizationImageResponse]:
    """Split an image into messages."""
    what, data = described
    yield GetStylizationImageResponse(image=what)
    for offset in range(0, len(data), CHUNK_BYTES):
        yield GetStylizationImageResponse(
            chunk=event_pb2.Chunk(offset=offset, data=data[offset : offset + CHUNK_BYTES])
        )


def stylization(record: Record) -> stylization_pb2.Stylization:
    """Translate a stored job."""
    request = CreateStylizationRequest.FromString(record.request)
    message = stylization_pb2.Stylization(
        name=name(record.id),
        state=_number(STATES, record.state),  # type: ignore[arg-type]
        style_text=request.style_text,
        priority=record.priority,  # type: ignore[arg-type]
        steps=request.options.steps,
        attempts=record.attempts,
        request_id=record.request_id or "",
        seed=request.options.seed,
    )
    for field, seconds in (
        (message.create_time, record.created_at),
        (message.deadline, record.deadline_at),
        (message.start_time, record.started_at),
        (message.end_time, record.ended_at),
    ):
        if seconds is not None:
            field.FromMicroseconds(round(seconds * 1e6))
    if record.end is not None:
        _add_end(message, event_pb2.StylizationEvent.FromString(record.end))
    return message


def _add_end(message: stylization_pb2.Stylization, end: event_pb2.StylizationEvent) -> None:
    match end.WhichOneof("event"):
        case "result":
            message.result.CopyFrom(end.result)
            message.steps = message.step = end.result.options.steps
        case "failed":
            message.error.CopyFrom(end.failed.status)
        case "cancelled":
            message.step = end.cancelled.step
            message.cancel_reason = end.cancelled.reason


def quality(measured: Quality) -> event_pb2.Quality:
    """Translate a quality report."""
    return event_pb2.Quality(**asdict(measured))


def models(named: Iterable[Model]) -> list[event_pb2.Model]:
    """Translate models."""
    return [event_pb2.Model(name=model.name, digest=model.digest) for model in named]


def options(order: Order, crop_side: int) -> options_pb2.StylizationOptions:
    """Translate the whole configuration of an order; every field is set."""
    config = order.config
    return options_pb2.StylizationOptions(
        preset=_number(PRESETS, order.preset),  # type: ignore[arg-type]
        size=config.size,
        steps=config.steps,
        patches=config.patches,
        seed=order.seed,
        encoders=order.encoders,
        crop_size=crop_side,
        learning_rate=config.learning_rate,
        threshold=config.threshold,
        threshold_rejection=config.threshold_rejection,
        augmentation=config.augmentation,
        augment_fill=_number(AUGMENT_FILLS, config.augment_fill),  # type: ignore[arg-type]
        weights=_weights(config, config.weight_tv),
        tv_form=_number(TV_FORMS, config.tv_form),  # type: ignore[arg-type]
        contrast=config.contrast,
        crop_overhang=config.crop_overhang,
        text_share=config.text_share,
        input_noise=config.input_noise,
        warm_up=config.warm_up,
        enlarge=config.enlarge,
    )


def calibration(meant: Calibration) -> options_pb2.StylizationOptions:
    """Translate a calibration: the options that belong to encoders, the TV weight in the default form."""
    return options_pb2.StylizationOptions(
        learning_rate=meant.learning_rate,
        threshold=meant.threshold,
        weights=_weights(meant, meant.weight_tv(TvForm.NORM)),
        tv_form=options_pb2.TV_FORM_NORM,
        contrast=meant.contrast,
        crop_overhang=meant.crop_overhang,
        text_share=meant.text_share,
        input_noise=meant.input_noise,
        warm_up=meant.warm_up,
    )


def _weights(source: StylizeConfig | Calibration, total_variation: float) -> options_pb2.LossWeights:
    return options_pb2.LossWeights(
        direction=source.weight_direction,
        patch=source.weight_patch,
        content=source.weight_content,
        total_variation=total_variation,
    )


def _started(started: Started) -> event_pb2.Started:
    return event_pb2.Started(steps=started.steps, width=started.width, height=started.height, device=started.device)


def _progress(progressed: Progressed) -> event_pb2.Progress:
    return event_pb2.Progress(
        step=progressed.step,
        steps=progressed.steps,
        losses=_losses(progressed.losses),
        rejected=progressed.rejected,
        elapsed=_duration(progressed.elapsed_s),
        remaining=_duration(progressed.remaining_s),
    )


def _queued(queued: Queued) -> event_pb2.Queued:
    message = event_pb2.Queued(position=queued.position, seed=queued.seed)
    if queued.start:
        message.estimated_start_time.FromDatetime(queued.start)
    return message


def _preview(previewed: Previewed) -> event_pb2.Preview:
    return event_pb2.Preview(step=previewed.step, image=image(previewed.image))


def _chunk(chunk: Chunk) -> event_pb2.Chunk:
    return event_pb2.Chunk(offset=chunk.offset, data=bytes(chunk.data))


def _warning(warned: Warned) -> event_pb2.Warning:
    return event_pb2.Warning(code=warned.code, message=warned.message)


def _gap(gap: Gap) -> event_pb2.Gap:
    return event_pb2.Gap(
        skipped_progress=gap.skipped_progress, skipped_previews=gap.skipped_previews, log_expired=gap.log_expired
    )


def _heartbeat(_: Heartbeat) -> event_pb2.Heartbeat:
    return event_pb2.Heartbeat()


def _failed(failed: Failed) -> event_pb2.Failed:
    return event_pb2.Failed(status=to_status(failed.error))


def _cancelled(cancelled: Cancelled) -> event_pb2.Cancelled:
    return event_pb2.Cancelled(step=cancelled.step, reason=_CANCEL_REASONS[cancelled.reason])


def _result(end: Succeeded) -> event_pb2.Result:
    finished, order = end.finished, end.order
    crop_side = order.config.crop_side(finished.image.width, finished.image.height)
    return event_pb2.Result(
        image=image(finished.image, with_data=not end.in_chunks),
        seed=order.seed,
        style_text=order.style_text,
        source_text=order.source_text,
        options=options(order, crop_side),
        models=models(finished.models),
        device=finished.device,
        threads=finished.threads,
        versions=finished.versions,
        losses=_losses(finished.losses),
        quality=quality(finished.quality) if finished.quality else None,
        timings=event_pb2.Timings(
            queued=_duration(end.queued_s),
            decode=_duration(end.decode_s),
            prepare=_duration(finished.prepare_s),
            optimize=_duration(finished.optimize_s),
            encode=_duration(finished.encode_s),
        ),
    )


def _losses(losses: Losses) -> event_pb2.Losses:
    return event_pb2.Losses(**asdict(losses))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def _number(table: Mapping[int, _Value], value: _Value) -> int:
    return next(number for number, known in table.items() if known == value)


_CANCEL_REASONS: Mapping[CancelReason, event_pb2.CancelReason.ValueType] = {
    CancelReason.REQUESTED: event_pb2.CANCEL_REASON_REQUESTED,
    CancelReason.CALLER_LEFT: event_pb2.CANCEL_REASON_CALLER_LEFT,
    CancelReason.DRAINING: event_pb2.CANCEL_REASON_DRAINING,
}
_PARTS: Mapping[type[Payload], Callable[[Any], Message]] = {
    Queued: _queued,
    Started: _started,
    Progressed: _progress,
    Previewed: _preview,
    Warned: _warning,
    Chunk: _chunk,
    Gap: _gap,
    Heartbeat: _heartbeat,
    Succeeded: _result,
    Failed: _failed,
    Cancelled: _cancelled,
}
