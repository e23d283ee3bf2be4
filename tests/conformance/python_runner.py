"""Plays the conformance cases with the Python client: `python -m tests.conformance.python_runner CONTROL [CASE...]`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from clipstyler_client import (
    AsyncClient,
    AsyncStylizationStream,
    Draft,
    Event,
    Gap,
    Job,
    JobImage,
    Preview,
    Result,
    Style,
    StyledPhoto,
    StylizeError,
    Upload,
    Warning,
)

from clipstyler.v1.image_pb2 import ImageFormat
from tests.conformance.player import Control, Outcome, Player, run


class ClientPlayer(Player):
    """Makes the calls with the Python client."""

    def __init__(self, control: Control, client: AsyncClient) -> None:
        super().__init__(control)
        self._client = client

    async def _outcome(self, step: Mapping[str, Any]) -> Outcome:
        outcome: Outcome = {"code": "OK"}
        try:
            await getattr(self, f"_{step['call']}")(step, outcome)
        except StylizeError as error:
            outcome |= _error(error)
        return outcome

    async def _photo(self, step: Mapping[str, Any]) -> bytes | Upload:
        if "upload" in step:
            return Upload(step["upload"])
        return await self.control.get(f"photos/{step['photo']}")

    async def _stylize(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        stream = self._client.stylize(await self._photo(step), **_arguments(step))
        await self._read(stream, step, outcome)

    async def _watch(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        stream = self._client.jobs.watch(step["job"], after_sequence=step.get("after_sequence", 0))
        await self._read(stream, step, outcome)

    async def _read(self, stream: AsyncStylizationStream, step: Mapping[str, Any], outcome: Outcome) -> None:
        events: list[Event] = []
        at = step.get("at", {})
        try:
            async for event in stream:
                events.append(event)
                if at.get("event") != _kind(event):
                    continue
                if at.get("stop"):
                    stream.close()
                    break
                await self.control.post(at["control"])
                at = {}
        finally:
            outcome |= _events(events)

    async def _create(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photo = await self._photo(step)
        outcome |= _job(await self._client.jobs.create(photo, request_id=step.get("request_id"), **_arguments(step)))

    async def _get(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _job(await self._client.jobs.get(step["job"]))

    async def _cancel(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _job(await self._client.jobs.cancel(step["job"]))

    async def _delete(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._client.jobs.delete(step["job"])

    async def _list(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome["jobs"] = [job.name async for job in self._client.jobs.list(_word("STATE_", step["state"]))]

    async def _image(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        image = await self._client.jobs.download(step["job"], _word("IMAGE_KIND_", step["kind"]))
        outcome |= _image(image, image.data)

    async def _upload(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photo = await self.control.get(f"photos/{step['photo']}")
        outcome["upload"] = (await self._client.jobs.upload(photo)).name

    async def _info(self, _: Mapping[str, Any], outcome: Outcome) -> None:
        info = await self._client.server_info()
        outcome |= {
            "version": info.version,
            "max_image_bytes": info.limits.get("max_image_bytes", 0),
            "encoder_sets": [encoder_set.name for encoder_set in info.encoder_sets],
            "running": info.running,
            "ready": info.is_ready,
        }

    async def _style_create(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _style(await self._client.styles.create(step["job"]))

    async def _style_fit(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photos = [await self.control.get(f"photos/{name}") for name in step.get("photos", [])]
        outcome |= _job(await self._client.styles.fit(photos, request_id=step.get("request_id"), **_arguments(step)))

    async def _style_get(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _style(await self._client.styles.get(step["style"]))

    async def _style_list(self, _: Mapping[str, Any], outcome: Outcome) -> None:
        styles = [style async for style in self._client.styles.list()]
        outcome |= {
            "styles": [style.name for style in styles],
            "first": styles[0].name,
            "first_is_bundled": styles[0].bundled,
        }

    async def _style_delete(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._client.styles.delete(step["style"])

    async def _style_download(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        data = await self._client.styles.download(step["style"])
        outcome |= {"bytes": len(data), "style": f"styles/{hashlib.sha256(data).hexdigest()}"}

    async def _style_upload(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _style(await self._client.styles.upload(await self.control.get(f"styles/{step['file']}")))

    async def _style_apply(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photos = [await self.control.get(f"photos/{name}") for name in step["photos"]]
        styled: list[StyledPhoto] = []
        try:
            async for photo in self._client.styles.apply(step["style"], photos, **_controls(step)):
                styled.append(photo)
                if len(styled) == step.get("stop_after"):
                    break
        finally:
            outcome |= _styled(styled)

    async def _style_render(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photo = await self._photo(step) if "photo" in step else None
        image = await self._client.styles.render(
            photo, style=step.get("style", ""), job=step.get("job", ""), **_controls(step)
        )
        outcome |= _image(image, image.data)

    async def _encode_text(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._client.encoders.encode_text(step["texts"])


def _arguments(step: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `stylize` and `create`."""
    spec = step["spec"]
    arguments = {"style_text": spec["style_text"]} | spec["options"]
    if "previews" in spec:
        arguments["previews"] = spec["previews"]
    if "result_format" in spec:
        arguments["result_format"] = _word("IMAGE_FORMAT_", spec["result_format"])
    if "priority" in step:
        arguments["priority"] = _word("PRIORITY_", step["priority"])
    if "timeout_s" in step:
        arguments["timeout_s"] = step["timeout_s"]
    return arguments


