"""A server that exits in any way loses no job: the next one on the same data resumes them."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from pathlib import Path

import pgserver
import pytest
import sqlalchemy
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.start_checks import ServerStartError
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.storage import unavailable_error

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service import scripted
from tests.service.harness import eventually, order, photo, reason, request


@pytest.fixture(autouse=True)
def _short_wait_for_the_last_step(monkeypatch):
    """Steps that are held never end: no test waits for them long."""
    monkeypatch.setattr("clipstyler_server.jobs.scheduler._STOP_WAIT_S", 0.3)


async def restart(serve, server, **changes: object):
    await server.stop(keep=True)
    return await serve(data_dir=server.app.settings.data_dir, **changes)


async def test_finished_jobs_and_their_images_are_all_there(serve):
    server = await serve()
    asked = order()
    done, failed = await server.create(asked), await server.create(order("fail=1 x"))
    live = await server.watch(done.name)
    await server.watch(failed.name)
    before = [await server.get(name) for name in (done.name, failed.name)]
    server = await restart(serve, server)

    assert [await server.get(name) for name in (done.name, failed.name)] == before
    assert (await server.watch(done.name)).events[-1] == live.events[-1]
    assert (await server.image(done.name))[1] == live.result.image_data
    assert (await server.image(done.name, Stylization.IMAGE_KIND_CONTENT))[1] == photo()
    assert (await server.create(asked)).name == done.name


async def test_drained_jobs_stay_queued_and_are_run_by_the_next_server(serve, gate):
    server = await serve()
    running = await server.create(order(f"hold={gate} x"))
    waiting = [await server.create(order(f"number {number}")) for number in range(3)]
    _, events, watching = server.begin_watch(waiting[0].name)
    _, running_events, watching_running = server.begin_watch(running.name)
    await eventually(lambda: events and any(event.WhichOneof("event") == "progress" for event in running_events))
    gate.touch()  # the held step ends when the grace is over
    server = await restart(serve, server)
    watched, watched_running = await watching, await watching_running
    assert reason(watched.status) == "DRAINING"
    assert watched.kinds() == ["queued"]

    for job in (running, *waiting):
        assert (await server.watch(job.name)).kinds()[-1] == "result"
    attempts = 1
    if watched_running.status is not None:  # it was broken off within its grace
        assert reason(watched_running.status) == "DRAINING"
        attempts = 2
    assert (await server.get(running.name)).attempt_count == attempts
    resumed = await server.watch(running.name, after=watched_running.events[-1].sequence)
    assert resumed.kinds()[-1] == "result"


@pytest.mark.parametrize(
    ("policy", "state"), [("requeue", Stylization.STATE_SUCCEEDED), ("fail", Stylization.STATE_FAILED)]
)
async def test_after_a_sigkill_queued_jobs_are_run_and_the_running_one_as_configured(launch, gate, policy, state):
    server = await (await launch(on_restart=policy)).ready()
    data_dir = server.settings["data_dir"]
    done = await server.create(order("done"))
    last_seen = (await server.watch(done.name)).events[-1]
    running = await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order("waits"))
    _, one_shot = server.begin(request("dies with its caller"))
    await eventually(lambda: len(list_of(data_dir)) == 4)
    _, events, watching = server.begin_watch(running.name)
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    seen = events[-1].sequence
    server.process.send_signal(signal.SIGKILL)
    await one_shot
    await watching
    gate.touch()

    server = await (await launch(on_restart=policy, data_dir=data_dir)).ready()
    assert (await server.watch(done.name)).events[-1] == last_seen
    resumed = await server.watch(running.name, after=seen)
    assert next(kind for kind in resumed.kinds() if kind != "heartbeat") == "gap"
    assert resumed.only("gap")[0].log_expired
    assert min(event.sequence for event in resumed.events) >= seen
    job = await server.get(running.name)
    assert job.state == state
    assert job.attempt_count == (2 if policy == "requeue" else 1)
    if policy == "fail":
        assert job.error.reason == "SERVER_RESTARTED"
    assert (await server.watch(waiting.name)).kinds()[-1] == "result"
    (orphan,) = set(list_of(data_dir)) - {name.split("/")[1] for name in (done.name, running.name, waiting.name)}
    left = await server.get(f"stylizations/{orphan}")
    assert (left.state, left.cancel_reason) == (Stylization.STATE_CANCELLED, Stylization.CANCEL_REASON_CALLER_LEFT)


def list_of(data_dir: str) -> list[str]:
    with sqlite3.connect(Path(data_dir) / "jobs.sqlite3") as database:
        return [row[0] for row in database.execute("SELECT id FROM stylizations")]


async def test_a_job_that_killed_two_servers_is_not_run_a_third_time(serve, gate):
    server = await serve()
    created = await server.create(order(f"hold={gate} x"))
    await eventually(lambda: server.app.scheduler.running)
    await server.stop(keep=True)
    with sqlite3.connect(server.app.settings.data_path / "jobs.sqlite3") as database:
        database.execute("UPDATE stylizations SET state = 'running', attempts = 2, crashes = 1, started_at = 1")
    gate.touch()
    server = await serve(data_dir=server.app.settings.data_dir)
    job = await server.get(created.name)
    assert (job.state, job.error.reason) == (Stylization.STATE_FAILED, "SERVER_RESTARTED")
    assert (await server.watch(created.name)).kinds()[-1] == "failed"


async def test_a_stored_job_can_be_cancelled_before_it_is_taken_up(serve, gate, tmp_path):
    trace = tmp_path / "trace"
    server = await serve()
    running = await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order(f"trace={trace}"))
    server = await restart(serve, server)  # the gate is closed: the first one runs again, as long as we want
    await eventually(lambda: server.app.scheduler.running)
    assert (await server.cancel(waiting.name)).state == Stylization.STATE_CANCELLED
    gate.touch()
    assert (await server.watch(running.name)).kinds()[-1] == "result"
    assert not trace.exists()


async def test_a_job_that_was_cancelled_at_work_is_not_run_again_after_a_sigkill(launch, gate, tmp_path):
    server = await (await launch(on_restart="requeue")).ready()
    trace = tmp_path / "trace"
    created = await server.create(order(f"hold={gate} trace={trace} x"))
    await eventually(lambda: trace.exists() and "step 2" in trace.read_text())
    await server.cancel(created.name)
    server.process.send_signal(signal.SIGKILL)
    gate.touch()
    server = await (await launch(on_restart="requeue", data_dir=server.settings["data_dir"])).ready()
    assert (await server.watch(created.name)).kinds()[-1] == "cancelled"


async def test_a_job_whose_deadline_passed_while_no_server_ran_fails(serve, gate):
    server = await serve()
    await server.create(order(f"hold={gate} x"))
    late = await server.create(order("x"))
    await server.stop(keep=True)
    gate.touch()
    with sqlite3.connect(server.app.settings.data_path / "jobs.sqlite3") as database:
        database.execute("UPDATE stylizations SET deadline_at = 1 WHERE id = ?", [late.name.split("/")[1]])
    server = await serve(data_dir=server.app.settings.data_dir)
    job = await server.get(late.name)
    assert (job.state, job.error.reason) == (Stylization.STATE_FAILED, "DEADLINE_EXCEEDED")


async def test_a_stored_job_that_cannot_be_run_any_more_fails_and_the_others_go_on(serve, gate):
    server = await serve()
    first = await server.create(order(f"hold={gate} x"))
    other = await server.create(order("x", options=StylizationOptions(encoder_set="other")))
    last = await server.create(order("last"))
    gate.touch()
    server = await restart(serve, server, encoder_sets="scripted")
    assert (await server.watch(other.name)).only("failed")[0].error.reason == "INVALID_FIELD"
    for job in (first, last):
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_stored_job_whose_photo_cannot_be_read_now_holds_up_no_other_and_runs_later(serve, gate, monkeypatch):
    server = await serve()
    await server.create(order(f"hold={gate} x"))
    first, last = [await server.create(order(text)) for text in ("first", "last")]
    gate.touch()
    resume, readable = Admission.resume, asyncio.Event()

    async def read(admission: Admission, record: Record) -> None:
        if record.id in first.name and not readable.is_set():
            raise unavailable_error()
        await resume(admission, record)

    monkeypatch.setattr(Admission, "resume", read)
    server = await restart(serve, server)
    assert (await server.watch(last.name)).kinds()[-1] == "result"
    readable.set()
    assert (await server.watch(first.name)).kinds()[-1] == "result"


async def test_a_job_accepted_under_one_calibration_and_recovered_under_another_gives_the_bytes_of_the_first(
    serve, gate
):
    server = await serve()
    alone = (await server.stylize(request("a look"))).result
    await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order("a look"))
    accepted = waiting.spec
    gate.touch()
    await server.stop(keep=True)

    server = await serve(scripted.make_recalibrated, data_dir=server.app.settings.data_dir, max_steps=2)
    assert (await server.get(waiting.name)).spec == accepted  # also before it is resumed
    recovered = (await server.watch(waiting.name)).result
    assert recovered.image_data == alone.image_data
    assert recovered.spec == accepted
    anew = (await server.stylize(request("a look", options=StylizationOptions(steps=2)))).result
    assert anew.spec.options.threshold == 0.1


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
async def test_a_database_of_the_version_before_is_refused_with_what_to_do_and_left_alone(serve, tmp_path, url):
    if url == "sqlite":
        server = None
        database = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
        changes = {}
    else:
        server = pgserver.get_server(tmp_path / "postgres")
        address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        database, changes = sqlalchemy.create_engine(address), {"database_url": address}
    with database.begin() as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('0001')",
            "CREATE TABLE stylizations (id VARCHAR(36) PRIMARY KEY)",
            "INSERT INTO stylizations VALUES ('kept')",
        ):
            connection.execute(sqlalchemy.text(statement))
    with pytest.raises(ServerStartError, match=r"another version of clipstyler and is left unchanged.*--data-dir"):
        await serve(data_dir=str(tmp_path), **changes)
    with database.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT id FROM stylizations")).scalar() == "kept"
    database.dispose()
    if server:
        server.cleanup()


async def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(serve, tmp_path):
    database = tmp_path / "jobs.sqlite3"
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(ServerStartError, match=r"^the database cannot be used: file is not a database$"):
        await serve(data_dir=str(tmp_path))
    assert database.read_bytes() == b"no database" * 1000


async def test_jobs_in_postgresql_outlive_a_server_too(serve, gate, tmp_path):
    database = pgserver.get_server(tmp_path / "postgres")
    url = database.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server = await serve(database_url=url)
    done = await server.create(order("done"))
    live = await server.watch(done.name)
    waiting = [await server.create(order(f"hold={gate} number {number}")) for number in range(2)]
    gate.touch()
    server = await restart(serve, server, database_url=url)
    assert (await server.watch(done.name)).events[-1] == live.events[-1]
    for job in waiting:
        assert (await server.watch(job.name)).kinds()[-1] == "result"
    await server.stop()
    database.cleanup()


async def test_a_database_that_is_not_there_is_a_clear_error(serve, tmp_path):
    with pytest.raises(ServerStartError, match="the database cannot be used: connection"):
        await serve(database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    for url in ("nonsense", "nosuch://x", "postgresql+psycopg://a:b:c/x"):
        with pytest.raises(ServerStartError, match=r"^database_url is not the address of a database: use postgresql\+"):
            await serve(database_url=url)


async def test_two_servers_do_not_share_a_data_directory(serve):
    server = await serve()
    with pytest.raises(ServerStartError, match="another server uses the data directory"):
        await serve(data_dir=server.app.settings.data_dir)
