"""From the contract's request to the domain: absent fields, enum numbers, limits. Raises with every bad field named."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from clipstyler.config import (
    DEFAULT_PRESET,
    LARGEST_SEED,
    AugmentFill,
    ConfigError,
    Preset,
    StylizeConfig,
    TvForm,
    check_seed,
    resolve,
)
from clipstyler.imaging import Header, ImageError, ImageFormat, fitted_size, read_header
from clipstyler.prompts import check_texts
from clipstyler.v1 import options_pb2, stylization_pb2
from clipstyler.v1.stylization_service_pb2 import (
    CreateStylizationRequest,
    GetStylizationImageRequest,
    ListStylizationsRequest,
    StylizeRequest,
)
from clipstyler_server.engine.base import Encoders, PreviewPolicy
from clipstyler_server.errors import Violation, blame, invalid
from clipstyler_server.jobs.records import State
from clipstyler_server.settings import Settings

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

UPLOADS = "uploads/"
NAMES = "stylizations/"
CLIENT_HEADER = "x-clipstyler-client"
STATES: Mapping[int, State] = {
    stylization_pb2.STATE_QUEUED: State.QUEUED,
    stylization_pb2.STATE_RUNNING: State.RUNNING,
    stylization_pb2.STATE_SUCCEEDED: State.SUCCEEDED,
    stylization_pb2.STATE_FAILED: State.FAILED,
    stylization_pb2.STATE_CANCELLED: State.CANCELLED,
}
PRESETS: Mapping[int, Preset] = {
    options_pb2.PRESET_DRAFT: Preset.DRAFT,
    options_pb2.PRESET_PAPER: Preset.PAPER,
}
TV_FORMS: Mapping[int, TvForm] = {
    options_pb2.TV_FORM_NORM: TvForm.NORM,
    options_pb2.TV_FORM_SQUARED: TvForm.SQUARED,
}
AUGMENT_FILLS: Mapping[int, AugmentFill] = {
    options_pb2.AUGMENT_FILL_BLACK: AugmentFill.BLACK,
    options_pb2.AUGMENT_FILL_CONTEXT: AugmentFill.CONTEXT,
}
IMAGE_FORMATS: Mapping[int, ImageFormat] = {
    options_pb2.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    options_pb2.IMAGE_FORMAT_WEBP: ImageFormat.WEBP,
    options_pb2.IMAGE_FORMAT_PNG: ImageFormat.PNG,
}
_PAGE_SIZE = 50
_LARGEST_PAGE = 1000
_CLIENT = re.compile(r"[\x21-\x7e]{1,100}")
PREVIEW_EVERY_STEPS = 10
PREVIEW_MAX_SIZE = 256
SMALLEST_PREVIEW = 16

_PLAIN_OPTIONS = (
    "size",
    "steps",
    "patches",
    "crop_size",
    "learning_rate",
    "threshold",
    "threshold_rejection",
    "augmentation",
    "contrast",
    "crop_overhang",
    "text_share",
    "input_noise",
    "warm_up",
    "enlarge",
)
_WEIGHTS = {
    "direction": "weight_direction",
    "patch": "weight_patch",
    "content": "weight_content",
    "total_variation": "weight_tv",
}
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Wish:
    """What a request asks for, complete and within the limits; the photo is known by its header only."""

    style_text: str
    source_text: str
    encoders: str
    preset: Preset
    config: StylizeConfig
    seed: int
    previews: PreviewPolicy
    result_format: ImageFormat
    header: Header


@dataclass(frozen=True)
class PageQuery:
    """Which page of jobs: so many, in this state (None: any), created before this one (time and id)."""

    size: int
    state: State | None
    before: tuple[float, str] | None


class _Complaints(list[Violation]):
    """Collects what is wrong with the parts of a request, so that the caller is told everything at once."""

    @contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            self.append(blame(error.field, error.problem))
        except ImageError as error:
            self.append(Violation("image", str(error)))


def read_request(
    request: CreateStylizationRequest, photo: bytes, available: tuple[Encoders, ...], settings: Settings
) -> Wish:
    """Read a request.

    Raises
    ------
    ServiceError
        INVALID_FIELD, with a violation for every part that cannot be used.
    """
    complaints = _Complaints()
    header = encoders = config = None
    preset, texts, seed = DEFAULT_PRESET, ("", ""), 0
    with complaints.collect():
        header = read_header(photo, settings.image_limits)
    with complaints.collect():
        encoders = _encoders(request.options.encoders, available)
    with complaints.collect():
        seed = _seed(request.options)
    with complaints.collect():
        previews = _previews(request.previews, settings)
    with complaints.collect():
        result_format = _enum(IMAGE_FORMATS, request.result_format, "result_format", ImageFormat.PNG)
    if encoders:
        with complaints.collect():
            texts = _texts(request, encoders, settings)
        with complaints.collect():
            preset = _enum(PRESETS, request.options.preset, "options.preset", DEFAULT_PRESET)
            config = _config(request.options, preset, encoders, settings)
    if header and config:
        with complaints.collect():
            config.crop_side(*fitted_size(header.width, header.height, config.size, config.enlarge))
    if complaints or not (header and encoders and config):
        raise invalid(*complaints)
    return Wish(*texts, encoders.name, preset, config, seed, previews, result_format, header)


def as_job(request: StylizeRequest) -> CreateStylizationRequest:
    """Turn a one-shot request into that of a job."""
    job = CreateStylizationRequest(
        image=request.image,
        style_text=request.style_text,
        result_format=request.result_format,
        priority=request.priority,
        upload=request.upload,
    )
    job.options.CopyFrom(request.options)
    job.previews.CopyFrom(request.previews)
    if request.HasField("source_text"):
        job.source_text = request.source_text
    return job


def read_name(name: str) -> str:
    """Read a resource name; returns the id.

    Raises
    ------
    ServiceError
        INVALID_FIELD.
    """
    job_id = name.removeprefix(NAMES)
    if not name.startswith(NAMES) or not _is_uuid(job_id):
        raise invalid(Violation("name", f"must be {NAMES}{{uuid}}, got {name[:80]!r}"))
    return job_id


def read_request_id(request: CreateStylizationRequest) -> str:
    """Read the caller's id of a request, or raise INVALID_FIELD."""
    if not _is_uuid(request.request_id) or uuid.UUID(request.request_id).version != 4:
        raise invalid(Violation("request_id", "must be a UUID4 in lower case, a fresh one for each job"))
    return request.request_id


