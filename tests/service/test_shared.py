"""Several servers share a database and a directory: every one of them answers for all jobs, and each job runs once."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import sqlalchemy
from clipstyler_server import app as wiring
from clipstyler_server.app import App
from clipstyler_server.identity import tokens
from clipstyler_server.identity.roles import Role
from clipstyler_server.jobs.claims import Claims, SharedIntake
from clipstyler_server.jobs.job_errors import not_ready_error
from clipstyler_server.start_checks import ServerStartError
from clipstyler_server.storage.shared_queue import SharedQueue
from clipstyler_server.storage.storage import unavailable_error
from clipstyler_server.workers.engine import EngineLost

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service import scripted
from tests.service.certificates import Authority
from tests.service.databases import postgres, rows
from tests.service.harness import PATIENCE_S, eventually, fail_once, order, photo, reason, refusal, request, settings
from tests.service.test_security import As
from tests.service.test_style_fits import create as create_fit
from tests.service.test_style_fits import fit
from tests.service.test_style_fits import get as get_style
from tests.service.turns import Turns


@pytest.fixture(scope="module")
def create_database() -> Iterator:
    with postgres() as create:
        yield create


@pytest.fixture
def share(serve, create_database, tmp_path):
    """Start so many servers on one fresh database: `await share(2)`."""
    database = create_database()

    async def share(count: int, **changes: object):
        plain = {"database_url": database, "shared_dir": str(tmp_path / "shared"), "lease_s": 6.0}
        return [await serve(**(plain | changes)) for _ in range(count)]

    return share


def steps(count: int) -> StylizationOptions:
    return StylizationOptions(steps=count)


def at_work(*servers):
    return [server for server in servers if server.app.scheduler.running]


async def test_a_job_is_one_and_the_same_on_every_server(share):
    first, second = await share(2)
    created = await first.create(order("warning=ODD x"))
    outcome = await second.watch(created.name)
    jobs = [await server.get(created.name) for server in (first, second)]

    assert outcome.kinds()[-1] == "result"
    assert jobs[0] == jobs[1]
    assert (jobs[0].state, jobs[0].attempt_count) == (Stylization.STATE_SUCCEEDED, 1)
    for server in (first, second):
        assert [job.name for job in (await server.page()).stylizations] == [created.name]
        assert (await server.image(created.name))[1] == outcome.result.image_data
        assert (await server.image(created.name, Stylization.IMAGE_KIND_CONTENT))[1] == photo()
        assert (await server.watch(created.name)).events[-1].result == outcome.result
    await second.delete(created.name)
    assert reason(await refusal(first.get(created.name))) == "STYLIZATION_NOT_FOUND"


async def test_both_servers_work_on_one_queue(share, gate):
    servers = await share(2)
    names = [(await servers[0].create(order(f"hold={gate} number {number}"))).name for number in range(3)]
    await eventually(lambda: len(at_work(*servers)) == 2)
    waiting = await servers[1].get(names[2])
    assert (waiting.state, waiting.queue_position) == (Stylization.STATE_QUEUED, 2)
    gate.touch()
    for name in names:
        assert (await servers[1].watch(name)).kinds()[-1] == "result"
    assert {(await servers[0].get(name)).attempt_count for name in names} == {1}


@pytest.mark.timeout(240)
async def test_a_request_id_has_one_job_whichever_server_is_asked(share):
    servers = await share(2, caller_share=1)
    orders = [order(f"number {number}", request_id=str(uuid.uuid4()), options=steps(1)) for number in range(100)]

    async def create(number: int) -> str:
        return (await servers[number % 2].create(orders[number // 10])).name

    names: Counter[str] = Counter()
    for begin in range(0, 1000, 50):
        names.update(await asyncio.gather(*(create(number) for number in range(begin, begin + 50))))
    assert len(names) == 100
    assert set(names.values()) == {10}
    for name in names:
        assert (await servers[0].watch(name)).kinds()[-1] == "result"
    counted = rows(servers[0].app.settings.database_url, "SELECT count(*), max(attempts) FROM stylizations")
    assert counted == [(100, 1)]


async def test_a_watch_on_another_server_has_every_event_and_resumes(share, tmp_path):
    first, second = await share(2)
    turns = Turns(tmp_path)
    turns.allow(0)
    created = await first.create(order(f"turns={turns.path} warning=ODD x", options=steps(6)))
    await eventually(lambda: at_work(first, second))
    (runs,) = at_work(first, second)
    (other,) = {first, second} - {runs}
    _, events, watching = other.begin_watch(created.name)

    async def follow(first_step: int, last_step: int, *watchers) -> None:
        """Let every watcher see a step before the next one is made."""
        for step in range(first_step, last_step + 1):
            turns.allow(step)
            for seen in watchers:
                await eventually(lambda step=step, seen=seen: any(event.progress.step == step for event in seen))

    await follow(1, 3, events)
    preview = await other.image(created.name, Stylization.IMAGE_KIND_PREVIEW)
    assert preview[0].width_px > 0
    passed = events[-1].sequence
    _, resumed, watching_again = other.begin_watch(created.name, after=passed)
    await follow(4, 6, events, resumed)
    outcome, rest = await watching, await watching_again

    kinds = [kind for kind in outcome.kinds() if kind not in {"heartbeat", "preview"}]
    assert kinds == ["queued", "started", "warning", *["progress"] * 6, "result"] or kinds[:2] == ["queued", "queued"]
    assert kinds.count("progress") == 6
    assert kinds.count("warning") == 1
    assert "gap" not in kinds
    numbers = [event.sequence for event in outcome.events]
    assert numbers == sorted(numbers)
    assert min(event.sequence for event in resumed if event.WhichOneof("event") != "heartbeat") > passed
    assert [event.progress.step for event in rest.events if event.HasField("progress")] == [4, 5, 6]
    assert rest.events[-1] == outcome.events[-1]
    assert other.app.scheduler.jobs == {}


async def test_a_cancel_on_another_server_is_heard_within_one_step(share, tmp_path):
    first, second = await share(2)
    trace = tmp_path / "trace"
    created = await first.create(order(f"step=0.3 trace={trace} x", options=steps(60)))
    await eventually(lambda: trace.exists() and "step 2" in trace.read_text())
    (runs,) = at_work(first, second)
    (other,) = {first, second} - {runs}
    count = trace.read_text().count("step")
    await other.cancel(created.name)
    outcome = await other.watch(created.name)

    assert outcome.kinds()[-1] == "cancelled"
    assert outcome.events[-1].cancelled.reason == Stylization.CANCEL_REASON_REQUESTED
    assert trace.read_text().count("step") <= count + 1
    assert (await first.get(created.name)).state == Stylization.STATE_CANCELLED


async def test_a_waiting_job_is_cancelled_on_any_server_and_not_run(share, gate, tmp_path):
    first, second = await share(2)
    held = [await first.create(order(f"hold={gate} x")) for _ in range(2)]
    await eventually(lambda: len(at_work(first, second)) == 2)
    trace = tmp_path / "trace"
    waiting = await first.create(order(f"trace={trace}"))
    _, events, watching = first.begin_watch(waiting.name)
    await eventually(lambda: events)
    assert (await second.cancel(waiting.name)).state == Stylization.STATE_CANCELLED
    assert (await watching).kinds() == ["queued", "cancelled"] or (await watching).kinds()[-1] == "cancelled"
    gate.touch()
    for job in held:
        await first.watch(job.name)
    assert not trace.exists()


async def test_a_one_shot_call_is_served_by_whichever_server_is_free(share, gate):
    first, second = await share(2)
    held = await first.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(first, second))
    (busy,) = at_work(first, second)
    outcome = await busy.stylize(request("a look"))
    assert outcome.kinds()[-1] == "result"
    assert outcome.status is None
    failed = await busy.stylize(request("fail=1 x"))
    assert (failed.kinds()[-1], reason(failed.status)) == ("failed", "INTERNAL")
    gate.touch()
    await busy.watch(held.name)


async def test_the_end_of_a_one_shot_call_stops_its_job_on_another_server(share, gate, tmp_path):
    first, second = await share(2)
    held = await first.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(first, second))
    (busy,) = at_work(first, second)
    trace = tmp_path / "trace"
    call, events, reading = busy.begin(request(f"step=0.05 trace={trace}", options=steps(400)))
    await eventually(lambda: any(event.HasField("progress") for event in events))
    call.cancel()
    reading.cancel()
    await eventually(lambda: trace.read_text().endswith("closed\n"))
    assert "step 400" not in trace.read_text()
    gate.touch()
    await busy.watch(held.name)
    states = rows(first.app.settings.database_url, "SELECT state, count(*) FROM stylizations GROUP BY state")
    assert sorted(states) == [("cancelled", 1), ("succeeded", 1)]


async def test_the_limits_of_the_queue_hold_for_all_servers_together(share, gate):
    first, second = await share(2, queue_capacity=2, caller_share=1)
    accepted = []
    for number in range(2):
        accepted.append(await (first, second)[number].create(order(f"hold={gate} x")))
    await eventually(lambda: len(at_work(first, second)) == 2)
    accepted += [await server.create(order("waits")) for server in (first, second)]
    assert [reason(await refusal(server.create(order()))) for server in (first, second)] == ["QUEUE_FULL"] * 2
    gate.touch()
    for job in accepted:
        assert (await first.watch(job.name)).kinds()[-1] == "result"


async def test_a_stopped_server_leaves_its_jobs_to_the_others(share, gate, tmp_path):
    first, second = await share(2)
    trace = tmp_path / "trace"
    created = await first.create(order(f"step=0.05 trace={trace} x", options=steps(40)))
    await eventually(trace.exists)
    (runs,) = at_work(first, second)
    (other,) = {first, second} - {runs}
    _, events, watching = other.begin_watch(created.name)
    await eventually(lambda: any(event.HasField("progress") for event in events))
    await runs.stop(keep=True)
    outcome = await watching
    assert outcome.kinds()[-1] == "result"
    assert any(gap.log_expired for gap in outcome.only("gap"))
    numbers = [event.sequence for event in outcome.events]
    assert numbers == sorted(numbers)
    job = await other.get(created.name)
    assert (job.state, job.attempt_count) == (Stylization.STATE_SUCCEEDED, 2)


async def test_callers_take_turns_across_servers(share, gate):
    first, second = await share(2)
    held = [await first.create(order(f"hold={gate} x")) for _ in range(2)]
    await eventually(lambda: len(at_work(first, second)) == 2)
    busy = [await first.create(order(f"busy {number}"), client="busy") for number in range(3)]
    urgent = await second.create(order("urgent", priority=Stylization.PRIORITY_HIGH), client="busy")
    late = await second.create(order("late"), client="late")
    order_of = {"urgent": urgent, "busy 0": busy[0], "late": late, "busy 1": busy[1], "busy 2": busy[2]}
    for server in (first, second):
        await eventually(lambda server=server: len(server.app.jobs.backlog) == 5)
        positions = [(await server.get(job.name)).queue_position for job in order_of.values()]
        assert positions == [2, 3, 4, 5, 6]
        info = await server.info()
        assert (info.queue.waiting_count, server.metric("queue_depth", priority="high")) == (5, 1)
    gate.touch()
    for job in (*held, *order_of.values()):
        await second.watch(job.name)
    starts = [(await first.get(job.name)).start_time.ToNanoseconds() for job in order_of.values()]
    # Two devices: one may be a moment later, but no job starts before the one two places ahead of it.
    assert all(later > earlier for earlier, later in zip(starts, starts[2:], strict=False))


async def watched_with(server, gate, monkeypatch, error):
    """What a watcher of a job sees while its result meets an error of the shared directory once; and the job's name."""
    created = await server.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(server))
    fail_once(monkeypatch, os, "fsync", error)
    gate.touch()
    return await server.watch(created.name), created.name


