"""The queue that servers share has the order of the queue of one server, whatever arrives, is taken and leaves."""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.database import Database
from clipstyler_server.storage.leases import NOW, Front, Leases
from clipstyler_server.storage.records import Record, State, StyleRecord
from clipstyler_server.storage.shared_queue import Ending, SharedQueue
from clipstyler_server.storage.tables import FRONTS, QUEUE, STYLIZATIONS
from clipstyler_server.turns import QueueFullError, Turns
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.service.databases import postgres

_JOBS = st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 3]), st.sampled_from("xyz"))
_ACTIONS = st.lists(st.one_of(_JOBS, st.just("take"), st.just("back"), st.integers(0, 5)), max_size=40)


def record(account: str = "a", name: str = "", priority: int = 2, **changes: object) -> Record:
    plain = {
        "id": str(uuid.uuid4()),
        "tenant": "",
        "request_id": None,
        "payload_digest": "",
        "account": account,
        "client": name,
        "priority": priority,
        "one_shot": False,
        "state": State.QUEUED,
        "created_at": 0.0,
        "deadline_at": 1000.0,
        "spec": "{}",
        "content": "c" * 64,
        "content_metadata": "{}",
    }
    return Record(**(plain | changes))


def front(number: int = 0) -> Front:
    return Front(str(uuid.uuid4()), f"server {number}", "127.0.0.1:1", "key", 1)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as create:
        database = Database(create())
        database.migrate()
        yield database
        database.close()


@pytest.fixture
def queue(database) -> SharedQueue:
    """An empty queue."""
    empty(database)
    return SharedQueue(database)


