"""The engine that fetches photos at their size: a run that was lost leaves the next one of its job alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from unittest.mock import Mock

import pytest
from clipstyler_server.jobs.full_size import FullSizeEngine
from clipstyler_server.spool import Spool
from clipstyler_server.workers.engine import EngineEvent, EngineLost, Task

from clipstyler.events import Result


class Engine:
    """Loses its first run; completes the second one."""

    def __init__(self, result: Path) -> None:
        self.provided: list[str] = []
        self._result = result
        self._runs = 0

    async def run(self, _task: Task) -> AsyncGenerator[EngineEvent, None]:
        self._runs += 1
        if self._runs == 1:
            self._result.write_bytes(b"begun")
            raise EngineLost("was killed by SIGKILL")
        self._result.write_bytes(b"whole")
        yield Mock(spec=Result)

    def provide(self, job_id: str, *_: object) -> None:
        self.provided.append(job_id)


async def test_a_lost_run_that_still_fetches_its_photo_leaves_the_next_one_alone(tmp_path: Path) -> None:
    is_read = asyncio.Event()

    async def read(*_: object) -> None:
        await is_read.wait()

    spool = Spool(tmp_path)
    result = spool.result("a")
    inner = Engine(result)
    engine = FullSizeEngine(inner, Mock(), Mock(read=read), spool)
    task = Mock(job_id="a", needs_original=True, other_photos=0)
    with pytest.raises(EngineLost):
        await anext(engine.run(task))
    assert not result.exists()

    run = engine.run(task)
    assert isinstance(await anext(run), Result)
    is_read.set()
    await asyncio.sleep(0.1)  # the first run hears of its photo, and deletes its files
    assert inner.provided == ["a"]  # by the second run
    await run.aclose()
    assert result.read_bytes() == b"whole"
