"""Processes that are killed, frozen, or cannot get descriptors, memory or disk space."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from clipstyler.v1.encoder_service_pb2 import EncodeTextRequest
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceStub
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.attack.hostile_images import png_of_64_megapixels, webp_of_64_megapixels
from tests.attack.images import CALL_S, upload_parts
from tests.attack.measure import Target, works_after
from tests.attack.outcomes import Tally, run_all
from tests.attack.sampling import children
from tests.service.harness import noise_photo, order, photo

KINDS = ("decoder", "optimizer", "evaluator")
"""Every child that a server can have."""
_MIB = 2**20
_PATIENCE_S = 30.0
_DISK_BYTES = 256 * _MIB
_LEFT_BYTES = 2 * _MIB


async def kill_and_freeze(target: Target, tally: Tally) -> None:
    """Kill and freeze each child in turn, at a random point of a job; notes the seconds until everything works."""
    chance, kinds = target.chance("kills"), sorted(dict(children(target.record)))
    for _ in range(target.scale(1, 3)):
        for kind, how in itertools.product(kinds, (signal.SIGKILL, signal.SIGSTOP)):
            stub = StylizationServiceStub(target.channel)
            call = stub.CreateStylization(order("step=0.05 hit"), timeout=CALL_S)
            creating = asyncio.create_task(tally.count("CreateStylization", call))
            await asyncio.sleep(chance.uniform(0, 0.2))
            child = await target.child(kind)
            child.send_signal(how)
            await creating
            what = f"{how.name} of the {kind}, works after s"
            took_s = await _works_again(target, tally, "evaluator" in kinds)
            tally.notes[what] = max(float(tally.notes.get(what, 0.0)), took_s)
            # A child that was frozen while it had nothing to do is not missed, and would outlive the server.
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()


async def _works_again(target: Target, tally: Tally, encodes: bool) -> float:
    """Return the seconds until a job is done, and a text encoded; infinity if that takes too long."""
    begun = time.monotonic()
    stub = EncoderServiceStub(target.channel)
    encoding = EncodeTextRequest(texts=["works"])
    while encodes and await tally.count("EncodeText", stub.EncodeText(encoding, timeout=CALL_S)) is None:
        if time.monotonic() > begun + _PATIENCE_S:
            return math.inf
        await asyncio.sleep(0.05)
    if await works_after(target, _PATIENCE_S) is None:
        return math.inf
    return round(time.monotonic() - begun, 2)


async def descriptors(target: Target, tally: Tally) -> None:
    """Take every free descriptor from the front process while its children must be started again.

    Jobs that are accepted nevertheless are cancelled: what comes after shall not wait behind them.
    """
    stub = StylizationServiceStub(target.channel)
    created: list[str] = []
    await target.channel.channel_ready()
    doomed = [await target.child(kind) for kind in ("decoder", "optimizer")]
    with limited(target.front, resource.RLIMIT_NOFILE, target.front.num_fds()):
        for child in doomed:
            child.kill()
        killed = time.monotonic()
        noting = asyncio.create_task(_note_not_ready(target, tally))
        while time.monotonic() < killed + target.scale(2.5, 30):
            call = stub.CreateStylization(order("starved"), timeout=CALL_S)
            if response := await tally.count("CreateStylization", call):
                created.append(response.stylization.name)
            await asyncio.sleep(0.05)
        noting.cancel()
    await run_all(target.server.cancel(name) for name in created)


async def _note_not_ready(target: Target, tally: Tally) -> None:
    """Note the seconds until /readyz says no; None as long as it does not."""
    begun = time.monotonic()
    tally.notes["not ready after s"] = None
    while await _is_ready(target):
        await asyncio.sleep(0.05)
    tally.notes["not ready after s"] = round(time.monotonic() - begun, 2)


async def _is_ready(target: Target) -> bool:
    """Return what /readyz says to the bystander, whose connection is open already."""
    return not (await target.watcher.look())["bystander"]["not_ready"]


async def memory(target: Target, tally: Tally) -> None:
    """Let the decoder and the optimizer have little more memory than they use, and give them large work."""
    scale = target.scale(0.3, 1.0)
    bombs = [await asyncio.to_thread(make, scale) for make in (png_of_64_megapixels, webp_of_64_megapixels)]
    stub = StylizationServiceStub(target.channel)
    for kind, photos, text in (("decoder", bombs, "starved"), ("optimizer", [photo(200, 200)], "side=3000 starved")):
        process = await target.child(kind)
        with limited(process, resource.RLIMIT_AS, process.memory_info().vms + 32 * _MIB):
            for data in photos * target.scale(1, 10):
                call = stub.CreateStylization(order(text, image=data), timeout=CALL_S)
                if created := await tally.count("CreateStylization", call):
                    await target.server.watch(created.stylization.name)


async def disk(target: Target, tally: Tally) -> None:
    """Fill the disk with uploads and jobs, then leave them no space at all."""
    stub = StylizationServiceStub(target.channel)
    chance = target.chance("disk")

    async def fill() -> None:
        data = noise_photo(200, 200) + chance.randbytes(chance.randint(1, _MIB))
        await tally.count("UploadImage", stub.UploadImage(upload_parts(data), timeout=CALL_S))
        await tally.count(
            "CreateStylization", stub.CreateStylization(order("side=400 full", image=data), timeout=CALL_S)
        )

    filler = target.data_dir.parent / "filler"
    with no_space(target, filler):
        await run_all((fill() for _ in range(target.scale(20, 500))), at_once=8)


@contextmanager
def limited(process: psutil.Process, limit: int, value: int) -> Iterator[None]:
    """Lower the soft limit of another process; it may have ended at the end."""
    _, hard = before = process.rlimit(limit)
    process.rlimit(limit, (value, hard))
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(limit, before)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system there, where that is allowed; else the folder is as it is."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder))
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(("umount", "--lazy", str(folder)), check=True)


@contextmanager
def no_space(target: Target, filler: Path) -> Iterator[None]:
    """Leave little space: a file fills a small disk; on another one, the server's files may not grow."""
    if not filler.parent.is_mount():
        with limited(target.front, resource.RLIMIT_FSIZE, 100_000):
            yield
        return
    free = shutil.disk_usage(filler.parent).free
    filler.write_bytes(bytes(max(0, free - _LEFT_BYTES)))
    try:
        yield
    finally:
        filler.unlink()
