"""What the worker processes receive of the settings."""

from __future__ import annotations

from clipstyler_server.devices import Device
from clipstyler_server.settings import Settings
from clipstyler_server.spool import Spool
from clipstyler_server.workers.evaluator.messages import EvaluatorOptions
from clipstyler_server.workers.optimizer.workload import OptimizerOptions
from clipstyler_server.workers.supervisor import SupervisionTimeouts


def optimizer_options(settings: Settings, device: Device) -> OptimizerOptions:
    """Return the options of the optimizer process of a device."""
    return OptimizerOptions(
        encoder_sets=settings.encoder_sets,
        device=device.device,
        threads=settings.optimizer_threads,
        nice=settings.nice,
        cache=settings.cache_path,
        spool=Spool(settings.spool_path),
        direction_bytes=settings.direction_cache_bytes,
        accelerations=settings.accelerations,
        log_level=settings.log_level,
        log_format=settings.log_format,
        models=settings.models,
        offline=settings.offline,
        progress_interval_s=settings.progress_interval_s,
    )


def evaluator_options(settings: Settings) -> EvaluatorOptions:
    """Return the options of the evaluator process."""
    return EvaluatorOptions(
        encoder_sets=settings.encoder_sets,
        providers=() if settings.providers == ("auto",) else settings.providers,
        on_mismatch=settings.on_mismatch,
        threads=settings.evaluator_threads,
        nice=settings.nice,
        cache=settings.cache_path,
        direction_bytes=settings.direction_cache_bytes,
        batch_wait_s=settings.batch_wait_s,
        start_timeout_s=settings.start_timeout_s,
        log_level=settings.log_level,
        log_format=settings.log_format,
        models=settings.models,
        offline=settings.offline,
    )


def decoder_arguments(settings: Settings) -> tuple[int, str, str]:
    """Return the arguments of a decoder process: memory in bytes, log level and format."""
    return (settings.decoder_memory_bytes, settings.log_level, settings.log_format)


def supervision_timeouts(settings: Settings) -> SupervisionTimeouts:
    """Return the timeouts of the supervision of workers."""
    return SupervisionTimeouts(settings.start_timeout_s, settings.stall_timeout_s, settings.restart_delay_s)
