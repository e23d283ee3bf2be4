"""A failing storage causes clear errors; the process survives, nothing is half-written, and all recovers by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from operator import attrgetter
from pathlib import Path

import grpc
import pytest
from sqlalchemy.exc import OperationalError

from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import PATIENCE_S, eventually, fail_once, order, reason, refusal, request


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    """Call it with True, and files cannot be written any more."""
    real, is_full = os.fsync, False

    def fsync(handle: int) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    def fill(full: bool) -> None:
        nonlocal is_full
        is_full = full

    monkeypatch.setattr(os, "fsync", fsync)
    return fill


def images(server) -> list[Path]:
    return [path for path in (server.app.settings.data_path / "images").rglob("*") if path.is_file()]


async def test_a_full_disk_refuses_new_jobs_clearly_and_leaves_nothing_behind(server, full_disk):
    before = images(server)
    full_disk(True)
    asked = order("never stored", image=request().spec.image + b"\0")
    status = await refusal(server.create(asked))
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert reason(status) == "STORAGE_FULL"
    assert reason((await server.stylize(request(image=request().spec.image + b"\1"))).status) == "STORAGE_FULL"
    assert images(server) == before
    assert server.app.queue.reserved == 0
    assert server.metric("storage_failures_total", reason="full") == 2

    full_disk(False)
    created = await server.create(asked)
    assert (await server.watch(created.name)).kinds()[-1] == "result"


async def test_a_disk_without_room_for_results_refuses_jobs_whose_photo_is_there_already(server, monkeypatch):
    created = await server.create(order("stored"))
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    with monkeypatch.context() as patch:
        patch.setattr(server.app.storage.blobs, "free_bytes", lambda: 10_000_000)
        assert reason(await refusal(server.create(order("not stored")))) == "STORAGE_FULL"
        assert reason((await server.stylize(request())).status) == "STORAGE_FULL"
        assert server.metric("storage_failures_total", reason="full") == 2
    assert (await server.stylize(request())).status is None


async def test_a_disk_that_is_full_when_a_result_comes_fails_that_job_only(server, full_disk, gate):
    created = await server.create(order(f"hold={gate} full x"))
    await eventually(lambda: server.app.scheduler.running)
    before = images(server)
    full_disk(True)
    gate.touch()
    outcome = await server.watch(created.name)
    full_disk(False)

    assert outcome.only("failed")[0].error.reason == "STORAGE_FULL"
    assert images(server) == before
    assert list(server.app.settings.spool_path.glob("*.result")) == []
    job = await server.get(created.name)
    assert (job.state, job.error.reason) == (Stylization.STATE_FAILED, "STORAGE_FULL")
    assert (await server.stylize(request())).status is None


async def test_a_disk_that_fails_once_when_a_result_comes_loses_nothing(server, gate, monkeypatch):
    created = await server.create(order(f"hold={gate} hiccup x"))
    await eventually(lambda: server.app.scheduler.running)
    fail_once(monkeypatch, os, "fsync", OSError(errno.EIO, "Input/output error"))
    gate.touch()
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    assert server.metric("storage_failures_total", reason="unavailable") == 1


@pytest.mark.parametrize(("broken", "is_stored"), [("storage.blobs.adopt", True), ("persister.store_end", False)])
async def test_an_unexpected_error_while_an_end_is_stored_fails_that_job_only(
    server, gate, monkeypatch, broken, is_stored
):
    def defect(*arguments):
        raise ValueError("nobody expected this")

    created = await server.create(order(f"hold={gate} unexpected x"))
    await eventually(lambda: server.app.scheduler.running and not server.app.persister._tasks)
    part, method = attrgetter(broken.rpartition(".")[0])(server.app), broken.rpartition(".")[2]
    with monkeypatch.context() as patch:
        patch.setattr(part, method, defect)
        gate.touch()
        error = (await server.watch(created.name)).only("failed")[0].error
    assert (error.reason, error.metadata["error_id"]) == ("INTERNAL", created.name.split("/")[1])
    await eventually(lambda: not server.app.scheduler.jobs)
    assert ((await server.get(created.name)).state == Stylization.STATE_FAILED) == is_stored
    assert (await server.stylize(request())).status is None


@pytest.fixture
def lost_answer(server, monkeypatch):
    """Jobs are stored, and the connection is lost before the database says so."""
    create = server.app.storage.database.create

    def create_and_lose(record):
        create(record)
        raise OperationalError("COMMIT", {}, ConnectionError("gone"), connection_invalidated=True)

    with monkeypatch.context() as patch:
        patch.setattr(server.app.storage.database, "create", create_and_lose)
        yield patch.undo


async def test_a_job_that_is_stored_though_the_answer_was_lost_runs(server, lost_answer):
    asked = order("stored unheard")
    assert reason(await refusal(server.create(asked))) == "STORAGE_UNAVAILABLE"
    lost_answer()
    again = await server.create(asked)
    assert (await asyncio.wait_for(server.watch(again.name), PATIENCE_S)).kinds()[-1] == "result"


async def test_a_one_shot_job_that_is_stored_though_the_answer_was_lost_ends(server, lost_answer):
    assert reason((await server.stylize(request("stored unheard"))).status) == "STORAGE_UNAVAILABLE"
    lost_answer()
    newest = (await server.page(page_size=1)).stylizations[0].name
    assert (await asyncio.wait_for(server.watch(newest), PATIENCE_S)).kinds()[-1] == "cancelled"
    assert (await server.get(newest)).cancel_reason == Stylization.CANCEL_REASON_CALLER_LEFT


async def test_a_locked_database_delays_the_end_and_loses_nothing(server, gate):
    created = await server.create(order(f"hold={gate} locked x"))
    await eventually(lambda: server.app.scheduler.running)
    await eventually(lambda: not server.app.persister._tasks)
    with sqlite3.connect(server.app.settings.data_path / "jobs.sqlite3") as other:
        other.execute("BEGIN IMMEDIATE")
        status = await refusal(server.create(order("while it is locked")))
        assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert reason(status) == "STORAGE_UNAVAILABLE"
        gate.touch()
        job_id = created.name.split("/")[1]
        await eventually(lambda: not server.app.scheduler.running)
        assert (await server.get(created.name)).state == Stylization.STATE_RUNNING  # reading goes on
        assert job_id in server.app.scheduler.jobs
        other.rollback()
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    assert (await server.get(created.name)).state == Stylization.STATE_SUCCEEDED


async def test_an_end_that_cannot_be_stored_is_reported_as_a_failure_and_stored_later(serve, gate, monkeypatch):
    monkeypatch.setattr("clipstyler_server.jobs.persister._DELAYS_S", ())
    monkeypatch.setattr("clipstyler_server.jobs.persister._LONG_DELAY_S", 0.1)
    server = await serve()
    created = await server.create(order(f"hold={gate} locked x"))
    await eventually(lambda: server.app.scheduler.running and not server.app.persister._tasks)
    with sqlite3.connect(server.app.settings.data_path / "jobs.sqlite3") as other:
        other.execute("BEGIN IMMEDIATE")
        gate.touch()
        outcome = await server.watch(created.name)
        assert outcome.only("failed")[0].error.reason == "STORAGE_UNAVAILABLE"
        told = await server.get(created.name)
        assert (told.state, told.error.reason) == (Stylization.STATE_FAILED, "STORAGE_UNAVAILABLE")
        assert (await server.watch(created.name)).events[-1] == outcome.events[-1]
        other.rollback()
    await eventually(lambda: not server.app.scheduler.jobs)
    assert (await server.get(created.name)).error == told.error
    assert (await server.watch(created.name)).events[-1] == outcome.events[-1]
