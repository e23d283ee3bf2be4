"""Events of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from clipstyler.events import Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import EncodedImage, ImageMetadata
from clipstyler.v1.event_pb2 import StylizationEvent
from clipstyler_server.api.codec.images import metadata_message
from clipstyler_server.api.codec.spec import spec_message
from clipstyler_server.api.codec.stylization import cancel_reason, losses_message, result_message
from clipstyler_server.api.codec.values import duration, style_name, stylization_name
from clipstyler_server.api.errors import error_message
from clipstyler_server.jobs.chunks import inline_data
from clipstyler_server.jobs.events import Cancelled, Chunk, Draft, Failed, Gap, Heartbeat, JobEvent, Queued


def event_message(job_id: str, event: JobEvent) -> StylizationEvent:
    """Translate one event of a job."""
    message = StylizationEvent(stylization=stylization_name(job_id), sequence=event.sequence)
    message.event_time.FromDatetime(event.time)
    part = _PARTS[type(event.payload)](event.payload)
    # The fields of the oneof are named as their messages, in lower case.
    getattr(message, part.DESCRIPTOR.name.lower()).CopyFrom(part)
    return message


def _queued(queued: Queued) -> StylizationEvent.Queued:
    message = StylizationEvent.Queued(position=queued.position, seed=queued.seed)
    if queued.start:
        message.estimated_start_time.FromDatetime(queued.start)
    if queued.end:
        message.estimated_end_time.FromDatetime(queued.end)
    return message


def _started(started: Started) -> StylizationEvent.Started:
    return StylizationEvent.Started(
        steps=started.steps, width_px=started.width, height_px=started.height, device=started.device
    )


def _preparing(preparing: Preparing) -> StylizationEvent.Preparing:
    message = StylizationEvent.Preparing(part=preparing.step, parts=preparing.steps)
    if preparing.remaining_s is not None:
        message.remaining.CopyFrom(duration(preparing.remaining_s))
    return message


def _progress(progress: Progress) -> StylizationEvent.Progress:
    return StylizationEvent.Progress(
        step=progress.step,
        steps=progress.steps,
        losses=losses_message(progress.losses),
        rejected=progress.rejected,
        elapsed=duration(progress.elapsed_s),
        remaining=duration(progress.remaining_s),
    )


def _preview(preview: Preview[EncodedImage]) -> StylizationEvent.Preview:
    image = preview.image
    return StylizationEvent.Preview(step=preview.step, image=metadata_message(image.metadata), image_data=image.data)


def _draft(draft: Draft) -> StylizationEvent.Draft:
    return StylizationEvent.Draft(
        style=style_name(draft.style),
        style_text=draft.style_text,
        similarity=draft.similarity,
        image=metadata_message(draft.image.metadata),
        image_data=draft.image.data,
    )


def _rendering(rendering: Rendering) -> StylizationEvent.Rendering:
    return StylizationEvent.Rendering(tile=rendering.tile, tiles=rendering.tiles)


def _chunk(chunk: Chunk) -> StylizationEvent.Chunk:
    return StylizationEvent.Chunk(offset=chunk.offset, data=chunk.data)


def _warning(warning: Warning) -> StylizationEvent.Warning:
    return StylizationEvent.Warning(code=warning.code, message=warning.message)


def _gap(gap: Gap) -> StylizationEvent.Gap:
    return StylizationEvent.Gap(
        skipped_progress_count=gap.skipped_progress,
        skipped_preview_count=gap.skipped_previews,
        log_expired=gap.log_expired,
    )


def _heartbeat(_: Heartbeat) -> StylizationEvent.Heartbeat:
    return StylizationEvent.Heartbeat()


def _result(result: Result[EncodedImage] | Result[ImageMetadata]) -> StylizationEvent.Result:
    return StylizationEvent.Result(
        spec=spec_message(result.spec),
        result=result_message(result),
        image_data=inline_data(result),
    )


def _failed(failed: Failed) -> StylizationEvent.Failed:
    return StylizationEvent.Failed(error=error_message(failed.error))


def _cancelled(cancelled: Cancelled) -> StylizationEvent.Cancelled:
    return StylizationEvent.Cancelled(step=cancelled.step, reason=cancel_reason(cancelled.reason))


_PARTS: Mapping[type, Callable[[Any], Message]] = {
    Queued: _queued,
    Started: _started,
    Preparing: _preparing,
    Progress: _progress,
    Preview: _preview,
    Draft: _draft,
    Rendering: _rendering,
    Chunk: _chunk,
    Warning: _warning,
    Gap: _gap,
    Heartbeat: _heartbeat,
    Result: _result,
    Failed: _failed,
    Cancelled: _cancelled,
}
