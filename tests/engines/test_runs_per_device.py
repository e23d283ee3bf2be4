"""Engines whose devices run several tasks at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from clipstyler_server.workers.engine import EngineLost, TaskStopped

from clipstyler.events import Progress, Result
from tests.engines.engines import Rig, rig
from tests.engines.test_conformance import begun
from tests.service.harness import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(params=("scripted", "local"), scope="module", loop_scope="module")
async def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with rig(request.param, tmp_path_factory.mktemp(request.param), runs_per_device=2) as running:
        await running.ready()
        yield running


async def test_each_device_runs_two_tasks_and_no_third_one(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"park={gate}", tmp_path / str(number)) for number in range(4)]
    assert engine.pool.places == 4
    assert [status.running for status in engine.pool.statuses()] == [2, 2]
    with pytest.raises(EngineLost):
        await engine.events(engine.task("a fifth"))
    gate.touch()
    for _, collecting in running:
        events = await collecting
        assert isinstance(events[-1], Result)
        assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert [status.running for status in engine.pool.statuses()] == [0, 0]


async def test_a_cancel_leaves_the_other_task_of_the_device_alone(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"park={gate}", tmp_path / str(number)) for number in range(4)]
    cancelled, collecting = running[0]
    engine.pool.cancel(cancelled.job_id)
    with pytest.raises(TaskStopped) as stopped:
        await asyncio.wait_for(collecting, 5)
    assert stopped.value.steps_after_cancel == 0
    gate.touch()
    for _, others in running[1:]:
        assert isinstance((await others)[-1], Result)


async def test_a_lost_device_loses_all_its_tasks_and_no_other(engine, tmp_path):
    gate = tmp_path / "gate"
    running = [await begun(engine, f"park={gate}", tmp_path / str(number)) for number in range(4)]
    first = engine.pool.workers[0]
    lost = {task.job_id for task, _ in running if engine.pool._runs[task.job_id] is first}
    assert len(lost) == 2
    first.kill()
    await eventually(lambda: not any(first is worker for worker in engine.pool._runs.values()))
    gate.touch()
    for task, collecting in running:
        if task.job_id in lost:
            with pytest.raises(EngineLost):
                await collecting
        else:
            assert isinstance((await collecting)[-1], Result)
    await engine.ready()