def read_priority(request: CreateStylizationRequest) -> int:
    """Read the class in the queue; larger goes first. Raises INVALID_FIELD."""
    priority = request.priority or stylization_pb2.PRIORITY_NORMAL
    if priority not in stylization_pb2.Priority.values():
        raise invalid(Violation("priority", f"{priority} is unknown to this server"))
    return int(priority)


def read_timeout(request: CreateStylizationRequest) -> float | None:
    """Read how long a job may take; None: the server's default. Raises INVALID_FIELD."""
    if not request.HasField("timeout"):
        return None
    seconds = request.timeout.seconds + request.timeout.nanos / 1e9
    if seconds <= 0:
        raise invalid(Violation("timeout", "must be more than nothing"))
    return seconds


def read_image_kind(request: GetStylizationImageRequest) -> int:
    """Read which image is wanted, or raise INVALID_FIELD."""
    kind = request.kind or stylization_pb2.IMAGE_KIND_RESULT
    if kind not in stylization_pb2.ImageKind.values():
        raise invalid(Violation("kind", f"{kind} is unknown to this server"))
    return int(kind)


def read_client(context: ServicerContext[Any, Any]) -> str:
    """Tell whose call it is: by its header, else by its address without the port."""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_HEADER and isinstance(value, str) and _CLIENT.fullmatch(value):
            return value
    return str(context.peer()).rpartition(":")[0][:100]