async def test_a_shared_directory_that_fails_once_when_a_result_comes_loses_nothing(share, gate, monkeypatch):
    (server,) = await share(1)
    outcome, _ = await watched_with(server, gate, monkeypatch, OSError(errno.EIO, "Input/output error"))
    assert outcome.kinds()[-1] == "result"
    assert server.metric("storage_failures_total", reason="unavailable") == 1


async def test_a_result_whose_file_is_gone_fails_its_job(share, gate, monkeypatch):
    (server,) = await share(1)
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory")
    outcome, name = await watched_with(server, gate, monkeypatch, gone)
    assert outcome.only("failed")[0].error.reason == "STORAGE_UNAVAILABLE"
    assert (await server.get(name)).state == Stylization.STATE_FAILED


async def test_a_cancel_outlasts_the_lease_that_ends_while_a_result_is_stored(share, gate, monkeypatch):
    (server,) = await share(1)
    created = await server.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(server))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    gate.touch()
    await eventually(lambda: server.metric("storage_failures_total", reason="unavailable"))
    cancelling = asyncio.create_task(server.cancel(created.name))
    rows(server.app.settings.database_url, "DELETE FROM fronts RETURNING id")
    await asyncio.wait_for(cancelling, PATIENCE_S)
    assert (await server.watch(created.name)).kinds()[-1] == "cancelled"


