"""The server's description of itself, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clipstyler.v1 import options_pb2
from clipstyler.v1 import server_service_pb2 as pb
from clipstyler.v1.names import word_of
from clipstyler_client._events import EncoderModel
from clipstyler_client._options import StylizeOptions, present

_READY = {"idle", "busy"}


@dataclass(frozen=True)
class EncoderSet:
    """Encoders that can guide a stylization, with their calibration."""

    name: str
    description: str
    models: tuple[EncoderModel, ...]
    source_text: str
    calibration: StylizeOptions


class PresetInfo(NamedTuple):
    """Values that a preset sets: `size` in pixels, optimizer steps, and patches (crops) per step."""

    size: int
    steps: int
    patches: int


@dataclass(frozen=True)
class Worker:
    """A worker process; `state` is "starting", "idle", "busy" or "crashed".

    Attributes
    ----------
    accelerations
        Those in use, such as "bf16".
    name
        Among the workers of the server, such as "cuda:1"; empty from a server that names none.
    host
        That it runs on; empty for that of the server.
    """

    device: str
    provider: str
    threads: int
    state: str
    restarts: int
    accelerations: tuple[str, ...] = ()
    name: str = ""
    host: str = ""


@dataclass(frozen=True)
class Identity:
    """Who calls, as the server knows it.

    Attributes
    ----------
    tenant
        Empty if the server asks for no credentials.
    role
        "user", "operator" or "probe".
    expires
        When the token expires, in UTC; None if it does not.
    """

    tenant: str
    role: str
    expires: datetime | None


@dataclass(frozen=True)
class Evaluator:
    """The process behind embeddings, text directions and quality reports; `state` as a worker's.

    Attributes
    ----------
    backends
        By encoder set, the active execution backend, such as "onnx-cpu".
    precisions
        By encoder set, "fp32" or "fp16".
    skipped
        By encoder set, why preferred backends are not used.
    """

    state: str
    restarts: int
    backends: dict[str, str]
    precisions: dict[str, str]
    skipped: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class ServerInfo:
    """Description of a server.

    Attributes
    ----------
    start_time
        When the server started, in UTC.
    limits
        By the contract's names, for instance `max_image_bytes`: what holds for this caller.
    presets
        By name, the values that a preset sets.
    evaluator
        None if the server runs without one.
    caller
        Who calls.
    waiting, running, capacity, capacity_per_caller
        The queue: jobs waiting and running, and the maximum number of waiting jobs, in all and per caller.
    """

    version: str
    start_time: datetime
    limits: dict[str, int]
    encoder_sets: tuple[EncoderSet, ...]
    presets: dict[str, PresetInfo]
    workers: tuple[Worker, ...]
    evaluator: Evaluator | None
    caller: Identity
    waiting: int
    running: int
    capacity: int
    capacity_per_caller: int

    @property
    def is_ready(self) -> bool:
        """Whether a worker takes jobs."""
        return any(worker.state in _READY for worker in self.workers)


def server_info(message: pb.ServerInfo) -> ServerInfo:
    """Translate the description of a server."""
    return ServerInfo(
        version=message.version,
        start_time=message.start_time.ToDatetime(UTC),
        limits={field.name: getattr(message.limits, field.name) for field in message.limits.DESCRIPTOR.fields},
        encoder_sets=tuple(_encoder_set(entry) for entry in message.encoder_sets),
        presets=dict(_preset(entry) for entry in message.presets),
        workers=tuple(_worker(worker) for worker in message.workers),
        evaluator=_evaluator(message.evaluator) if message.HasField("evaluator") else None,
        caller=_caller(message.caller),
        waiting=message.queue.waiting_count,
        running=message.queue.running_count,
        capacity=message.queue.capacity,
        capacity_per_caller=message.queue.capacity_per_caller,
    )


def _encoder_set(entry: pb.EncoderSet) -> EncoderSet:
    models = tuple(EncoderModel(model.name, model.digest) for model in entry.models)
    calibration: Any = present(entry.calibration)
    return EncoderSet(entry.name, entry.description, models, entry.source_text, calibration)


def _preset(entry: pb.ServerInfo.PresetInfo) -> tuple[str, PresetInfo]:
    name = word_of(options_pb2.Preset.DESCRIPTOR, entry.preset)
    return name, PresetInfo(entry.size, entry.steps, entry.patches)


def _worker(worker: pb.ServerInfo.Worker) -> Worker:
    return Worker(
        worker.device,
        worker.provider,
        worker.thread_count,
        _state(worker.state),
        worker.restart_count,
        tuple(worker.accelerations),
        worker.name,
        worker.host,
    )


def _caller(caller: pb.ServerInfo.Caller) -> Identity:
    expires = caller.expire_time.ToDatetime(UTC) if caller.HasField("expire_time") else None
    return Identity(caller.tenant, word_of(pb.ServerInfo.Caller.Role.DESCRIPTOR, caller.role), expires)


def _evaluator(evaluator: pb.ServerInfo.Evaluator) -> Evaluator:
    return Evaluator(
        state=_state(evaluator.state),
        restarts=evaluator.restart_count,
        backends={active.encoder_set: active.backend for active in evaluator.backends},
        precisions={active.encoder_set: active.precision for active in evaluator.backends},
        skipped={active.encoder_set: tuple(active.skipped) for active in evaluator.backends},
    )


def _state(state: pb.ServerInfo.Worker.State.ValueType) -> str:
    return word_of(pb.ServerInfo.Worker.State.DESCRIPTOR, state)
