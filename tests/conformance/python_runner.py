"""Plays the conformance cases with the Python client: `python -m tests.conformance.python_runner CONTROL [CASE...]`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any

from clipstyler_client import (
    AsyncClient,
    AsyncStylizationStream,
    Event,
    Gap,
    Job,
    JobImage,
    Preview,
    Result,
    StylizeError,
    Upload,
    Warning,
)

from clipstyler.v1.image_pb2 import ImageFormat
from tests.conformance.matching import mismatches

EVENTUALLY_S, PAUSE_S = 30.0, 0.05
CASE_TIMEOUT_S = 120.0
_VARIABLE = re.compile(r"\$\{(\w+)\}")
Outcome = dict[str, Any]


class Control:
    """The test's control: photos, gates and servers."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def get(self, path: str) -> bytes:
        return await asyncio.to_thread(self._send, path, None)

    async def post(self, path: str) -> None:
        await asyncio.to_thread(self._send, path, b"")

    def _send(self, path: str, body: bytes | None) -> bytes:
        with urllib.request.urlopen(f"{self._address}/{path}", data=body, timeout=120) as response:
            return response.read()


class CaseFailedError(Exception):
    """A step did not do what was expected."""


class Player:
    """Plays one case with one client."""

    def __init__(self, control: Control, client: AsyncClient) -> None:
        self._control, self._client = control, client
        self._variables: dict[str, Any] = {"uuid": str(uuid.uuid4())}

    async def play(self, steps: list[dict[str, Any]]) -> None:
        """Play the steps; raises `CaseFailedError` with the first that fails."""
        for number, written in enumerate(steps, start=1):
            step = self._filled(written)
            if "call" not in step:
                await self._control.post(step["control"])
                continue
            outcome = await self._matching(step, number)
            self._variables |= {name: outcome[key] for name, key in step.get("save", {}).items()}

    async def _matching(self, step: Mapping[str, Any], number: int) -> Outcome:
        until = time.monotonic() + (EVENTUALLY_S if step.get("eventually") else 0)
        while True:
            outcomes = await asyncio.gather(*(self._outcome(step) for _ in range(step.get("parallel", 1))))
            wrong = next(filter(None, (mismatches(step.get("expect", {}), outcome) for outcome in outcomes)), None)
            if not wrong:
                return outcomes[0]
            if time.monotonic() > until:
                raise CaseFailedError(f"step {number}, {step['call']}: {'; '.join(wrong)}")
            await asyncio.sleep(PAUSE_S)

    async def _outcome(self, step: Mapping[str, Any]) -> Outcome:
        outcome: Outcome = {"code": "OK"}
        try:
            await getattr(self, f"_{step['call']}")(step, outcome)
        except StylizeError as error:
            outcome |= _error(error)
        return outcome

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        if not isinstance(value, str):
            return value
        if whole := _VARIABLE.fullmatch(value):
            return self._variables[whole[1]]
        return _VARIABLE.sub(lambda found: str(self._variables[found[1]]), value)

    async def _photo(self, step: Mapping[str, Any]) -> bytes | Upload:
        if "upload" in step:
            return Upload(step["upload"])
        return await self._control.get(f"photos/{step['photo']}")

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
                await self._control.post(at["control"])
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
        photo = await self._control.get(f"photos/{step['photo']}")
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
        outcome |= {"seed": events[-1].seed} | _image(events[-1], events[-1].image)
    return outcome


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
    }


async def play(control: Control, case: Mapping[str, Any]) -> dict[str, object]:
    """Play a case; returns the line that reports it."""
    detail = ""
    address = json.loads(await control.get(f"servers/{case['server']}"))["grpc"]
    async with AsyncClient(address) as client:
        try:
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await Player(control, client).play(case["steps"])
        except Exception as error:  # noqa: BLE001 - whatever happens is the case's result
            detail = f"{type(error).__name__}: {error}"
    return {"name": case["name"], "ok": not detail, "detail": detail}


async def main(address: str, names: list[str]) -> int:
    """Play cases, all if no names are given; returns the exit code."""
    control = Control(address)
    cases = json.loads(await control.get("cases"))
    code = 0
    for case in cases:
        if not names or case["name"] in names:
            line = await play(control, case)
            print(json.dumps(line), flush=True)
            code = code if line["ok"] else 1
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2:])))
