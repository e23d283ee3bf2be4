"""The real workload: `clipstyler.stylizer` on one device. The only module of the server that imports PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from clipstyler import events, stylizer
from clipstyler.config import ConfigError, resolve
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.weights.store import Store, default_directory
from clipstyler.imaging import Picture
from clipstyler_server.engine.base import Encoders, Model, Order, WorkerInfo
from clipstyler_server.engine.workload import Notice, OptimizerOptions, Outcome, Prepared, Step, UnfitError

_WARM_UP_SIZE = 64


class TorchWorkload:
    """Encoders loaded onto one device, warmed up.

    Parameters
    ----------
    options
        What the process was told.

    Raises
    ------
    UnfitError
        The device or some encoders cannot be used here.
    """

    def __init__(self, options: OptimizerOptions) -> None:
        torch.set_num_threads(options.threads)
        torch.set_num_interop_threads(1)
        self._device = _choose_device(options.device)
        try:
            store = Store(Path(options.models) if options.models else default_directory(), options.offline)
            self._encoders = {name: registry.load(name, self._device, store=store) for name in options.encoders}
        except (ConfigError, EncoderUnavailableError, OSError) as error:
            raise UnfitError(str(error)) from error
        for encoders in self._encoders.values():
            _warm_up(encoders)
        on_cpu = self._device.type == "cpu"
        self.info = WorkerInfo(
            encoders=tuple(_describe(name, encoders) for name, encoders in self._encoders.items()),
            device=str(self._device),
            provider="torch-cpu" if on_cpu else "torch-cuda",
            threads=torch.get_num_threads() if on_cpu else 0,
            versions=stylizer.library_versions(),
        )

    def stylize(self, order: Order) -> Iterator[Prepared | Notice | Step | Outcome]:
        """Run an order with PyTorch."""
        items = stylizer.stylize(
            order.picture,
            order.style_text,
            self._encoders[order.encoders],
            order.config,
            source_text=order.source_text,
            seed=order.seed,
        )
        try:
            for item in items:
                yield _translated(item)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            raise MemoryError("the device ran out of memory") from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    # PyTorch has a class for accelerators only.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _choose_device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cpu":
        return device
    index = device.index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise UnfitError(f"device {wanted!r} is not there: use 'cpu', 'auto', or check the CUDA driver")
    return torch.device("cuda", index)


def _warm_up(encoders: EncoderSet) -> None:
    """Make one tiny step, so that the first caller does not pay for lazy initialization."""
    gray = Picture(np.full((_WARM_UP_SIZE, _WARM_UP_SIZE, 3), 128, dtype=np.uint8))
    config = resolve(encoders.calibration, size=_WARM_UP_SIZE, steps=1, patches=2)
    for _ in stylizer.stylize(gray, "a warm-up sketch", encoders, config, seed=0):
        pass


def _describe(name: str, encoders: EncoderSet) -> Encoders:
    models = tuple(Model(*model) for model in encoders.models)
    return Encoders(name, encoders.description, models, encoders.calibration)


def _translated(
    item: events.Caution | events.WarmUp | events.Progress | events.Result,
) -> Prepared | Notice | Step | Outcome:
    match item:
        case events.WarmUp():
            return Prepared()
        case events.Caution():
            return Notice(item.code, item.message)
        case events.Progress():
            return _step(item)
        case events.Result():
            return _outcome(item)


def _step(progress: events.Progress) -> Step:
    return Step(
        step=progress.step,
        steps=progress.steps,
        losses=progress.losses,
        rejected=progress.rejected,
        elapsed_s=progress.elapsed_s,
        remaining_s=progress.remaining_s,
        picture=progress.picture,
    )


def _outcome(result: events.Result) -> Outcome:
    return Outcome(
        picture=result.picture,
        models=tuple(Model(*model) for model in result.models),
        device=result.device,
        threads=result.threads,
        versions=result.versions,
        losses=result.losses,
        prepare_s=result.timings.prepare_s,
        optimize_s=result.timings.optimize_s,
    )