async def test_a_claimed_job_that_could_not_be_returned_runs_later(share, monkeypatch):
    (server,) = await share(1)
    fail_once(monkeypatch, Claims, "_job", not_ready_error("is starting"))
    fail_once(monkeypatch, SharedQueue, "put_back", OSError("the connection is lost"))
    created = await server.create(order())
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    assert server.metric("storage_failures_total", reason="unavailable") == 1


async def test_a_job_whose_claim_was_stored_but_not_confirmed_runs_later(share, monkeypatch):
    (server,) = await share(1)
    claim = SharedQueue.claim

    def lose(queue: SharedQueue, front_id: str) -> None:
        if claim(queue, front_id):
            monkeypatch.setattr(SharedQueue, "claim", claim)
            raise OSError("the connection is lost")

    monkeypatch.setattr(SharedQueue, "claim", lose)
    created = await server.create(order())
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    assert (await server.get(created.name)).attempt_count == 1


async def test_every_device_of_a_server_takes_jobs_of_the_shared_queue(share, gate):
    first, second = await share(1, devices="cpu*2") + await share(1)
    jobs = [await second.create(order(f"hold={gate} number {number}")) for number in range(4)]
    await eventually(lambda: len(first.app.scheduler.running) == 2 and len(second.app.scheduler.running) == 1)
    await eventually(lambda: second.app.jobs.backlog.order() and len(second.app.jobs.backlog) == 1)
    gate.touch()
    for job in jobs:
        assert (await first.watch(job.name)).kinds()[-1] == "result"


