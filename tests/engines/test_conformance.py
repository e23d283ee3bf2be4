"""What every engine does: scripted threads, local processes, and actors of a Ray cluster."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from clipstyler_server.spool import write_pixels
from clipstyler_server.workers.engine import (
    EngineLost,
    FailureKind,
    StartupError,
    StopCause,
    TaskFailed,
    TaskStopped,
    WorkerState,
)
from clipstyler_server.workers.optimizer.applications import StyleFile, StyleFileError

from clipstyler.events import Optimized, Preview, Progress, Rendering, Result, Started
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile, Picture
from clipstyler.style_controls import StyleControls
from tests.engines.engines import ENGINES, Rig, rig
from tests.service.harness import eventually
from tests.service.styles import style_file

# A cluster takes long to start on a busy machine.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest.fixture(params=ENGINES, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def address(kind: str, request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("cluster_address") if kind == "ray" else ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(kind: str, address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with rig(kind, tmp_path_factory.mktemp(kind), address) as running:
        await running.ready()
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: Rig) -> AsyncIterator[Rig]:
    """The engine, idle before and after."""
    yield shared
    await shared.ready()
    assert not any(status.is_busy for status in shared.pool.statuses())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def begun(running: Rig, text: str, trace: Path, step: int = 2, **fields: object):
    """Start a task; returns it and the task that collects its events, once it has reached a step."""
    task = running.task(f"{text} trace={trace}", **fields)
    collecting = asyncio.create_task(running.events(task))
    await eventually(lambda: f"step {step}" in lines(trace))
    return task, collecting


async def test_a_task_streams_its_events_in_order_and_its_result_last(engine):
    events = await engine.events(engine.task("a look"))
    kinds = [type(event) for event in events]
    assert (kinds[0], kinds[-1]) == (Started, Result)
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert kinds.index(Optimized) > max(index for index, one in enumerate(kinds) if one is Progress)
    image = events[-1].image
    assert image.path.parent == engine.spool.directory
    data = image.path.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (image.metadata.sha256, image.metadata.size_bytes)
    image.path.unlink()


async def test_the_same_task_gives_the_same_bytes(engine):
    results = [(await engine.events(engine.task("a look")))[-1] for _ in range(2)]
    assert results[0].image.metadata == results[1].image.metadata


async def test_each_device_runs_one_task_and_no_third_one(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"hold={gate}", tmp_path / str(number)) for number in range(2)]
    assert [status.is_busy for status in engine.pool.statuses()] == [True, True]
    with pytest.raises(EngineLost):
        await engine.events(engine.task("a third"))
    gate.touch()
    for _, collecting in running:
        assert isinstance((await collecting)[-1], Result)


async def test_a_cancel_is_heard_within_a_step_and_by_its_task_only(engine, tmp_path):
    gate = tmp_path / "gate"
    _, kept = await begun(engine, f"hold={gate}", tmp_path / "kept")
    task, cancelled = await begun(engine, "busy=1", tmp_path / "cancelled")
    engine.pool.cancel("nobody")
    engine.pool.cancel(task.job_id)
    with pytest.raises(TaskStopped) as stopped:
        await asyncio.wait_for(cancelled, 5)
    assert (stopped.value.cause, stopped.value.step) == (StopCause.CANCELLED, 1)
    assert stopped.value.steps_after_cancel == 0
    assert lines(tmp_path / "cancelled")[-1] == "closed"
    gate.touch()
    assert isinstance((await kept)[-1], Result)


async def test_a_cancel_between_steps_lets_at_most_one_more_end(engine, tmp_path):
    task, collecting = await begun(engine, "step=0.05", tmp_path / "trace", step=3, steps=500)
    engine.pool.cancel(task.job_id)
    with pytest.raises(TaskStopped) as stopped:
        await asyncio.wait_for(collecting, 5)
    assert stopped.value.steps_after_cancel <= 1


async def test_a_deadline_stops_a_task(engine):
    with pytest.raises(TaskStopped) as stopped:
        await asyncio.wait_for(engine.events(engine.task("busy=1", timeout_s=0.3)), 10)
    assert stopped.value.cause is StopCause.DEADLINE


async def test_a_stream_that_is_closed_early_cancels_its_task(engine, tmp_path):
    trace = tmp_path / "trace"
    async with aclosing(engine.pool.run(engine.task(f"busy=1 trace={trace}"))) as events:
        async for event in events:
            if isinstance(event, Progress):
                break
    await eventually(lambda: lines(trace)[-1:] == ["closed"])
    assert isinstance((await engine.events(engine.task("another")))[-1], Result)


@pytest.mark.parametrize(("text", "failure"), [("fail=1", FailureKind.INTERNAL), ("oom=1", FailureKind.OUT_OF_MEMORY)])
async def test_a_task_that_fails_says_how_and_leaves_its_device(engine, text, failure):
    restarts = [status.restarts for status in engine.pool.statuses()]
    with pytest.raises(TaskFailed) as failed:
        await engine.events(engine.task(text))
    assert failed.value.kind is failure
    assert [status.restarts for status in engine.pool.statuses()] == restarts


async def test_a_lost_device_fails_its_task_only_and_comes_back(engine, tmp_path):
    gate = tmp_path / "gate"
    _, kept = await begun(engine, f"hold={gate}", tmp_path / "kept")
    lost_task, lost = await begun(engine, "busy=1", tmp_path / "lost")
    worker = engine.pool._runs[lost_task.job_id]
    restarts = worker.restarts
    worker.kill()
    with pytest.raises(EngineLost) as ending:
        await asyncio.wait_for(lost, 30)
    assert worker.name in ending.value.problem
    assert not ending.value.again
    await eventually(lambda: worker.restarts == restarts + 1 and worker.state is WorkerState.READY)
    assert not kept.done()
    assert isinstance((await engine.events(engine.task("another")))[-1], Result)
    gate.touch()
    assert isinstance((await kept)[-1], Result)


async def test_the_photo_at_the_size_of_the_result_is_handed_over(engine, tmp_path):
    photo = Picture(np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8))
    task = engine.task("tiles=2", result_size=(200, 150))
    collecting = asyncio.create_task(engine.events(task))
    await eventually(lambda: any(status.is_busy for status in engine.pool.statuses()))
    engine.pool.provide(task.job_id, write_pixels(photo, tmp_path / "photo"))
    events = await collecting
    assert any(isinstance(event, Rendering) for event in events)
    metadata = events[-1].image.metadata
    assert (metadata.width, metadata.height) == (200, 150)


async def test_a_photo_that_there_is_none_of_fails_its_task(engine):
    task = engine.task("tiles=2", result_size=(200, 150))
    collecting = asyncio.create_task(engine.events(task))
    await eventually(lambda: any(status.is_busy for status in engine.pool.statuses()))
    engine.pool.provide(task.job_id, "it is gone")
    with pytest.raises(TaskFailed, match="it is gone"):
        await collecting


def style(folder: Path, text: str) -> StyleFile:
    data, path = style_file(text, 7), folder / "style"
    path.write_bytes(data)
    return StyleFile(path, hashlib.sha256(data).hexdigest())


def application(folder: Path, text: str, timeout_s: float = 30):
    photo = write_pixels(Picture(np.zeros((30, 40, 3), np.uint8)), folder / "pixels")
    return (style(folder, text), None, StyleControls(), photo, ImageFormat.PNG, folder / "styled", timeout_s)


async def test_a_style_is_applied_beside_the_tasks(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"hold={gate}", tmp_path / str(number)) for number in range(2)]
    image = await engine.pool.for_style().apply(*application(tmp_path, "a look"))
    assert image == ImageFile(tmp_path / "styled", image.metadata)
    assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.metadata.sha256
    gate.touch()
    for _, collecting in running:
        await collecting


async def test_a_style_that_is_gone_costs_no_other_work(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"hold={gate}", tmp_path / str(number)) for number in range(2)]
    asked = application(tmp_path, "a look")
    asked[0].path.unlink()
    with pytest.raises(StyleFileError) as error:
        await engine.pool.for_style().apply(*asked)
    assert (error.value.digest, error.value.is_gone) == (asked[0].digest, True)
    gate.touch()
    for _, collecting in running:
        await collecting


async def test_applying_a_style_has_a_deadline_and_can_be_cancelled(engine, tmp_path):
    with pytest.raises(TaskStopped) as stopped:
        await engine.pool.for_style().apply(*application(tmp_path, "busy=1 a look", timeout_s=0.3))
    assert stopped.value.cause is StopCause.DEADLINE
    worker = engine.pool.for_style()
    applying = asyncio.create_task(worker.apply(*application(tmp_path, "busy=1 a look")))
    await eventually(lambda: worker.applications)
    applying.cancel()
    await asyncio.wait_for(asyncio.wait([applying]), 10)
    assert worker.applications == 0
    assert not (tmp_path / "styled").exists()


async def test_a_consumer_that_is_slow_slows_no_step(engine, tmp_path):
    trace, steps, step_s = tmp_path / "trace", 40, 0.02
    loop, seen = asyncio.get_running_loop(), []
    async for event in engine.pool.run(engine.task(f"step={step_s} trace={trace}", steps=steps)):
        if not seen:
            start = loop.time()
            await eventually(lambda: lines(trace)[-1:] == ["closed"])
            taken_s = loop.time() - start
        seen.append(event)
    assert taken_s < 3 * steps * step_s
    assert [event.step for event in seen if isinstance(event, Progress)] == list(range(1, steps + 1))
    assert isinstance(seen[-1], Result)
    assert any(isinstance(event, Preview) for event in seen)


async def test_a_device_that_hangs_is_restarted(kind, address, tmp_path):
    async with rig(kind, tmp_path, address, stall_s=0.5) as running:
        await running.ready()
        gate = tmp_path / "gate"
        with pytest.raises(EngineLost, match=r"no sign of life for 0\.5 s"):
            await asyncio.wait_for(running.events(running.task(f"hold={gate}")), 30)
        gate.touch()
        await running.ready()
        assert isinstance((await running.events(running.task("another")))[-1], Result)


async def test_an_engine_that_can_never_start_says_why(kind, address, tmp_path):
    async with rig(kind, tmp_path, address, encoder_sets=("unfit",)) as running:
        with pytest.raises(StartupError, match="unfit"):
            await asyncio.wait_for(running.supervising, 60)
