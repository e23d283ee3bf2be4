"""The resource `Stylization`, its result and its quality report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from clipstyler.encoders.description import EncoderModel
from clipstyler.evaluation.quality import QualityReport
from clipstyler.events import Losses, Result, Timings
from clipstyler.imaging import EncodedImage, ImageMetadata
from clipstyler.v1 import stylization_pb2 as pb
from clipstyler.v1.names import number_of
from clipstyler_server.api.codec.images import metadata_message
from clipstyler_server.api.codec.spec import spec_message
from clipstyler_server.api.codec.values import duration, style_name, stylization_name, timestamp
from clipstyler_server.api.errors import error_message
from clipstyler_server.jobs.catalog import JobDescription
from clipstyler_server.jobs.events import Cancelled, CancelReason, Failed


def stylization_message(job: JobDescription, retention_s: float) -> pb.Stylization:
    """Translate a job; `retention_s` is how long a finished one is kept."""
    record = job.record
    message = pb.Stylization(
        name=stylization_name(record.id),
        spec=spec_message(job.spec),
        priority=record.priority,  # type: ignore[arg-type]
        state=number_of(pb.Stylization.State.DESCRIPTOR, record.state),
        step=job.step,
        attempt_count=record.attempts,
        fitted_photo_count=record.fitted_photos,
    )
    expires_at = None if record.ended_at is None else record.ended_at + retention_s
    for field, seconds in (
        (message.create_time, record.created_at),
        (message.start_time, record.started_at),
        (message.end_time, record.ended_at),
        (message.deadline_time, record.deadline_at),
        (message.expire_time, expires_at),
    ):
        if seconds is not None:
            field.CopyFrom(timestamp(seconds))
    if job.queued:
        message.queue_position = job.queued.position
        if job.queued.start:
            message.estimated_start_time.FromDatetime(job.queued.start)
        if job.queued.end:
            message.estimated_end_time.FromDatetime(job.queued.end)
    _add_end(message, job)
    return message


def _add_end(message: pb.Stylization, job: JobDescription) -> None:
    match job.end:
        case Result():
            message.result.CopyFrom(result_message(job.end))
        case Failed(error):
            message.error.CopyFrom(error_message(error))
        case Cancelled(reason=reason):
            message.cancel_reason = cancel_reason(reason)


def result_message(result: Result[ImageMetadata] | Result[EncodedImage]) -> pb.StylizationResult:
    """Translate the outcome of a job, without the bytes of its image."""
    image: Any = result.image
    return pb.StylizationResult(
        image=metadata_message(image.metadata if isinstance(image, EncodedImage) else image),
        models=models_message(result.models),
        device=result.device,
        provider=result.provider,
        thread_count=result.threads,
        versions=result.versions,
        losses=losses_message(result.losses),
        timings=_timings(result.timings),
        quality=quality_message(result.quality) if result.quality else None,
        step_count=result.steps,
        stop_reason=number_of(pb.StylizationResult.StopReason.DESCRIPTOR, result.stop_reason),
        style=style_name(result.style_digest) if result.style_digest else "",
    )


def models_message(models: Iterable[EncoderModel]) -> list[pb.EncoderModel]:
    """Translate models with their digests."""
    return [pb.EncoderModel(name=model.name, digest=model.digest) for model in models]


def losses_message(losses: Losses) -> pb.StylizationResult.Losses:
    """Translate loss terms."""
    return pb.StylizationResult.Losses(**asdict(losses))


def quality_message(quality: QualityReport) -> pb.QualityReport:
    """Translate a quality report."""
    return pb.QualityReport(**asdict(quality))


def cancel_reason(reason: CancelReason) -> Any:
    """Translate why a job was cancelled."""
    return number_of(pb.Stylization.CancelReason.DESCRIPTOR, reason)


def _timings(timings: Timings) -> pb.StylizationResult.Timings:
    return pb.StylizationResult.Timings(
        **{name.removesuffix("_s"): duration(seconds) for name, seconds in asdict(timings).items()}
    )
