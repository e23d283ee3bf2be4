"""Requests of jobs: spec, photo, priority, request id and time, with every bad field named at once."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration

from clipstyler.style import MAX_PHOTOS
from clipstyler.v1.style_service_pb2 import CreateStyleRequest, StylePhoto
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from clipstyler.v1.stylization_service_pb2 import (
    CreateStylizationRequest,
    GetStylizationImageRequest,
    StylizeRequest,
    WatchStylizationRequest,
)
from clipstyler_server.api.codec.spec import read_spec
from clipstyler_server.api.codec.values import canonical_uuid, read_stylization_name
from clipstyler_server.errors import Violation, invalid
from clipstyler_server.jobs.job_request import JobRequest, PhotoRequest

UPLOADS = "uploads/"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def read_one_shot(request: StylizeRequest, remaining_s: float | None) -> JobRequest:
    """Read the request of a one-shot call with its remaining time; admission reports what cannot be used."""
    return _job_request(request.spec, request.priority, [], timeout_s=remaining_s)


def read_job(request: CreateStylizationRequest) -> JobRequest:
    """Read the request of a durable job; admission reports what cannot be used."""
    return _durable(request.spec, request, [])


def read_fit(request: CreateStyleRequest, bundled: Sequence[bytes]) -> JobRequest:
    """Read the request of a job that fits a style, by default to bundled photos; admission reports what is unusable."""
    violations: list[Violation] = []
    fit, spec = request.fit, request.fit.spec
    if request.stylization:
        violations.append(Violation("stylization", "must be empty if something is fitted"))
    if spec.WhichOneof("photo"):
        violations.append(Violation("spec.photo", "must be empty: photos are in the field photos"))
    if spec.HasField("region"):
        violations.append(Violation("spec.region", "must be empty: a style has no regions"))
    if len(fit.photos) > MAX_PHOTOS:
        violations.append(Violation("photos", f"must be at most {MAX_PHOTOS}, got {len(fit.photos)}"))
    photos = [_fitted_photo(photo, number, violations) for number, photo in enumerate(fit.photos[:MAX_PHOTOS])]
    first, *others = photos or [PhotoRequest(data, "") for data in bundled]
    job = _durable(spec, request, violations)
    kept = replace(job.spec, options={**(job.spec.options or {}), "keep_style": True})
    return replace(job, spec=kept, photo=first, others=tuple(others))


def read_watch(request: WatchStylizationRequest) -> tuple[str, int]:
    """Return the id of a job, and the number of the last event that its watcher has; or raise INVALID_FIELD."""
    if request.after_sequence < 0:
        raise invalid(Violation("after_sequence", f"must be at least 0, got {request.after_sequence}"))
    return read_stylization_name(request.name), request.after_sequence


def read_image_kind(request: GetStylizationImageRequest) -> int:
    """Read which image is asked for, or raise `ServiceError` INVALID_FIELD."""
    kind = request.kind or Stylization.IMAGE_KIND_RESULT
    if kind not in Stylization.ImageKind.values():
        raise invalid(Violation("kind", f"{kind} is unknown to this server"))
    return int(kind)


def read_upload(name: str, field: str, violations: list[Violation]) -> str:
    """Return the digest of an uploaded photo; empty, and a violation more, if it is not named as UploadImage does."""
    digest = name.removeprefix(UPLOADS)
    if name.startswith(UPLOADS) and _DIGEST.fullmatch(digest):
        return digest
    violations.append(Violation(field, f"must be a name that UploadImage returned, {UPLOADS}..."))
    return ""


def _fitted_photo(photo: StylePhoto, number: int, violations: list[Violation]) -> PhotoRequest:
    kind = photo.WhichOneof("photo")
    if kind is None:
        violations.append(Violation(f"photos[{number}]", "is missing: send an image or the name of an upload"))
    upload = read_upload(photo.upload, f"photos[{number}].upload", violations) if kind == "upload" else ""
    return PhotoRequest(photo.image, upload)


def _durable(
    spec: StylizationSpec, request: CreateStylizationRequest | CreateStyleRequest, violations: list[Violation]
) -> JobRequest:
    timeout_s = _timeout(request.timeout, violations) if request.HasField("timeout") else None
    request_id = _request_id(request.request_id, violations) if request.request_id else ""
    return _job_request(spec, request.priority, violations, timeout_s, request_id)


def _job_request(
    spec: StylizationSpec,
    priority: int,
    violations: list[Violation],
    timeout_s: float | None = None,
    request_id: str = "",
) -> JobRequest:
    region = spec.region
    upload = read_upload(spec.upload, "spec.upload", violations) if spec.WhichOneof("photo") == "upload" else ""
    is_uploaded = region.WhichOneof("source") == "upload"
    mask_upload = read_upload(region.upload, "spec.region.upload", violations) if is_uploaded else ""
    priority = priority or Stylization.PRIORITY_NORMAL
    if priority not in Stylization.Priority.values():
        violations.append(Violation("priority", f"{priority} is unknown to this server"))
    mask = PhotoRequest(region.mask, mask_upload) if region.WhichOneof("source") in {"mask", "upload"} else None
    photo = PhotoRequest(spec.image, upload)
    return JobRequest(
        read_spec(spec), photo, int(priority), timeout_s, request_id, mask=mask, violations=tuple(violations)
    )


def _timeout(timeout: Duration, violations: list[Violation]) -> float:
    seconds = timeout.seconds + timeout.nanos / 1e9
    try:
        timeout.ToJsonString()  # the only public check of its two fields
    except ValueError as error:
        violations.append(Violation("timeout", str(error)))
    else:
        if seconds <= 0:
            violations.append(Violation("timeout", f"must be above 0 s, got {seconds:g} s"))
    return seconds


def _request_id(text: str, violations: list[Violation]) -> str:
    canonical = canonical_uuid(text)
    if canonical is None or uuid.UUID(canonical).version != 4:
        violations.append(Violation("request_id", "must be a UUID4, a fresh one for each job"))
        return ""
    return canonical
