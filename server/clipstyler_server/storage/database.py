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
    or_,
    select,
    update,
)

from clipstyler_server.storage.records import SOURCES, Record, State
from clipstyler_server.storage.tables import STYLIZATIONS, UPLOADS

_T = STYLIZATIONS.c
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

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def create(self, record: Record) -> None:
        """Add a job.

        Raises
        ------
        sqlalchemy.exc.IntegrityError
            There is a job of this id or request id.
        """
        with self._engine.begin() as connection:
            connection.execute(insert(STYLIZATIONS).values(**dataclasses.asdict(record)))

    def get(self, job_id: str) -> Record | None:
        """Find a job by its id."""
        return self._one(_T.id == job_id)

    def find_request(self, request_id: str) -> Record | None:
        """Find a job by the request id of its caller."""
        return self._one(_T.request_id == request_id)

    def newest(self, limit: int, state: State | None = None, before: tuple[float, str] | None = None) -> list[Record]:
        """List jobs, newest first, after the one created at `before` (time and id)."""
        query = select(STYLIZATIONS).order_by(_T.created_at.desc(), _T.id.desc()).limit(limit)
        if state:
            query = query.where(_T.state == state)
        if before:
            created_at, job_id = before
            query = query.where(or_(_T.created_at < created_at, and_(_T.created_at == created_at, _T.id < job_id)))
        return self._all(query)

    def unfinished(self, owner: str, now: float) -> list[Record]:
        """List jobs that a server had taken and not finished, and those whose lease expired, oldest first."""
        abandoned = or_(_T.lease_owner == owner, _T.lease_until < now)
        query = select(STYLIZATIONS).where(_T.state.in_(_OPEN), abandoned)
        return self._all(query.order_by(_T.created_at, _T.id))

    def oldest_finished(self, limit: int) -> list[Record]:
        """List finished jobs, in the order in which they finished."""
        return self._all(select(STYLIZATIONS).where(_T.state.in_(_FINAL)).order_by(_T.ended_at, _T.id).limit(limit))

    def stored_bytes(self) -> int:
        """Sum the bytes of all jobs' images."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(_T.stored_bytes), 0))) or 0)

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

    def keep_upload(self, digest: str, expires_at: float) -> None:
        """Keep an uploaded image until then."""
        with self._engine.begin() as connection:
            connection.execute(delete(UPLOADS).where(UPLOADS.c.digest == digest))
            connection.execute(insert(UPLOADS).values(digest=digest, expires_at=expires_at))

    def delete_expired_uploads(self, now: float) -> None:
        """Delete uploads that have expired."""
        with self._engine.begin() as connection:
            connection.execute(delete(UPLOADS).where(UPLOADS.c.expires_at < now))

    def is_used(self, digest: str) -> bool:
        """Return whether a job or an upload refers to an image."""
        by_job = select(_T.id).where(or_(_T.content == digest, _T.result == digest)).limit(1)
        by_upload = select(UPLOADS.c.digest).where(UPLOADS.c.digest == digest)
        with self._engine.connect() as connection:
            return bool(connection.scalar(by_job) or connection.scalar(by_upload))

    def _one(self, condition: ColumnElement[bool]) -> Record | None:
        found = self._all(select(STYLIZATIONS).where(condition))
        return found[0] if found else None

    def _all(self, query: Select[Any]) -> list[Record]:
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> Record:
    values = dict(row._mapping)
    return Record(**(values | {"state": State(values["state"])}))


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # FULL: an accepted job survives a power cut too.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
