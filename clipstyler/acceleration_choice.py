"""Choose accelerations by measuring them on this machine: nothing is concluded from the processor's name.

On a CPU each is timed in turns with the plain form on a small piece of the real work, under a second in all. The pieces
of a GPU are in `clipstyler.gpu_pieces`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clipstyler import allocator, gpu_pieces
from clipstyler.acceleration import NAMES_BY_DEVICE, NONE, Accelerations, parse
from clipstyler.encoders.bf16 import Bf16Linear
from clipstyler.footprint import is_banded
from clipstyler.output_files import write_whole
from clipstyler.stylenet import Arithmetic, StyleNet
from clipstyler.tf32 import use_tf32

MINIMUM_SPEEDUP = 1.1
"""Below this an acceleration is not used: the gain would not repay other bytes, and noise would decide."""

_OF_THE_PROCESS = ("memory", "tf32")  # those that concern all of a process
_ROUNDS = 3
_FILLS = 12  # until the heap has its shape
_HOPELESS = 0.7  # after one round; without instructions for it, bf16 is many times slower
_SIDE = 192  # of the image in StyleNet's piece, pixels
_TOKENS, _WIDTH = 800, 768  # of ViT-B/32 with 16 views
_BLOCK_FLOATS = 2**23  # of the allocator's piece


class Choice(NamedTuple):
    """The accelerations in use, and the measured speedup of each (how many times as fast); empty if nothing was."""

    accelerations: Accelerations
    speedups: dict[str, float]


def choose(wanted: str, device: torch.device, *, own_process: bool, record: Path | None = None) -> Choice:
    """Choose the accelerations of this process, for one device. `memory` and `tf32` are set for all of the process.

    Parameters
    ----------
    wanted
        See `clipstyler.acceleration.parse`. Names that the device does not have are left out.
    device
        CPU or GPU; others have none.
    own_process
        Whether a measurement may change the allocator, and the precision of all products on a GPU. A library asks its
        host first, by naming `memory` or `tf32`.
    record
        File that keeps the measurement, so that every process of this machine chooses alike; it is measured again with
        another processor, number of threads or version of PyTorch, as is what could not be measured. That of a GPU is
        beside it.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    fixed = parse(wanted)
    if device.type not in NAMES_BY_DEVICE:
        return Choice(NONE, {})
    is_measured = fixed is None
    speedups = _measured(device, own_process, torch.get_num_threads(), record) if is_measured else {}
    chosen = (fixed or _paying(speedups)).on(device.type)
    if chosen.memory:
        allocator.retain_memory()
    elif is_measured and own_process and device.type == "cpu":
        allocator.use_defaults()  # the measurement leaves it keeping memory
    if device.type == "cuda" and (own_process or chosen.tf32):
        use_tf32(chosen.tf32)
    return Choice(chosen, dict(speedups))


def retain_memory_for(width: int, height: int) -> None:
    """Fit the acceleration `memory` to a photo of a size in pixels: a large one must not fragment the heap."""
    (allocator.retain_small_blocks if is_banded(width, height, "cpu") else allocator.retain_memory)()


@cache
def _measured(device: torch.device, own_process: bool, threads: int, record: Path | None) -> dict[str, float]:
    """Measure once per process and number of threads, so that all its results have the same accelerations."""
    names = [name for name in NAMES_BY_DEVICE[device.type] if own_process or name not in _OF_THE_PROCESS]
    machine = f"{_name(device)}, {threads} threads, torch {torch.__version__}"
    if record and device.type != "cpu":
        record = record.with_stem(f"{record.stem}-{device.type}")
    speedups = _recorded(record, machine, names) if record else {}
    if missing := [name for name in names if name not in speedups]:
        pieces = gpu_pieces.speedups if device.type == "cuda" else _speedups
        found = pieces(device, missing, speedups)
        speedups |= {name: round(speedup, 2) for name, speedup in found.items()}
        if record and found:
            _write(record, machine, speedups)
    return speedups


def _paying(speedups: Mapping[str, float]) -> Accelerations:
    return Accelerations(**{name: speedup >= MINIMUM_SPEEDUP for name, speedup in speedups.items()})


def _speedups(_device: torch.device, names: Sequence[str], _known: Mapping[str, float]) -> dict[str, float]:
    # Memory first: while it is kept, the others are measured as they will run.
    measures = {"memory": _memory_speedup, "bf16": _bf16_speedup, "channels_last": _channels_last_speedup}
    return {name: measures[name]() for name in names}


def _recorded(record: Path, machine: str, names: Sequence[str]) -> dict[str, float]:
    """Read the record, as far as it goes; empty if there is none of this machine."""
    try:
        found = json.loads(record.read_text())
        if found["machine"] != machine:
            return {}
        speedups = {name: float(found["speedups"].get(name, 0)) for name in names}
        return {name: speedup for name, speedup in speedups.items() if speedup > 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(record: Path, machine: str, speedups: dict[str, float]) -> None:
    with contextlib.suppress(OSError):  # a cache: without it the next process measures again
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps({"machine": machine, "speedups": speedups}).encode())


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    """Name the processor with a digest of what it can do, as far as the system reports them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().partition("\n\n")[0].splitlines() if cpuinfo.is_file() else []
    told = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    abilities = hashlib.sha256(told.get("flags", "").encode()).hexdigest()[:12]
    return f"{told.get('model name', platform.processor()).strip()} {abilities}"


def _speedup(plain: Callable[[], object], accelerated: Callable[[], object]) -> float:
    """Return how many times as fast the second is: the best of some rounds each, in turns."""
    plain_s, accelerated_s = _fastest(plain), _fastest(accelerated)
    for _ in range(_ROUNDS):
        if plain_s / accelerated_s < _HOPELESS:
            break
        plain_s, accelerated_s = min(plain_s, _fastest(plain)), min(accelerated_s, _fastest(accelerated))
    return plain_s / accelerated_s


def _fastest(action: Callable[[], object], rounds: int = 1) -> float:
    """Seconds of the processor for the fastest of some rounds; on a busy machine the clock would measure the others."""
    durations = []
    for _ in range(rounds):
        begun = time.process_time()
        action()
        durations.append(time.process_time() - begun)
    return min(durations)


def _memory_speedup() -> float:
    """Fill a fresh block, before and after the allocator keeps memory; leaves it keeping memory."""

    def fill() -> None:
        torch.empty(_BLOCK_FLOATS).zero_()

    plain_s = _fastest(fill, _FILLS)
    allocator.retain_memory()
    retained_s = _fastest(fill, _FILLS)
    allocator.return_unused_memory()
    return plain_s / retained_s


def _bf16_speedup() -> float:
    """A linear layer of ViT-B/32, forward and backward to its input."""
    linear = nn.Linear(_WIDTH, 4 * _WIDTH).requires_grad_(False)
    tokens = torch.rand(_TOKENS, _WIDTH, generator=torch.Generator().manual_seed(0))
    return _speedup(_pass_through(linear, tokens), _pass_through(Bf16Linear(linear), tokens))


def _channels_last_speedup() -> float:
    """StyleNet, forward and backward: its blocks alone gain less than the whole."""
    photo = torch.rand(1, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    plain, interleaved = (
        StyleNet.initialize(torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last))
        for channels_last in (False, True)
    )
    return _speedup(_pass_through(plain, photo), _pass_through(interleaved, photo))


def _pass_through(module: nn.Module, values: Tensor) -> Callable[[], None]:
    def run() -> None:
        entered = values.detach().requires_grad_()
        out: Tensor = module(entered)
        torch.autograd.backward(out.float().square().mean())

    return run
