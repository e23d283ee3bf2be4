"""The database of jobs: SQLite embedded, or PostgreSQL by URL. Synchronous: `Storage` keeps it off the event loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)

from clipstyler_server.storage.records import SOURCES, Record, State, Unused
from clipstyler_server.storage.tables import STYLIZATIONS, UPLOADS

_T = STYLIZATIONS.c
_U = UPLOADS.c
# A job counts with its images, and with what its row may take at most: texts are bounded.
_ROW_BYTES = 8192
_JOB_BYTES = _T.stored_bytes + _ROW_BYTES
_FINAL = tuple(state for state in State if state.is_final)
_OPEN = tuple(state for state in State if not state.is_final)
_BUSY_S = 2  # seconds that SQLite waits for another process


class Database:
    """Rows of jobs and uploads. Every change of state is one compare-and-set: an illegal one changes nothing.

    Parameters
    ----------
    url
        Of SQLAlchemy: `sqlite:///PATH` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    def migrate(self) -> None:
        """Bring the tables up to date.

        Raises
        ------
        alembic.util.CommandError
            Their version is unknown: later than this software, or older than the first contract that is kept.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def ping(self) -> None:
        """Read something, to find out whether the database answers."""
        with self._engine.connect() as connection:
            connection.scalar(select(_T.id).limit(1))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def create(self, record: Record) -> None:
        """Add a job.

        Raises
        ------
        sqlalchemy.exc.IntegrityError
            There is a job of this id, or of this tenant and request id.
        """
        with self._engine.begin() as connection:
            connection.execute(insert(STYLIZATIONS).values(**dataclasses.asdict(record)))

    def get(self, job_id: str) -> Record | None:
        """Find a job by its id."""
        return self._one(_T.id == job_id)

    def find_request(self, tenant: str, request_id: str) -> Record | None:
        """Find a job of a tenant by its request id."""
        return self._one(and_(_T.tenant == tenant, _T.request_id == request_id))

    def newest(
        self,
        limit: int,
        state: State | None = None,
        before: tuple[float, str] | None = None,
        tenant: str | None = None,
    ) -> list[Record]:
        """List jobs, of a tenant or of all, newest first, after the one created at `before` (time and id)."""
        query = select(STYLIZATIONS).order_by(_T.created_at.desc(), _T.id.desc()).limit(limit)
        if state:
            query = query.where(_T.state == state)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        if before:
            created_at, job_id = before
            query = query.where(or_(_T.created_at < created_at, and_(_T.created_at == created_at, _T.id < job_id)))
        return self._all(query)

    def count_by_state(self) -> dict[State, int]:
        """Count the jobs in each state."""
        query = select(_T.state, func.count()).group_by(_T.state)
        with self._engine.connect() as connection:
            return dict.fromkeys(State, 0) | {State(state): count for state, count in connection.execute(query)}

    def unfinished(self, owner: str, now: float) -> list[Record]:
        """List jobs that a server had taken and not finished, and those whose lease expired, oldest first."""
        abandoned = or_(_T.lease_owner == owner, _T.lease_until < now)
        query = select(STYLIZATIONS).where(_T.state.in_(_OPEN), abandoned)
        return self._all(query.order_by(_T.created_at, _T.id))

    def expired(self, limit: int, ended_before: float) -> list[Record]:
        """List jobs that finished before a time, in the order in which they finished."""
        old = and_(_T.state.in_(_FINAL), _T.ended_at < ended_before)
        return self._all(select(STYLIZATIONS).where(old).order_by(_T.ended_at, _T.id).limit(limit))

    def unused(self, limit: int, account: str | None = None) -> list[Unused]:
        """List finished jobs and uploads, of one caller or of all, those first that were unused longest."""
        jobs = select(
            _T.id.label("job_id"),
            literal("").label("upload"),
            _T.tenant.label("tenant"),
            _JOB_BYTES.label("size"),
            _T.ended_at.label("at"),
        )
        jobs = jobs.where(_T.state.in_(_FINAL))
        uploads = select(
            literal("").label("job_id"),
            _U.digest.label("upload"),
            _U.tenant.label("tenant"),
            _U.size_bytes.label("size"),
            _U.used_at.label("at"),
        )
        if account is not None:
            jobs, uploads = jobs.where(_T.account == account), uploads.where(_U.account == account)
        both = union_all(jobs, uploads).subquery()
        with self._engine.connect() as connection:
            rows = connection.execute(select(both).order_by(both.c.at, both.c.job_id, both.c.upload).limit(limit))
            return [Unused(row.job_id, row.upload, row.tenant, int(row.size)) for row in rows]

    def stored_bytes(self, account: str | None = None) -> int:
        """Sum the bytes of jobs, their images and uploads, of one caller or of all."""
        jobs, uploads = select(func.sum(_JOB_BYTES)), select(func.sum(_U.size_bytes))
        if account is not None:
            jobs, uploads = jobs.where(_T.account == account), uploads.where(_U.account == account)
        with self._engine.connect() as connection:
            return int(connection.scalar(jobs) or 0) + int(connection.scalar(uploads) or 0)

    def transition(self, job_id: str, to: State, **changes: object) -> bool:
        """Enter a state if the present one allows it; returns whether it did."""
        allowed = and_(_T.id == job_id, _T.state.in_(SOURCES[to]))
        with self._engine.begin() as connection:
            outcome = connection.execute(update(STYLIZATIONS).where(allowed).values(state=to, **changes))
            return bool(outcome.rowcount)

    def renumber(self, job_id: str, sequence: int) -> bool:
        """Set the sequence number after which the events of a waiting job begin; returns whether it waits."""
        waits = and_(_T.id == job_id, _T.state == State.QUEUED)
        with self._engine.begin() as connection:
            return bool(connection.execute(update(STYLIZATIONS).where(waits).values(sequence=sequence)).rowcount)

    def delete(self, job_id: str) -> bool:
        """Delete a finished job; returns whether there was one."""
        with self._engine.begin() as connection:
            outcome = connection.execute(delete(STYLIZATIONS).where(_T.id == job_id, _T.state.in_(_FINAL)))
            return bool(outcome.rowcount)

    def keep_upload(
        self, tenant: str, digest: str, account: str, size_bytes: int, *, now: float, expires_at: float
    ) -> None:
        """Keep an uploaded image of a tenant until then."""
        upload = {
            "tenant": tenant,
            "digest": digest,
            "account": account,
            "size_bytes": size_bytes,
            "used_at": now,
            "expires_at": expires_at,
        }
        with self._engine.begin() as connection:
            connection.execute(delete(UPLOADS).where(_is_upload(tenant, digest)))
            connection.execute(insert(UPLOADS).values(upload))

    def use_upload(self, tenant: str, digest: str, now: float) -> None:
        """Record that an upload is used, if the tenant has one of this digest."""
        with self._engine.begin() as connection:
            connection.execute(update(UPLOADS).where(_is_upload(tenant, digest)).values(used_at=now))

    def delete_upload(self, tenant: str, digest: str) -> None:
        """Delete an upload."""
        with self._engine.begin() as connection:
            connection.execute(delete(UPLOADS).where(_is_upload(tenant, digest)))

    def delete_expired_uploads(self, now: float) -> None:
        """Delete uploads that have expired."""
        with self._engine.begin() as connection:
            connection.execute(delete(UPLOADS).where(_U.expires_at < now))

    def is_used(self, digest: str) -> bool:
        """Return whether a job or an upload refers to an image."""
        return self._refers(digest)

    def has_image(self, tenant: str, digest: str) -> bool:
        """Return whether a job or an upload of a tenant refers to an image."""
        return self._refers(digest, tenant)

    def _refers(self, digest: str, tenant: str | None = None) -> bool:
        by_job = select(_T.id).where(or_(_T.content == digest, _T.result == digest)).limit(1)
        by_upload = select(_U.digest).where(_U.digest == digest).limit(1)
        if tenant is not None:
            by_job, by_upload = by_job.where(_T.tenant == tenant), by_upload.where(_U.tenant == tenant)
        with self._engine.connect() as connection:
            return bool(connection.scalar(by_job) or connection.scalar(by_upload))

    def _one(self, condition: ColumnElement[bool]) -> Record | None:
        found = self._all(select(STYLIZATIONS).where(condition))
        return found[0] if found else None

    def _all(self, query: Select[Any]) -> list[Record]:
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query)]


def _is_upload(tenant: str, digest: str) -> ColumnElement[bool]:
    return and_(_U.tenant == tenant, _U.digest == digest)


def _record(row: Row[Any]) -> Record:
    values = dict(row._mapping)
    return Record(**(values | {"state": State(values["state"])}))


def _engine(url: str) -> Engine:
    """Connect to a database. Its errors do not quote what is stored: texts of users must not appear in logs."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    arguments = {"timeout": _BUSY_S, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # FULL: an accepted job survives a power cut too.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
