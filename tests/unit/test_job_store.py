"""The job store on SQLite and on PostgreSQL: the same guarantees."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from clipstyler_server.storage.database import Database
from clipstyler_server.storage.records import SOURCES, Record, State
from clipstyler_server.storage.tables import METADATA
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.service.databases import postgres

FINAL = {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def record(**changes: object) -> Record:
    plain = Record(
        id=str(uuid.uuid4()),
        tenant="",
        request_id=str(uuid.uuid4()),
        payload_digest="d" * 64,
        account="127.0.0.1",
        client="a caller",
        priority=2,
        one_shot=False,
        state=State.QUEUED,
        created_at=1000.25,
        deadline_at=2000.5,
        spec='{"style_text": "é"}',
        content="c" * 64,
        content_metadata="{}",
        stored_bytes=10,
        lease_owner="me",
        lease_until=2000.5,
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'jobs.sqlite3'}"
        return
    with postgres() as create:
        yield create()


@pytest.fixture(scope="module")
def migrated(database) -> Iterator[Database]:
    store = Database(database)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def store(migrated) -> Database:
    """An empty store."""
    with migrated._engine.begin() as connection:
        for table in METADATA.tables.values():
            connection.execute(table.delete())
    return migrated


class TestDatabase:
    def test_the_migrations_make_the_tables_that_the_code_knows(self, store):
        store.migrate()  # again changes nothing
        with store._engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []

    def test_a_job_is_found_again_as_it_was(self, store):
        job = record(started_at=1.5, ended_at=2.5, attempts=1, sequence=2**40, result="e" * 64, end="{}")
        store.create(job)
        assert store.get(job.id) == job
        assert store.find_request("", job.request_id) == job
        assert store.get("nobody") is None
        assert store.find_request("", "nobody") is None

    def test_a_request_id_is_taken_once_and_no_request_id_never(self, store):
        first = record()
        store.create(first)
        with pytest.raises(IntegrityError) as refused:
            store.create(record(request_id=first.request_id, spec="a secret look"))
        assert "a secret look" not in str(refused.value)
        store.create(record(request_id=None))
        store.create(record(request_id=None))

    def test_a_request_id_belongs_to_a_tenant(self, store):
        ours = record(tenant="ours")
        theirs = record(tenant="theirs", request_id=ours.request_id)
        store.create(ours)
        store.create(theirs)
        assert store.find_request("ours", ours.request_id) == ours
        assert store.find_request("theirs", ours.request_id) == theirs
        assert store.find_request("others", ours.request_id) is None
        assert store.newest(9, tenant="ours") == [ours]

    def test_an_image_belongs_to_the_tenants_whose_jobs_or_uploads_refer_to_it(self, store):
        store.create(record(tenant="ours", content="a" * 64, result="b" * 64, state=State.SUCCEEDED))
        store.keep_upload("ours", "u" * 64, "tenant:ours", 5, now=1.0, expires_at=9.0)
        store.keep_upload("theirs", "u" * 64, "tenant:theirs", 5, now=1.0, expires_at=9.0)
        assert [store.has_image("ours", letter * 64) for letter in "abuz"] == [True, True, True, False]
        assert [store.has_image("theirs", letter * 64) for letter in "abuz"] == [False, False, True, False]
        store.delete_upload("theirs", "u" * 64)
        assert [store.has_image(tenant, "u" * 64) for tenant in ("ours", "theirs")] == [True, False]

    def test_of_many_who_create_under_one_request_id_one_succeeds(self, store, database):
        request_id, outcomes = str(uuid.uuid4()), []

        def create() -> None:
            own = Database(database)
            try:
                own.create(record(request_id=request_id))
                outcomes.append("created")
            except IntegrityError:
                outcomes.append("refused")
            own.close()

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["created"] + 7 * ["refused"]

    def test_of_many_who_end_a_job_one_succeeds(self, store, database):
        job, outcomes = record(state=State.RUNNING), []
        store.create(job)

        def end(state: State) -> None:
            own = Database(database)
            if own.transition(job.id, state):
                outcomes.append(state)
            own.close()

        threads = [threading.Thread(target=end, args=(state,)) for state in (*FINAL, *FINAL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.get(job.id).state] == outcomes

    @hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.sampled_from(list(State)), max_size=8))
    def test_no_sequence_of_wishes_leads_to_an_illegal_state(self, store, wishes):
        job = record()
        store.create(job)
        state = State.QUEUED
        for wish in wishes:
            entered = store.transition(job.id, wish, attempts=3)
            assert entered == (state in SOURCES[wish])
            state = wish if entered else state
            assert store.get(job.id).state is state
        assert store.delete(job.id) == state.is_final

    def test_a_finished_job_stays_as_it_is(self):
        assert not any(source.is_final for sources in SOURCES.values() for source in sources)
        assert {state for state in State if state.is_final} == FINAL
        assert SOURCES[State.SUCCEEDED] == {State.RUNNING}

    def test_a_transition_writes_its_changes_and_an_illegal_one_none(self, store):
        job = record(state=State.RUNNING)
        store.create(job)
        assert store.transition(job.id, State.SUCCEEDED, result="r" * 64, ended_at=7.0)
        assert not store.transition(job.id, State.FAILED, result=None, ended_at=8.0)
        assert (store.get(job.id).result, store.get(job.id).ended_at) == ("r" * 64, 7.0)

    def test_pages_are_newest_first_and_do_not_lose_jobs_of_one_moment(self, store):
        jobs = [record(created_at=created_at) for created_at in (1.0, 2.0, 2.0, 2.0, 3.0)]
        for job in jobs:
            store.create(job)
        expected = sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)
        pages, before = [], None
        while page := store.newest(2, before=before):
            pages += page
            before = (page[-1].created_at, page[-1].id)
        assert pages == expected
        assert store.newest(9, State.RUNNING) == []

    def test_a_server_resumes_its_own_jobs_and_those_whose_lease_expired(self, store):
        mine = record(created_at=2.0)
        expired = record(created_at=1.0, lease_owner="other", lease_until=50.0, state=State.RUNNING)
        for job in (mine, expired, record(lease_owner="other", lease_until=200.0), record(state=State.FAILED)):
            store.create(job)
        assert store.unfinished("me", now=100.0) == [expired, mine]

    def test_only_a_waiting_job_is_renumbered(self, store):
        waiting, over = record(), record(state=State.CANCELLED)
        store.create(waiting)
        store.create(over)
        assert store.renumber(waiting.id, 99)
        assert store.get(waiting.id).sequence == 99
        assert not store.renumber(over.id, 99)

    def test_images_are_used_by_jobs_and_uploads(self, store):
        job = record(content="a" * 64, result="b" * 64, state=State.SUCCEEDED)
        store.create(job)
        for expires_at in (10.0, 20.0):
            store.keep_upload("", "u" * 64, "127.0.0.1", 5, now=1.0, expires_at=expires_at)
        assert [store.is_used(letter * 64) for letter in "abuz"] == [True, True, True, False]
        store.delete_expired_uploads(now=15.0)
        assert store.is_used("u" * 64)
        store.delete_expired_uploads(now=25.0)
        store.delete(job.id)
        assert not any(store.is_used(letter * 64) for letter in "abu")

    def test_bytes_are_summed_and_the_oldest_finished_come_first(self, store):
        assert store.stored_bytes() == 0
        jobs = [record(state=State.FAILED, ended_at=ended_at) for ended_at in (3.0, 1.0, 2.0)]
        for job in (*jobs, record(state=State.RUNNING), record(account="::1", state=State.FAILED, ended_at=1.5)):
            store.create(job)
        store.keep_upload("", "u" * 64, "::1", 7, now=0.5, expires_at=20.0)
        row = (store.stored_bytes() - 5 * 10 - 7) / 5
        assert 1000 < row < 10_000
        assert store.stored_bytes("::1") == 10 + row + 7
        assert store.expired(2, ended_before=2.5) == [jobs[1], store.get(store.unused(3)[2].job_id)]
        assert [entry.job_id or entry.upload[0] for entry in store.unused(3, "127.0.0.1")] == [
            jobs[1].id,
            jobs[2].id,
            jobs[0].id,
        ]
        assert [entry.size_bytes for entry in store.unused(9, "::1")] == [7, 10 + row]
        store.use_upload("", "u" * 64, now=9.0)
        assert store.unused(9)[-1].upload == "u" * 64

    def test_what_is_in_use_is_not_listed_as_unused(self, store):
        digests = [letter * 64 for letter in "wxyz"]
        used = [
            {"content": digests[0]},
            {"mask": digests[1]},
            {"result": digests[2]},
            {"fitted_photos": 2, "other_photos": digests[3]},
        ]
        jobs = [record(state=State.SUCCEEDED, ended_at=float(place), **files) for place, files in enumerate(used)]
        for job in jobs:
            store.create(job)
        everything = store.unused_bytes()
        for job, digest in zip(jobs, digests, strict=True):
            (left_out,) = {job.id for job in jobs} - {entry.job_id for entry in store.unused(9, using=[digest])}
            assert left_out == job.id
            assert store.unused_bytes(using=[digest]) == everything * 3 / 4
        assert store.unused(9, using=digests) == []
        assert store.unused_bytes(using=digests) == 0


def test_a_database_of_a_later_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    store = Database(url)
    store.migrate()
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Exception, match="9999"):
        store.migrate()
    store.close()


@pytest.fixture
def older(database, monkeypatch) -> Iterator[Database]:
    """A database as an earlier version left it, of the same kind as `database`."""
    url = f"{database}-older" if database.startswith("sqlite") else database
    store = Database(url)
    if not database.startswith("sqlite"):
        with store._engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "v1_0002"))
        store.migrate()
    yield store
    store.close()


def test_what_an_earlier_version_stored_belongs_to_no_tenant(older):
    job = record()
    values = dataclasses.asdict(job) | {"address": job.account}
    later = {"tenant", "account", "style", "mask", "arrival", "home", "cancel", "step", "warnings"}
    columns = [name for name in values if name not in later | {"fitted_photos", "other_photos", "lost_runs"}]
    with older._engine.begin() as connection:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join(f":{name}" for name in columns)
        connection.execute(text(f"INSERT INTO stylizations ({names}) VALUES ({marks})"), values)
        connection.execute(
            text("INSERT INTO uploads (digest, expires_at, address, size_bytes, used_at) VALUES (:d, 9, '::1', 5, 1)"),
            {"d": "u" * 64},
        )
    older.migrate()
    with older._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert older.get(job.id) == job
    assert older.has_image("", "u" * 64)
    assert older.stored_bytes("::1") == 5
    with pytest.raises(IntegrityError):
        older.create(record(request_id=job.request_id))
    older.create(record(tenant="ours", request_id=job.request_id))
