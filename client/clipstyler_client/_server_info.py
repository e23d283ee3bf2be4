"""The server's description of itself, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Worker:
    """A worker process; `state` is "starting", "idle", "busy" or "crashed".

    Attributes
    ----------
    accelerations
        Those in use, such as "bf16".
    """

    device: str
    provider: str
    threads: int
    state: str
    restarts: int
    accelerations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluator:
    """The process behind embeddings, text directions and quality reports; `state` as a worker's.

    Attributes
    ----------
    backends
        By encoder set, the active execution backend, such as "onnx-cpu".
    skipped
        By encoder set, why preferred backends are not used.
    """

    state: str
    restarts: int
    backends: dict[str, str]
    skipped: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class ServerInfo:
    """Description of a server.

    Attributes
    ----------
    limits
        By the contract's names, for instance `max_image_bytes`.
    evaluator
        None if the server runs without one.
    waiting, running, capacity
        The queue: jobs waiting and running, and the maximum number of waiting jobs.
    """

    version: str
    limits: dict[str, int]
    encoder_sets: tuple[EncoderSet, ...]
    workers: tuple[Worker, ...]
    evaluator: Evaluator | None
    waiting: int
    running: int
    capacity: int

    @property
    def is_ready(self) -> bool:
        """Whether a worker takes jobs."""
        return any(worker.state in _READY for worker in self.workers)


def server_info(message: pb.ServerInfo) -> ServerInfo:
    """Translate the description of a server."""
    return ServerInfo(
        version=message.version,
        limits=present(message.limits),
        encoder_sets=tuple(_encoder_set(entry) for entry in message.encoder_sets),
        workers=tuple(_worker(worker) for worker in message.workers),
        evaluator=_evaluator(message.evaluator) if message.HasField("evaluator") else None,
        waiting=message.queue.waiting_count,
        running=message.queue.running_count,
        capacity=message.queue.capacity,
    )


def _encoder_set(entry: pb.EncoderSet) -> EncoderSet:
    models = tuple(EncoderModel(model.name, model.digest) for model in entry.models)
    calibration: Any = present(entry.calibration)
    return EncoderSet(entry.name, entry.description, models, entry.source_text, calibration)


def _worker(worker: pb.ServerInfo.Worker) -> Worker:
    return Worker(
        worker.device,
        worker.provider,
        worker.thread_count,
        _state(worker.state),
        worker.restart_count,
        tuple(worker.accelerations),
    )


def _evaluator(evaluator: pb.ServerInfo.Evaluator) -> Evaluator:
    return Evaluator(
        state=_state(evaluator.state),
        restarts=evaluator.restart_count,
        backends={active.encoder_set: active.backend for active in evaluator.backends},
        skipped={active.encoder_set: tuple(active.skipped) for active in evaluator.backends},
    )


def _state(state: pb.ServerInfo.Worker.State.ValueType) -> str:
    return word_of(pb.ServerInfo.Worker.State.DESCRIPTOR, state)