def read_page(request: ListStylizationsRequest) -> PageQuery:
    """Read which page is wanted, or raise INVALID_FIELD."""
    size = request.page_size or _PAGE_SIZE
    if size > _LARGEST_PAGE:
        raise invalid(Violation("page_size", f"must be at most {_LARGEST_PAGE}, got {size}"))
    if request.state and request.state not in STATES:
        raise invalid(Violation("state", f"{request.state} is unknown to this server"))
    state = STATES.get(request.state)
    return PageQuery(size, state, _before(request.page_token, state) if request.page_token else None)


def _before(token: str, state: State | None) -> tuple[float, str]:
    try:
        created_at, job_id, asked = base64.urlsafe_b64decode(token).decode().split("/")
        before = float(created_at), job_id
    except (binascii.Error, ValueError):
        raise invalid(Violation("page_token", "is not one of this server's: begin with an empty one")) from None
    if asked != (state or ""):
        raise invalid(Violation("page_token", "belongs to another filter: begin with an empty one"))
    return before


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _encoders(name: str, available: tuple[Encoders, ...]) -> Encoders:
    if not name:
        return available[0]
    for encoders in available:
        if encoders.name == name:
            return encoders
    known = ", ".join(encoders.name for encoders in available)
    raise ConfigError("encoders", f"{name!r} is not loaded here: use one of {known}")


def _texts(request: CreateStylizationRequest, encoders: Encoders, settings: Settings) -> tuple[str, str]:
    source = request.source_text if request.HasField("source_text") else encoders.calibration.source_text
    return check_texts(request.style_text, source, settings.max_text_characters)


def _seed(options: options_pb2.StylizationOptions) -> int:
    return check_seed(options.seed) if options.HasField("seed") else secrets.randbelow(LARGEST_SEED + 1)


def _config(
    options: options_pb2.StylizationOptions, preset: Preset, encoders: Encoders, settings: Settings
) -> StylizeConfig:
    asked: dict[str, object] = {
        name: getattr(options, name)
        for name in _PLAIN_OPTIONS
        if options.HasField(name)  # type: ignore[arg-type]
    }
    asked |= {
        field: getattr(options.weights, name)
        for name, field in _WEIGHTS.items()
        if options.weights.HasField(name)  # type: ignore[arg-type]
    }
    asked["augment_fill"] = _enum(AUGMENT_FILLS, options.augment_fill, "options.augment_fill", AugmentFill.BLACK)
    tv_form = _enum(TV_FORMS, options.tv_form, "options.tv_form", TvForm.NORM)
    config = resolve(encoders.calibration, preset, tv_form=tv_form, **asked)
    for name, limit in (
        ("size", settings.max_size),
        ("steps", settings.max_steps),
        ("patches", settings.max_patches),
    ):
        value = getattr(config, name)
        if value > limit:
            raise ConfigError(name, f"must be at most {limit} on this server, got {value}")
    return config


def _previews(asked: options_pb2.PreviewOptions, settings: Settings) -> PreviewPolicy:
    every_steps = asked.every_steps if asked.HasField("every_steps") else PREVIEW_EVERY_STEPS
    default_size = min(PREVIEW_MAX_SIZE, settings.max_preview_size)
    max_size = asked.max_size if asked.HasField("max_size") else default_size
    if not SMALLEST_PREVIEW <= max_size <= settings.max_preview_size:
        raise ConfigError(
            "previews.max_size",
            f"must be {SMALLEST_PREVIEW} to {settings.max_preview_size} px on this server, got {max_size}",
        )
    return PreviewPolicy(every_steps, max_size, _enum(IMAGE_FORMATS, asked.format, "previews.format", ImageFormat.JPEG))


def _enum(known: Mapping[int, _Value], number: int, path: str, default: _Value) -> _Value:
    """Translate an enum's number; 0 means the default, as everywhere in the contract."""
    if number == 0:
        return default
    if number not in known:
        names = ", ".join(f"{value} ({key})" for key, value in known.items())
        raise ConfigError(path, f"{number} is unknown to this server: use {names}, or leave it out")
    return known[number]
