"""Plays the conformance cases by plain JSON: `python -m tests.conformance.json_runner CONTROL [CASE...]`.

The calls go through the gateway. Nothing resumes without a client; there are no uploads, which stream to the server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from clipstyler.v1.error_pb2 import Error
from tests.conformance.player import Control, Outcome, Player, run

STYLIZATION = "clipstyler.v1.StylizationService"
STYLE = "clipstyler.v1.StyleService"
_LARGE_LINE = 2**23


class CallFailedError(Exception):
    """A call, or the job that it watched, failed; `status` has the fields of a `google.rpc.Status` or an `Error`."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__(status.get("message", ""))
        self.status = status


class JsonPlayer(Player):
    """Makes the calls with JSON."""

    def __init__(self, control: Control, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__(control)
        self._session, self._url = session, url

    async def _outcome(self, step: Mapping[str, Any]) -> Outcome:
        outcome: Outcome = {"code": "OK"}
        try:
            await getattr(self, f"_{step['call']}")(step, outcome)
        except CallFailedError as error:
            outcome |= _error(error.status)
        return outcome

    async def _call(self, method: str, request: Mapping[str, Any]) -> dict[str, Any]:
        async with self._session.post(f"{self._url}/{method}", json=request) as response:
            body = await response.json()
            if response.status != 200:
                raise CallFailedError(body)
            return body

    async def _lines(
        self, method: str, request: Mapping[str, Any], timeout_s: float | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        headers = {"grpc-timeout": f"{round(1000 * timeout_s)}m"} if timeout_s else {}
        async with self._session.post(f"{self._url}/{method}", json=request, headers=headers) as response:
            if response.status != 200:
                raise CallFailedError(await response.json())
            async for line in response.content:
                yield json.loads(line)

    async def _spec(self, step: Mapping[str, Any]) -> dict[str, Any]:
        if "upload" in step:
            return step["spec"] | {"upload": step["upload"]}
        photo = await self.control.get(f"photos/{step['photo']}")
        return step["spec"] | {"image": base64.b64encode(photo).decode()}

    async def _stylize(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        request = {"spec": await self._spec(step), "priority": step.get("priority", 0)}
        await self._read(self._lines(f"{STYLIZATION}/Stylize", request, step.get("timeout_s")), step, outcome)

    async def _watch(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        request = {"name": step["job"], "after_sequence": step.get("after_sequence", 0)}
        await self._read(self._lines(f"{STYLIZATION}/WatchStylization", request), step, outcome)

    async def _read(self, lines: AsyncIterator[dict[str, Any]], step: Mapping[str, Any], outcome: Outcome) -> None:
        events: list[dict[str, Any]] = []
        at = step.get("at", {})
        try:
            async for line in lines:
                events.append(line["event"])
                if at.get("event") not in line["event"]:
                    continue
                if at.get("stop"):
                    await lines.aclose()
                    break
                await self.control.post(at["control"])
                at = {}
        finally:
            outcome |= _events(events)
        _raise_end(events[-1])

    async def _create(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        request = {"spec": await self._spec(step)} | _as_a_job(step)
        outcome |= _job(await self._call(f"{STYLIZATION}/CreateStylization", request))

    async def _get(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _job(await self._call(f"{STYLIZATION}/GetStylization", {"name": step["job"]}))

    async def _cancel(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _job(await self._call(f"{STYLIZATION}/CancelStylization", {"name": step["job"]}))

    async def _delete(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._call(f"{STYLIZATION}/DeleteStylization", {"name": step["job"]})

    async def _list(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome["jobs"], token = [], ""
        while True:
            request = {"state": step["state"], "page_token": token}
            page = await self._call(f"{STYLIZATION}/ListStylizations", request)
            outcome["jobs"] += [job["name"] for job in page.get("stylizations", [])]
            if not (token := page.get("nextPageToken", "")):
                return

    async def _image(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        request = {"name": step["job"], "kind": step["kind"]}
        parts = [line async for line in self._lines(f"{STYLIZATION}/GetStylizationImage", request)]
        outcome |= _image(parts[0]["metadata"], b"".join(base64.b64decode(part["data"]) for part in parts[1:]))

    async def _info(self, _: Mapping[str, Any], outcome: Outcome) -> None:
        info = (await self._call("clipstyler.v1.ServerService/GetServerInfo", {}))["serverInfo"]
        outcome |= {
            "version": info["version"],
            "max_image_bytes": int(info["limits"]["maxImageBytes"]),
            "encoder_sets": [encoder_set["name"] for encoder_set in info["encoderSets"]],
            "running": info["queue"].get("runningCount", 0),
            "ready": any(worker["state"] in {"STATE_IDLE", "STATE_BUSY"} for worker in info["workers"]),
        }

    async def _style_create(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _style(await self._call(f"{STYLE}/CreateStyle", {"stylization": step["job"]}))

    async def _style_fit(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        photos = [await self._style_photo(name) for name in step.get("photos", [])]
        request = {"fit": {"spec": step["spec"], "photos": photos}} | _as_a_job(step)
        outcome |= _job(await self._call(f"{STYLE}/CreateStyle", request))

    async def _style_photo(self, name: str) -> dict[str, str]:
        photo = await self.control.get(f"photos/{name}")
        return {"image": base64.b64encode(photo).decode()}

    async def _style_get(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        outcome |= _style(await self._call(f"{STYLE}/GetStyle", {"name": step["style"]}))

    async def _style_list(self, _: Mapping[str, Any], outcome: Outcome) -> None:
        styles: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self._call(f"{STYLE}/ListStyles", {"page_token": token})
            styles += page.get("styles", [])
            if not (token := page.get("nextPageToken", "")):
                break
        outcome |= {
            "styles": [style["name"] for style in styles],
            "first": styles[0]["name"],
            "first_is_bundled": styles[0].get("bundled", False),
        }

    async def _style_delete(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._call(f"{STYLE}/DeleteStyle", {"name": step["style"]})

    async def _style_download(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        parts = [line["data"] async for line in self._lines(f"{STYLE}/DownloadStyle", {"name": step["style"]})]
        data = b"".join(map(base64.b64decode, parts))
        outcome |= {"bytes": len(data), "style": f"styles/{hashlib.sha256(data).hexdigest()}"}

    async def _style_upload(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        file = await self.control.get(f"styles/{step['file']}")
        outcome |= _style(await self._call(f"{STYLE}/UploadStyle", {"data": base64.b64encode(file).decode()}))

    async def _style_render(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        how = {key: step[key] for key in ("style", "second_style", "controls", "result_format") if key in step}
        request: dict[str, Any] = {"application": how, "stylization": step.get("job", "")}
        if "photo" in step:
            request["photo"] = await self._style_photo(step["photo"])
        parts = [line async for line in self._lines(f"{STYLE}/RenderStyle", request)]
        outcome |= _image(parts[0]["metadata"], b"".join(base64.b64decode(part["data"]) for part in parts[1:]))

    async def _encode_text(self, step: Mapping[str, Any], _: Outcome) -> None:
        await self._call("clipstyler.v1.EncoderService/EncodeText", {"texts": step["texts"]})


def _as_a_job(step: Mapping[str, Any]) -> dict[str, Any]:
    """How a job is treated, as fields of the request that creates it."""
    treated = {key: step[key] for key in ("request_id", "priority") if key in step}
    return treated | ({"timeout": f"{step['timeout_s']}s"} if "timeout_s" in step else {})


def _raise_end(event: Mapping[str, Any]) -> None:
    if "failed" in event:
        raise CallFailedError(event["failed"]["error"])
    if "cancelled" in event:
        raise CallFailedError({"code": "CODE_CANCELLED", "reason": "CANCELLED"})


def _error(status: Mapping[str, Any]) -> Outcome:
    """The outcome of a status, whose facts are in its details, or of an error message, which has them itself."""
    details = {detail["@type"].rpartition(".")[2]: detail for detail in status.get("details", [])}
    info = details.get("ErrorInfo", status)
    violations = details.get("BadRequest", status).get("fieldViolations", [])
    delay = details.get("RetryInfo", status).get("retryDelay")
    code = status["code"]
    return {
        "code": (code if isinstance(code, str) else Error.Code.Name(code)).removeprefix("CODE_"),
        "message": status.get("message", ""),
        "reason": info.get("reason", ""),
        "metadata": info.get("metadata", {}),
        "fields": sorted(violation["field"] for violation in violations),
        "retry_delay_s": float(delay.removesuffix("s")) if delay else None,
    }


def _events(events: list[dict[str, Any]]) -> Outcome:
    kinds = [
        next((kind for kind in event if kind not in {"stylization", "sequence", "eventTime"}), "") for event in events
    ]
    sequences = [int(event.get("sequence", 0)) for event in events]
    gaps = [event["gap"] for event in events if "gap" in event]
    outcome = {
        "events": [kind for kind in kinds if kind not in {"", "chunk", "failed", "cancelled"}],
        "previews": kinds.count("preview"),
        "in_order": sequences == sorted(sequences),
        "sequence": sequences[-1] if sequences else 0,
        "warnings": [event["warning"]["code"] for event in events if "warning" in event],
        "skipped_progress": sum(gap.get("skippedProgressCount", 0) for gap in gaps),
        "log_expired": any(gap.get("logExpired", False) for gap in gaps),
        "job": events[-1]["stylization"] if events else "",
    }
    if events and (result := events[-1].get("result")):
        chunks = "imageData" not in result
        data = (event["chunk"]["data"] for event in events if "chunk" in event) if chunks else (result["imageData"],)
        outcome["seed"] = int(result["spec"]["options"]["seed"])
        outcome["fitted_style"] = result["result"].get("style", "")
        outcome |= _image(result["result"]["image"], b"".join(map(base64.b64decode, data)))
    draft = next((event["draft"] for event in events if "draft" in event), None)
    return outcome | (_draft(draft) if draft else {})


def _draft(draft: Mapping[str, Any]) -> Outcome:
    return {
        "draft_style": draft["style"],
        "draft_text": draft["styleText"],
        "draft_similarity": draft.get("similarity"),
        "draft_width": draft["image"]["widthPx"],
        "draft_bytes": len(base64.b64decode(draft["imageData"])),
    }


def _image(metadata: Mapping[str, Any], data: bytes) -> Outcome:
    return {
        "width": metadata["widthPx"],
        "height": metadata["heightPx"],
        "format": metadata.get("format", "IMAGE_FORMAT_UNSPECIFIED"),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _job(response: Mapping[str, Any]) -> Outcome:
    job = response["stylization"]
    return {
        "job": job["name"],
        "state": job["state"],
        "cancel_reason": job.get("cancelReason", ""),
        "step": job.get("step", 0),
        "attempts": job.get("attemptCount", 0),
        "style_text": job["spec"].get("styleText", ""),
        "seed": int(job["spec"]["options"].get("seed", 0)),
        "error_reason": job.get("error", {}).get("reason", ""),
        "fitted_photos": job.get("fittedPhotoCount", 0),
        "fitted_style": job.get("result", {}).get("style", ""),
    }


def _style(response: Mapping[str, Any]) -> Outcome:
    style = response["style"]
    return {
        "style": style["name"],
        "style_text": style["styleText"],
        "steps": style.get("stepCount", 0),
        "photos": style.get("photoCount", 0),
        "size_bytes": int(style["sizeBytes"]),
        "bundled": style.get("bundled", False),
        "thumbnail": "thumbnail" in style,
    }


async def play(control: Control, case: Mapping[str, Any]) -> None:
    """Play a case with a session of its own."""
    url = json.loads(await control.get(f"gateways/{case['server']}"))["url"]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=_LARGE_LINE) as session:
        await JsonPlayer(control, session, url).play(case["steps"])


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1], sys.argv[2:], play)))