async def test_servers_with_certificates_and_tokens_call_each_other(create_database, tmp_path):
    authority = Authority()
    chain, key = authority.issue_server().write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    texts = {}
    for tenant in ("studio", "other"):
        texts[tenant], token = tokens.draw(tenant, Role.USER, None)
        tokens.add_token(tmp_path / "tokens", token)
    files = {"tls_cert": chain, "tls_key": key, "tokens": tmp_path / "tokens"}
    files |= dict.fromkeys(("tls_client_ca", "peer_ca"), tmp_path / "ca.pem")
    given = {name: str(path) for name, path in files.items()}
    given |= {"database_url": create_database(), "shared_dir": str(tmp_path / "shared"), "peer_name": "localhost"}
    apps = [App(settings(**given), scripted.make) for _ in range(2)]
    for app in apps:
        await app.start()
        await asyncio.wait_for(app.ready(), 60)
    own = authority.issue("a client")
    callers = [
        {name: As(app.grpc_address, authority.pem, text, (own.key, own.chain)) for name, text in texts.items()}
        for app in apps
    ]
    turns = Turns(tmp_path)
    turns.allow(2)
    created = await callers[0]["studio"].create(order(f"turns={turns.path} x", options=steps(4)))
    await eventually(lambda: any(app.scheduler.running for app in apps))
    other = callers[0 if apps[1].scheduler.running else 1]
    _, events, watching = other["studio"].begin_watch(created.name)
    await eventually(lambda: any(event.progress.step == 2 for event in events))
    assert reason(await refusal(other["other"].get(created.name))) == "STYLIZATION_NOT_FOUND"
    turns.allow(4)
    assert (await watching).kinds()[-1] == "result"
    for caller in (caller for each in callers for caller in each.values()):
        await caller.channel.close()
    for app in apps:
        await app.stop(0)


async def test_only_the_key_of_a_server_makes_a_peer(share):
    (server,) = await share(1)
    created = await server.create(order())
    await server.watch(created.name)
    asked = pb.WatchStylizationRequest(name=created.name)

    async def watch(key: str) -> int:
        call = server.stub.WatchStylization(asked, metadata=[("x-clipstyler-peer", key)])
        return len([response async for response in call])

    assert await watch("0" * 32) == 2  # a caller as any other: a gap and the result
    assert await watch(server.app.jobs.peer_key()) == 0  # a peer finds finished jobs itself


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"database_url": ""}, "shared_dir needs a database"),
        ({"host": "0.0.0.0", "insecure": True}, "set advertise"),
        ({"peer_ca": "/nowhere.pem"}, "peer_ca /nowhere.pem cannot be read"),
        ({"peer_ca": __file__}, "peer_ca .* has no certificates of authorities"),
    ],
)
async def test_settings_that_do_not_go_together_are_named(share, changes, problem):
    with pytest.raises(ServerStartError, match=problem):
        await share(1, **changes)


