"""The real workload: `clipstyler.optimization` on one device. The only module of the server that needs PyTorch."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from clipstyler import optimization, provenance
from clipstyler.acceleration import OFF, RECORD
from clipstyler.acceleration_choice import choose, retain_memory_for
from clipstyler.captured_steps import CapturedSteps
from clipstyler.composition import Further
from clipstyler.device_memory import is_out_of_memory
from clipstyler.embedding import Embedding, Wait
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.weights.store import Store, default_directory
from clipstyler.evaluation.direction_cache import DirectionCache, DirectionStore
from clipstyler.events import Rendering
from clipstyler.imaging import Picture
from clipstyler.optimization import Reuse
from clipstyler.options import ConfigError
from clipstyler.original import Original
from clipstyler.photo_cache import PhotoCache
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.stylizer import embed_together
from clipstyler_server.observability import logs
from clipstyler_server.workers.engine import EngineInfo, StartupError, Task
from clipstyler_server.workers.optimizer.applications import Apply, StyleFile
from clipstyler_server.workers.optimizer.workload import Check, LibraryEvent, OptimizerOptions

_WARM_UP_SIZE = 64
_PHOTO_BYTES = 64 * 2**20  # of what encoders saw in the latest photos
_STYLES = 8  # kept in memory, 2.5 MB each


class TorchWorkload:
    """Encoders loaded onto one device, warmed up.

    Parameters
    ----------
    options
        Of the process.

    Raises
    ------
    StartupError
        The device or an encoder set cannot be used here.
    """

    def __init__(self, options: OptimizerOptions) -> None:
        torch.set_num_threads(options.threads)
        torch.set_num_interop_threads(1)
        self._device = _choose_device(options.device)
        directions = DirectionCache(options.direction_bytes, DirectionStore(options.cache / "directions"))
        self._captured = CapturedSteps()
        self._reuse = Reuse(directions, PhotoCache(_PHOTO_BYTES), self._captured)
        self._styles: OrderedDict[str, LoadedStyle] = OrderedDict()
        choice = choose(options.accelerations, self._device, own_process=True, record=options.cache / RECORD)
        self._retains_memory = choice.accelerations.memory
        self._is_strict = options.accelerations == OFF
        logs.get_logger().info("accelerations_chosen", used=str(choice.accelerations), speedups=choice.speedups)
        try:
            store = Store(Path(options.models) if options.models else default_directory(), options.offline)
            self._encoders = {
                name: registry.load(name, self._device, store=store, accelerations=choice.accelerations)
                for name in options.encoder_sets
            }
        except (ConfigError, EncoderUnavailableError, OSError) as error:
            raise StartupError(str(error)) from error
        for encoders in self._encoders.values():
            _warm_up(encoders)
        self.info = EngineInfo(
            encoder_sets=tuple(encoders.describe() for encoders in self._encoders.values()),
            device=str(self._device),
            provider=provenance.provider(self._device),
            threads=provenance.threads(self._device),
            versions=provenance.library_versions(),
            accelerations=choice.accelerations.names,
        )

    def device_memory(self) -> dict[str, int]:
        """Return bytes of a GPU's memory; empty for the processor."""
        if self._device.type != "cuda":
            return {}
        free, total = torch.cuda.mem_get_info(self._device)
        return {"used": total - free, "peak": torch.cuda.max_memory_reserved(self._device), "total": total}

    def stylize(
        self, task: Task, original: Original, others: Sequence[Picture], check: Check
    ) -> Iterator[LibraryEvent | Wait]:
        """Run a task with PyTorch."""
        encoders = self._encoders[task.spec.encoder_set]
        if self._retains_memory:
            retain_memory_for(task.picture.width, task.picture.height)
        with self._memory_errors():
            yield from optimization.optimize_in_parts(
                task.picture,
                task.spec,
                encoders,
                original=original,
                mask=task.mask,
                further=Further(others),
                reuse=self._reuse,
                check=check,
            )

    def share(self, waiting: Sequence[Embedding]) -> None:
        """Have CLIP see the views of several tasks in one batch, if they have the same encoders.

        With accelerations off it does not: the bytes of a result then do not depend on other tasks.
        """
        if self._is_strict:
            return
        groups: defaultdict[int, list[Embedding]] = defaultdict(list)
        for one in waiting:
            groups[id(one.clip)].append(one)
        for together in groups.values():
            with self._memory_errors():
                embed_together(together)

    def apply(self, order: Apply, check: Check) -> Generator[Rendering, None, Picture]:
        """Apply a style with PyTorch."""
        style = self._style(order.style)
        second = self._style(order.second) if order.second else None
        with self._memory_errors():
            return (yield from apply_style(style, order.photo.load(), order.controls, second=second, check=check))

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Raise `MemoryError` for PyTorch's errors that mean it, and let go of what no run needs."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._captured.clear()
            torch.cuda.empty_cache()
            raise MemoryError("the device ran out of memory") from error

    def _style(self, file: StyleFile) -> LoadedStyle:
        """Load a style, unless it is one of the latest."""
        loaded = self._styles.pop(file.digest, None)
        if loaded is None:
            loaded = LoadedStyle.of(file.load(), self._device)
        self._styles[file.digest] = loaded
        if len(self._styles) > _STYLES:
            self._styles.popitem(last=False)
        return loaded


def _choose_device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cpu":
        return device
    index = device.index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise StartupError(f"device {wanted!r} is not available: use 'cpu' or 'auto', or check the CUDA driver")
    return torch.device("cuda", index)


def _warm_up(encoders: EncoderSet) -> None:
    """Run one tiny step, so that the first caller does not pay for lazy initialization."""
    gray = Picture(np.full((_WARM_UP_SIZE, _WARM_UP_SIZE, 3), 128, dtype=np.uint8))
    request = SpecRequest("a warm-up sketch", options={"size": _WARM_UP_SIZE, "steps": 1, "patches": 2, "seed": 0})
    spec = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
    for _ in optimization.optimize(gray, spec, encoders):
        pass