def _controls(step: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `styles.apply` and `styles.render`."""
    controls = {"second_style": step.get("second_style", "")} | step.get("controls", {})
    if "result_format" in step:
        controls["result_format"] = _word("IMAGE_FORMAT_", step["result_format"])
    return controls


def _word(prefix: str, name: str) -> str:
    return name.removeprefix(prefix).lower()


def _kind(event: Event) -> str:
    return type(event).__name__.lower()


def _error(error: StylizeError) -> Outcome:
    return {
        "code": error.code,
        "message": error.message,
        "reason": error.reason,
        "metadata": error.metadata,
        "fields": sorted(violation.field for violation in error.violations),
        "retry_delay_s": error.retry_delay_s,
    }


def _events(events: list[Event]) -> Outcome:
    sequences = [event.sequence for event in events]
    gaps = [event for event in events if isinstance(event, Gap)]
    draft = next((event for event in events if isinstance(event, Draft)), None)
    outcome = {
        "events": [_kind(event) for event in events],
        "previews": sum(isinstance(event, Preview) for event in events),
        "in_order": sequences == sorted(sequences),
        "sequence": sequences[-1] if sequences else 0,
        "warnings": [event.code for event in events if isinstance(event, Warning)],
        "skipped_progress": sum(gap.skipped_progress for gap in gaps),
        "log_expired": any(gap.log_expired for gap in gaps),
        "job": events[-1].stylization if events else "",
    }
    if events and isinstance(events[-1], Result):
        outcome |= {"seed": events[-1].seed, "fitted_style": events[-1].style} | _image(events[-1], events[-1].image)
    return outcome | (_draft(draft) if draft else {})


def _draft(draft: Draft) -> Outcome:
    return {
        "draft_style": draft.style,
        "draft_text": draft.style_text,
        "draft_similarity": draft.similarity,
        "draft_width": draft.width,
        "draft_bytes": len(draft.image),
    }


def _image(image: Result | JobImage, data: bytes) -> Outcome:
    return {
        "width": image.width,
        "height": image.height,
        "format": f"IMAGE_FORMAT_{image.format.upper()}" if image.format else ImageFormat.Name(0),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _job(job: Job) -> Outcome:
    return {
        "job": job.name,
        "state": f"STATE_{job.state.upper()}",
        "cancel_reason": f"CANCEL_REASON_{job.cancel_reason.upper()}" if job.cancel_reason else "",
        "step": job.step,
        "attempts": job.attempts,
        "style_text": job.spec.style_text,
        "seed": job.spec.options.get("seed"),
        "error_reason": job.error.reason if job.error else "",
        "fitted_photos": job.fitted_photos,
        "fitted_style": job.style,
    }


def _style(style: Style) -> Outcome:
    return {
        "style": style.name,
        "style_text": style.style_text,
        "steps": style.steps,
        "photos": style.photos,
        "size_bytes": style.size_bytes,
        "bundled": style.bundled,
        "thumbnail": bool(style.thumbnail),
    }


def _styled(photos: list[StyledPhoto]) -> Outcome:
    images = [photo.image for photo in photos]
    return {
        "indexes": [photo.index for photo in photos],
        "sizes": [f"{image.width}x{image.height}" if image else "" for image in images],
        "digests": [hashlib.sha256(image.data).hexdigest() if image else "" for image in images],
        "reasons": [photo.error.reason if photo.error else "" for photo in photos],
        "bytes": sum(len(image.data) for image in images if image),
    }


async def play(control: Control, case: Mapping[str, Any]) -> None:
    """Play a case with a client of its own."""
    address = json.loads(await control.get(f"servers/{case['server']}"))["grpc"]
    async with AsyncClient(address) as client:
        await ClientPlayer(control, client).play(case["steps"])


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1], sys.argv[2:], play)))
