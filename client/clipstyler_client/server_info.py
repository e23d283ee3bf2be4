"""What a server tells about itself."""

from __future__ import annotations

from dataclasses import dataclass

from clipstyler.v1 import server_service_pb2
from clipstyler_client.events import Model
from clipstyler_client.options import StylizeOptions, options_from_proto

_READY = {"idle", "busy"}


@dataclass(frozen=True)
class Encoders:
    """Encoders that can guide a stylization, with their calibration."""

    name: str
    description: str
    models: tuple[Model, ...]
    source_text: str
    calibration: StylizeOptions


@dataclass(frozen=True)
class Worker:
    """A process that computes; `state` is "starting", "idle", "busy" or "crashed"."""

    device: str
    provider: str
    threads: int
    state: str
    restarts: int


@dataclass(frozen=True)
class Evaluator:
    """The process behind embeddings, directions and quality; `state` as a worker's.

    `backends` says by encoders what executes their arithmetic, such as "onnx-cpu"; `skipped` why not what is preferred.
    """

    state: str
    restarts: int
    backends: dict[str, str]
    skipped: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class ServerInfo:
    """The server's description.

    Attributes
    ----------
    limits
        By the contract's names, for instance `max_image_bytes`.
    evaluator
        None where the server runs without one.
    waiting, running, capacity
        The queue: jobs that wait, that run, and that may wait.
    """

    version: str
    limits: dict[str, int]
    encoders: tuple[Encoders, ...]
    workers: tuple[Worker, ...]
    evaluator: Evaluator | None
    waiting: int
    running: int
    capacity: int

    @property
    def is_ready(self) -> bool:
        """Whether a worker takes jobs."""
        return any(worker.state in _READY for worker in self.workers)


def info_from_proto(message: server_service_pb2.GetServerInfoResponse) -> ServerInfo:
    """Translate the contract's message."""
    return ServerInfo(
        version=message.version,
        limits={field.name: int(value) for field, value in message.limits.ListFields()},
        encoders=tuple(_encoders(entry) for entry in message.encoders),
        workers=tuple(_worker(worker) for worker in message.workers),
        evaluator=_evaluator(message.evaluator) if message.HasField("evaluator") else None,
        waiting=message.queue.waiting,
        running=message.queue.running,
        capacity=message.queue.capacity,
    )


def _encoders(entry: server_service_pb2.Encoders) -> Encoders:
    models = tuple(Model(model.name, model.digest) for model in entry.models)
    return Encoders(entry.name, entry.description, models, entry.source_text, options_from_proto(entry.calibration))


def _worker(worker: server_service_pb2.Worker) -> Worker:
    return Worker(worker.device, worker.provider, worker.threads, _state(worker.state), worker.restarts)


def _evaluator(evaluator: server_service_pb2.Evaluator) -> Evaluator:
    return Evaluator(
        state=_state(evaluator.state),
        restarts=evaluator.restarts,
        backends={active.encoders: active.backend for active in evaluator.providers},
        skipped={active.encoders: tuple(active.skipped) for active in evaluator.providers},
    )


def _state(state: server_service_pb2.WorkerState.ValueType) -> str:
    return server_service_pb2.WorkerState.Name(state).removeprefix("WORKER_STATE_").lower()