async def test_a_style_is_fitted_by_whichever_server_is_free(share, gate):
    servers = await share(2)
    await servers[0].create(order(f"hold={gate} at=1 x"))
    (busy,) = await eventually(lambda: at_work(*servers))
    (free,) = (server for server in servers if server is not busy)
    job = await create_fit(busy, fit("fitted elsewhere", [photo(), photo(80, 80)]))
    outcome = await busy.watch(job.name)
    assert at_work(*servers) == [busy]
    style = outcome.result.result.style
    for server in (free, busy):
        assert (await get_style(server, style)).photo_count == 2
    gate.touch()


async def test_a_server_that_lost_its_lease_begins_no_job_again_before_its_own_run_has_ended(share, gate, tmp_path):
    (server,) = await share(1, devices="cpu*2")
    trace = tmp_path / "trace"
    created = await server.create(order(f"hold={gate} trace={trace} x", options=steps(4)))
    await eventually(lambda: trace.exists() and "step 2" in trace.read_text())
    rows(server.app.settings.database_url, "DELETE FROM fronts RETURNING id")
    await eventually(lambda: server.metric("leases_lost_total") == 1)
    query = "SELECT crashes FROM stylizations"
    await eventually(lambda: rows(server.app.settings.database_url, query) == [(1,)])
    await asyncio.sleep(1.5)  # longer than a look at the queue
    gate.touch()
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    lines = [f"step {number}" for number in range(1, 5)]
    assert trace.read_text().splitlines() == [*lines[:2], "closed", *lines, "closed"]


async def test_a_caller_that_leaves_while_the_database_is_lost_has_its_job_stopped_later(share, monkeypatch):
    (server,) = await share(1)
    call, events, reading = server.begin(request("step=0.05 x", options=steps(400)))
    await eventually(lambda: any(event.HasField("progress") for event in events))
    fail_once(monkeypatch, SharedQueue, "cancel", OSError("the connection is lost"))
    call.cancel()
    reading.cancel()
    states = partial(rows, server.app.settings.database_url, "SELECT state FROM stylizations")
    await eventually(lambda: states() == [("cancelled",)], 10)  # of 20 s of steps


async def test_a_one_shot_job_that_was_stored_but_not_confirmed_is_not_run_for_nobody(share, gate, monkeypatch):
    (server,) = await share(1)
    await server.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(server))
    add = SharedQueue.add

    def lose(*asked: Any) -> None:
        add(*asked)
        raise OSError("the connection is lost")

    monkeypatch.setattr(SharedQueue, "add", lose)
    assert reason((await server.stylize(request("lost"))).status) == "STORAGE_UNAVAILABLE"
    query = "SELECT state FROM stylizations WHERE one_shot"
    await eventually(lambda: rows(server.app.settings.database_url, query) == [("cancelled",)])
    gate.touch()


async def test_no_job_of_a_call_is_stored_without_the_lease_that_tells_others_of_it(share, monkeypatch):
    (server,) = await share(1)
    create = SharedIntake.create

    def without_lease(intake: SharedIntake, *asked: Any) -> None:
        intake._fronts.front = None  # lost since a place was reserved
        create(intake, *asked)

    monkeypatch.setattr(SharedIntake, "create", without_lease)
    assert reason((await server.stylize(request("late"))).status) == "STORAGE_UNAVAILABLE"
    assert rows(server.app.settings.database_url, "SELECT id FROM stylizations") == []