def empty(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(STYLIZATIONS.delete())
        connection.execute(FRONTS.delete())
        connection.execute(QUEUE.update().values(arrivals=0, turns="[]"))


def registered(database: Database, lease_s: float = 60) -> Front:
    alive = front()
    Leases(database, lease_s).register(alive)
    return alive


@hypothesis_settings(max_examples=500, deadline=None)
@example([("a", 1, "x"), 0, ("b", 1, "x"), "take", ("b", 1, "x"), "take"])  # one leaves before its turn
@example([("a", 1, "x"), ("a", 1, "y"), 0, ("a", 1, "x"), "take"])  # a name that comes back goes behind
@given(_ACTIONS)
def test_turns_that_are_written_down_and_read_again_go_on_as_they_would_have(actions):
    kept, queue, waiting, taken = Turns(), JobQueue(100), {}, []
    for number, action in enumerate(actions):
        read = Turns.load(kept.dump(), list(waiting.values()))
        assert [job.id for job in read.order()] == [job.id for job in queue.order()]
        kept = read
        if action == "take":
            if waiting:
                job = kept.take()
                assert queue.pop().id == job.id
                taken.append(waiting.pop(job.id))
        elif action == "back":
            if taken:
                job = taken.pop()
                kept.add(job, first=True)
                queue.put_back(job)
                waiting = dict(sorted({**waiting, job.id: job}.items(), key=lambda entry: int(entry[0])))
        elif isinstance(action, int):
            if action < len(waiting):  # one leaves, and only the rows show it
                job_id = list(waiting)[action]
                del waiting[job_id]
                queue.remove(job_id)
        else:
            account, priority, name = action
            job = SimpleNamespace(id=str(number), caller=Caller(account, name), priority=priority)
            waiting[job.id] = job
            kept.add(job)
            queue.put(job)


@hypothesis_settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(_ACTIONS)
def test_it_has_the_order_of_the_queue_of_one_server(database, actions):
    empty(database)
    queue, local, taken = SharedQueue(database), JobQueue(100), []
    server = registered(database)
    for action in actions:
        if action == "take":
            expected, claimed = local.pop(), queue.claim(server.id)
            assert (claimed and claimed.id) == (expected and expected.id)
            if expected:
                taken.append(expected)
        elif action == "back":
            if taken:
                assert queue.put_back(taken[-1].id, server.id)
                local.put_back(taken.pop())
        elif isinstance(action, int):
            if action < len(local):
                leaves = local.order()[action]
                assert queue.cancel(leaves.id, "requested", "{}")
                local.remove(leaves.id)
        else:
            account, priority, name = action
            stored = record(account, name, priority)
            queue.add(stored, 100, 100)
            local.put(SimpleNamespace(id=stored.id, caller=Caller(account, name), priority=priority))
        assert [ticket.id for ticket in queue.backlog().turns.order()] == [job.id for job in local.order()]


def test_a_job_is_claimed_once_and_only_under_a_lease(database, queue):
    server, other = registered(database), front(1)
    queue.add(record(), 10, 10)
    assert queue.claim(other.id) is None
    claimed = queue.claim(server.id)
    assert (claimed.state, claimed.lease_owner) == (State.RUNNING, server.id)
    assert queue.claim(server.id) is None


def test_a_stale_server_can_neither_end_nor_return_a_job(database, queue):
    stale, fresh = registered(database, lease_s=0.0), front(1)
    Leases(database, 60).register(fresh)
    queue.add(record(), 10, 10)
    with database.transaction() as connection:
        connection.execute(FRONTS.update().where(FRONTS.c.id == stale.id).values(lease_until=4e9))
    claimed = queue.claim(stale.id)
    with database.transaction() as connection:
        connection.execute(FRONTS.update().where(FRONTS.c.id == stale.id).values(lease_until=1.0))
    assert [taken.id for taken in queue.take_over(lambda *_: None)] == [claimed.id]
    assert queue.claim(fresh.id).crashes == 1

    assert not database.transition(claimed.id, State.SUCCEEDED, stale.id, end="{}")
    assert not queue.put_back(claimed.id, stale.id)
    assert not database.describe_run(claimed.id, stale.id, attempts=9)
    assert database.transition(claimed.id, State.SUCCEEDED, fresh.id, end="{}")


def test_a_lease_that_has_ended_is_not_renewed(database, queue):
    leases, server = Leases(database, 60), registered(database)
    assert leases.renew(server.id) is not None
    with database.transaction() as connection:
        connection.execute(FRONTS.update().values(lease_until=1.0))
    assert leases.renew(server.id) is None
    assert leases.alive() == []


def test_a_renewal_that_is_stored_late_keeps_the_jobs_of_its_server(database, queue):
    server = registered(database)
    queue.add(record(), 10, 10)
    claimed, begun = queue.claim(server.id), threading.Event()
    with database.transaction() as connection:
        connection.execute(FRONTS.update().values(lease_until=1.0))  # as others see it

    def renew() -> None:
        with database.transaction() as connection:
            connection.execute(FRONTS.update().values(lease_until=NOW + 60))
            begun.set()
            time.sleep(1)

    renewing = threading.Thread(target=renew)
    renewing.start()
    assert begun.wait(10)
    assert queue.take_over(lambda *_: None) == []
    renewing.join()
    assert database.get(claimed.id).lease_owner == server.id


def test_what_lost_its_server_its_caller_or_its_time_is_decided_about_once(database, queue):
    server = registered(database)
    kept, lost, left, late = (record(name) for name in ("kept", "lost", "left", "late"))
    queue.add(lost, 10, 10)
    gone = front(1)
    Leases(database, 60).register(gone)
    assert queue.claim(gone.id).id == lost.id
    Leases(database, 60).leave(gone.id)
    queue.add(kept, 10, 10)
    queue.add(Record(**{**vars(left), "one_shot": True, "home": gone.id}), 10, 10)
    queue.add(Record(**{**vars(late), "deadline_at": -1.0}), 10, 10)

    def verdict(found: Record, now: float, is_callerless: bool) -> Ending | None:
        assert now > 1e9
        if found.id == left.id:
            assert is_callerless
            return Ending(State.CANCELLED, "{}")
        return Ending(State.FAILED, "{}") if found.id == late.id else None

    assert {found.id for found in queue.take_over(verdict)} == {lost.id, left.id, late.id}
    assert queue.take_over(verdict) == []
    states = {found.id: (found.state, found.crashes) for found in database.newest(10)}
    assert states == {
        kept.id: (State.QUEUED, 0),
        lost.id: (State.QUEUED, 1),
        left.id: (State.CANCELLED, 0),
        late.id: (State.FAILED, 0),
    }
    assert {queue.claim(server.id).id, queue.claim(server.id).id} == {kept.id, lost.id}


@pytest.mark.parametrize(("account", "of_caller"), [("a", True), ("c", False)])
def test_limits_of_the_queue_and_of_a_caller_are_held_in_the_database(database, queue, account, of_caller):
    server = registered(database)
    for waiting in ("a", "a", "b") if of_caller else ("a", "b", "b2"):
        queue.add(record(waiting), 2 + of_caller, 1)
    with pytest.raises(QueueFullError) as full:
        queue.add(record(account), 2 + of_caller, 1)
    assert full.value.of_caller is of_caller
    assert queue.claim(server.id)


def test_a_server_that_leaves_returns_its_jobs_in_their_order(database, queue):
    server = registered(database)
    names = [record("a", f"name {number}") for number in range(3)]
    for stored in names:
        queue.add(stored, 10, 10)
    claimed = [queue.claim(server.id).id for _ in names]
    queue.release(server.id)
    Leases(database, 60).leave(server.id)
    other = registered(database)
    assert [queue.claim(other.id).id for _ in names] == claimed
    assert all(found.crashes == 0 for found in database.newest(10))


def test_a_server_returns_the_jobs_that_it_does_not_know(database, queue):
    server = registered(database)
    for _ in range(2):
        queue.add(record(), 10, 10)
    known, unknown = (queue.claim(server.id).id for _ in range(2))
    queue.release(server.id, [known])
    assert queue.claim(server.id).id == unknown
    assert queue.claim(server.id) is None


def test_deleting_a_file_waits_for_those_who_are_storing_it(database, queue):
    digest = "ab" * 32
    with database.holding(digest):
        engine = sqlalchemy.create_engine(database._engine.url)
        with engine.begin() as connection:
            free = connection.scalar(sqlalchemy.select(sqlalchemy.func.pg_try_advisory_lock(int(digest[:15], 16))))
        engine.dispose()
    assert not free


def test_a_job_that_is_returned_while_it_is_cancelled_is_cancelled(database, queue):
    server = registered(database)
    queue.add(record(), 10, 10)
    claimed = queue.claim(server.id)
    put_back = []

    def between(_: object, __: object, statement: str, *___: object) -> None:
        if not put_back and statement.startswith("UPDATE stylizations"):
            put_back.append(threading.Thread(target=queue.put_back, args=(claimed.id, server.id)))
            put_back[0].start()
            put_back[0].join(1)

    sqlalchemy.event.listen(database._engine, "after_cursor_execute", between)
    try:
        queue.cancel(claimed.id, "requested", "{}")
    finally:
        sqlalchemy.event.remove(database._engine, "after_cursor_execute", between)
    put_back[0].join()
    (found,) = database.newest(10)
    assert found.state is State.CANCELLED or found.cancel == "requested"


def test_two_servers_keep_the_same_style_at_the_same_time(database, queue):
    style = StyleRecord("", "ab" * 32, "a", 1.0, 1.0, 10, "{}")
    other = threading.Thread(target=database.keep_style, args=(dataclasses.replace(style, used_at=2.0),))

    def between(_: object, __: object, statement: str, *___: object) -> None:
        if "styles" in statement and not other.ident:
            other.start()
            other.join(1)

    sqlalchemy.event.listen(database._engine, "after_cursor_execute", between)
    try:
        database.keep_style(style)
    finally:
        sqlalchemy.event.remove(database._engine, "after_cursor_execute", between)
    other.join()
    assert database.find_style(style.digest) == dataclasses.replace(style, used_at=2.0)


def test_what_was_stored_while_a_file_was_held_too_long_is_stored(database, queue, monkeypatch):
    with database.holding("ab" * 32):
        queue.add(record(), 10, 10)
        with database.transaction() as connection:
            connection.execute(
                sqlalchemy.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                )
            )
    assert len(database.newest(10)) == 1
