"""The description of the server."""

from __future__ import annotations

from clipstyler.config import PRESETS, TvForm
from clipstyler.encoders.description import EncoderDescription
from clipstyler.v1.names import number_of
from clipstyler.v1.options_pb2 import Preset
from clipstyler.v1.server_service_pb2 import EncoderSet, ServerInfo
from clipstyler_server.api.codec.spec import options_message
from clipstyler_server.api.codec.stylization import models_message
from clipstyler_server.identity.roles import Principal
from clipstyler_server.workers.engine import DeviceStatus, WorkerState
from clipstyler_server.workers.evaluator.client import EvaluatorClient

_STATES = {
    WorkerState.STARTING: ServerInfo.Worker.STATE_STARTING,
    WorkerState.READY: ServerInfo.Worker.STATE_IDLE,
    WorkerState.CRASHED: ServerInfo.Worker.STATE_CRASHED,
}


def encoder_set_message(encoders: EncoderDescription) -> EncoderSet:
    """Translate an encoder set; the TV weight of its calibration is that of the default form."""
    calibration = encoders.calibration
    values = vars(calibration) | {"tv_form": TvForm.NORM, "weight_tv": calibration.weight_tv(TvForm.NORM)}
    return EncoderSet(
        name=encoders.name,
        description=encoders.description,
        models=models_message(encoders.models),
        calibration=options_message(values),
        source_text=calibration.source_text,
    )


def preset_messages() -> list[ServerInfo.PresetInfo]:
    """List what the presets set."""
    return [
        ServerInfo.PresetInfo(
            preset=number_of(Preset.DESCRIPTOR, preset),
            **work._asdict(),
        )
        for preset, work in PRESETS.items()
    ]


def worker_message(device: DeviceStatus) -> ServerInfo.Worker:
    """Translate the state of an optimizer."""
    is_working = device.is_busy and device.state is WorkerState.READY
    worker = ServerInfo.Worker(
        name=device.name,
        state=ServerInfo.Worker.STATE_BUSY if is_working else _STATES[device.state],
        restart_count=device.restarts,
    )
    if device.info:
        worker.device = device.info.device
        worker.host = device.info.host
        worker.provider = device.info.provider
        worker.thread_count = device.info.threads
        worker.accelerations.extend(device.info.accelerations)
    return worker


def caller_message(principal: Principal) -> ServerInfo.Caller:
    """Translate who calls."""
    caller = ServerInfo.Caller(
        tenant=principal.tenant, role=number_of(ServerInfo.Caller.Role.DESCRIPTOR, principal.role)
    )
    if principal.expires_at:
        caller.expire_time.FromDatetime(principal.expires_at)
    return caller


def evaluator_message(evaluator: EvaluatorClient) -> ServerInfo.Evaluator:
    """Translate the state of the evaluator and its backends."""
    backends = [
        ServerInfo.Evaluator.Backend(
            encoder_set=facts.name, backend=facts.backend, precision=facts.precision, skipped=facts.skipped
        )
        for facts in evaluator.facts.values()
    ]
    return ServerInfo.Evaluator(state=_STATES[evaluator.state], restart_count=evaluator.restarts, backends=backends)