async def test_a_lease_does_not_wait_for_the_queue(share, gate):
    (server,) = await share(1, lease_s=2.0)
    held = await server.create(order(f"hold={gate} x"))
    await eventually(lambda: at_work(server))
    late = await server.create(order("late"))
    engine = sqlalchemy.create_engine(server.app.settings.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM queue FOR UPDATE"))
        rows(
            server.app.settings.database_url,
            "UPDATE stylizations SET deadline_at = 1 WHERE state = 'queued' RETURNING 1",
        )
        await asyncio.sleep(3)
    engine.dispose()
    assert server.metric("leases_lost_total") == 0
    assert (await server.watch(late.name)).kinds()[-1] == "failed"
    gate.touch()
    assert (await server.watch(held.name)).kinds()[-1] == "result"


async def test_jobs_that_wait_for_any_server_count_as_demand_for_devices(share, gate, monkeypatch):
    (server,) = await share(1)
    asking = AsyncMock()
    monkeypatch.setattr(wiring, "request_devices", asking)
    server.app.cluster = Mock()
    await server.app._request_devices()
    job_count = asking.await_args.args[2]
    jobs = [await server.create(order(f"hold={gate} x")) for _ in range(3)]
    await eventually(lambda: at_work(server) and job_count() == 3)
    gate.touch()
    for job in jobs:
        await server.watch(job.name)
    await eventually(lambda: job_count() == 0)


async def test_a_job_that_cannot_begin_now_holds_up_no_other_caller(share, monkeypatch):
    (server,) = await share(1)
    begin = Claims._job

    async def unreadable(claims: Claims, record: Any, lease: str) -> Any:
        if "unreadable" in record.spec:
            raise unavailable_error()
        return await begin(claims, record, lease)

    monkeypatch.setattr(Claims, "_job", unreadable)
    stuck = await server.create(order("unreadable", priority=Stylization.PRIORITY_HIGH), client="busy")
    rows(server.app.settings.database_url, "UPDATE stylizations SET account = 'other' RETURNING id")
    created = await server.create(order("x"))
    assert (await asyncio.wait_for(server.watch(created.name), PATIENCE_S)).kinds()[-1] == "result"
    assert (await server.get(stuck.name)).state != Stylization.STATE_FAILED


async def test_a_job_that_was_cancelled_at_work_is_not_run_again_if_its_server_dies(share, gate, tmp_path):
    (server,) = await share(1)
    trace = tmp_path / "trace"
    created = await server.create(order(f"hold={gate} trace={trace} x"))
    await eventually(lambda: trace.exists() and "step 2" in trace.read_text())
    await server.cancel(created.name)
    assert rows(server.app.settings.database_url, "SELECT state, cancel FROM stylizations") == [
        ("running", "requested")
    ]
    gate.touch()
    assert (await server.watch(created.name)).kinds()[-1] == "cancelled"


async def test_a_shared_directory_that_is_not_mounted_for_a_moment_fails_no_job(share, gate, tmp_path):
    server, other = await share(2)
    jobs = [await server.create(order(f"hold={gate} number {number}")) for number in range(4)]
    await eventually(lambda: len(at_work(server, other)) == 2)
    server.app.jobs.intake._prepared.clear()
    images, away = tmp_path / "shared" / "images", tmp_path / "away"
    images.rename(away)
    gate.touch()
    await eventually(lambda: server.app.storage.problems)
    await asyncio.sleep(2)
    assert not images.exists()
    away.rename(images)
    for job in jobs:
        assert (await server.watch(job.name)).kinds()[-1] == "result"


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize(("losses", "end"), [(1, "result"), (2, "failed")])
async def test_runs_that_ended_as_planned_count_as_no_losses(share, serve, monkeypatch, is_shared, losses, end):
    (server,) = await share(1) if is_shared else [await serve()]
    run, tasks = server.app.optimizers.run, []

    async def lose_the_first(task):
        tasks.append(task.job_id)
        if len(tasks) == 1:
            server.app.scheduler.running[task.job_id].attempts += 2  # servers were stopped meanwhile
        if len(tasks) <= losses:
            raise EngineLost("was lost with its node", again=True)
        async for event in run(task):
            yield event

    monkeypatch.setattr(server.app.optimizers, "run", lose_the_first)
    created = await server.create(order())
    assert (await server.watch(created.name)).kinds()[-1] == end
    assert len(tasks) == 2


async def test_a_server_does_not_start_while_the_shared_directory_of_a_used_database_is_not_mounted(share, tmp_path):
    (server,) = await share(1)
    job = await server.create(order("kept"))
    await server.watch(job.name)
    (tmp_path / "shared").rename(tmp_path / "away")
    (tmp_path / "shared").mkdir()  # the mount point
    with pytest.raises(ServerStartError, match="has no images, but the database has jobs of it: mount it"):
        await share(1)
    assert list((tmp_path / "shared").iterdir()) == []
    (tmp_path / "shared" / "images").mkdir()  # the operator gives the images up
    await share(1)
