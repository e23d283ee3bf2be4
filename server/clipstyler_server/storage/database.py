"""The database of jobs: SQLite embedded, or PostgreSQL by URL. Synchronous: `Storage` keeps it off the event loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Subquery,
    and_,
    create_engine,
    delete,
    event,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from clipstyler_server.storage.records import SOURCES, Record, State, StyleRecord, Unused
from clipstyler_server.storage.tables import STYLES, STYLIZATIONS, UPLOADS

_T = STYLIZATIONS.c
_U = UPLOADS.c
_S = STYLES.c
# A job counts with its images, and with what its row may take at most: texts are bounded.
_ROW_BYTES = 8192
_JOB_BYTES = _T.stored_bytes + _ROW_BYTES
_IMAGES = (_T.content, _T.mask, _T.result, _T.style)
_STYLE_BYTES = _S.size_bytes + _ROW_BYTES
_FINAL = tuple(state for state in State if state.is_final)
_OPEN = tuple(state for state in State if not state.is_final)
# Of the dialects that know what to do with a row that is there.
_INSERT: Mapping[str, Callable[..., Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_BUSY_S = 2  # seconds that SQLite waits for another process
POSTGRES: Mapping[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""Of every connection: one whose network is cut finds out, also if it only waits for an answer."""
# A server that is lost in the middle of a transaction holds no lock for longer.
_SESSION = ("SET idle_in_transaction_session_timeout = '5s'", "SET lock_timeout = '10s'")
_MIGRATION = 0x636C6970  # of PostgreSQL's advisory locks; files have the beginnings of their digests, which are longer


class Database:
    """Rows of jobs, uploads and styles. Every change of state is one compare-and-set: an illegal one changes nothing.

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
            if self.is_shareable:
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @property
    def is_shareable(self) -> bool:
        """Whether several servers may use it at the same time."""
        return self._engine.dialect.name == "postgresql"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Do several things, or none of them if an error is raised."""
        with self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def holding(self, *digests: str) -> Iterator[None]:
        """Keep other servers from storing, referring to, or deleting files; within a server, writes do not overlap."""
        if not self.is_shareable:
            yield
            return
        with self._engine.connect() as connection:
            for digest in sorted(digests):  # always in the same order: nobody waits for each other
                connection.execute(select(func.pg_advisory_xact_lock(int(digest[:15], 16))))
            yield
            # A slow disk or a lost connection may have ended it; what was stored meanwhile is stored.
            with contextlib.suppress(SQLAlchemyError):
                connection.commit()

    def ping(self) -> None:
        """Read something, to find out whether the database answers."""
        with self._engine.connect() as connection:
            connection.scalar(select(_T.id).limit(1))

    def has_shared_jobs(self) -> bool:
        """Return whether a job is stored that servers with a shared directory have taken."""
        with self._engine.connect() as connection:
            return connection.scalar(select(_T.id).where(_T.arrival.is_not(None)).limit(1)) is not None

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

    def unused(self, limit: int, account: str | None = None, using: Collection[str] = ()) -> list[Unused]:
        """List finished jobs, uploads and styles, of one caller or of all, those first that were unused longest.

        Those with one of the files `using`, by their digests, are left out.
        """
        found = _unused(account, using)
        order = (found.c.at, found.c.job_id, found.c.upload, found.c.style)
        with self._engine.connect() as connection:
            rows = connection.execute(select(found).order_by(*order).limit(limit))
            return [Unused(row.job_id, row.upload, row.style, row.tenant, int(row.size)) for row in rows]

    def unused_bytes(self, account: str | None = None, using: Collection[str] = ()) -> int:
        """Sum the bytes of all that `unused` lists."""
        found = _unused(account, using)
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.sum(found.c.size))) or 0)

    def stored_bytes(self, account: str | None = None) -> int:
        """Sum the bytes of jobs, their images, uploads and styles, of one caller or of all."""
        stored = ((_JOB_BYTES, _T.account), (_U.size_bytes, _U.account), (_STYLE_BYTES, _S.account))
        sums = [(select(func.sum(size)), owner) for size, owner in stored]
        queries = [query if account is None else query.where(owner == account) for query, owner in sums]
        with self._engine.connect() as connection:
            return sum(int(connection.scalar(query) or 0) for query in queries)

    def transition(
        self,
        job_id: str,
        to: State,
        lease: str | None = None,
        made: StyleRecord | None = None,
        /,
        **changes: object,
    ) -> bool:
        """Enter a state if the present one allows it, and if the named lease has the job; returns whether it did.

        The style that the job has made is kept with it.
        """
        allowed = and_(_T.id == job_id, _T.state.in_(SOURCES[to]))
        if lease is not None:
            allowed = and_(allowed, _T.lease_owner == lease)
        with self._engine.begin() as connection:
            outcome = connection.execute(update(STYLIZATIONS).where(allowed).values(state=to, **changes))
            if outcome.rowcount and made:
                _keep_style(connection, made)
            return bool(outcome.rowcount)

    def describe_run(self, job_id: str, lease: str, **changes: object) -> bool:
        """Change what is stored of a running job that a lease has; returns whether it has it."""
        has_it = and_(_T.id == job_id, _T.state == State.RUNNING, _T.lease_owner == lease)
        with self._engine.begin() as connection:
            return bool(connection.execute(update(STYLIZATIONS).where(has_it).values(**changes)).rowcount)

    def note_cancel(self, job_id: str, reason: str) -> None:
        """Store why a job that has not ended is being cancelled: if its server dies, it is not run again."""
        unfinished = and_(_T.id == job_id, _T.state.in_(_OPEN), _T.cancel.is_(None))
        with self._engine.begin() as connection:
            connection.execute(update(STYLIZATIONS).where(unfinished).values(cancel=reason))

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

    def keep_style(self, style: StyleRecord) -> None:
        """Keep a style of a tenant, unless it has it: then it counts as used again."""
        with self._engine.begin() as connection:
            _keep_style(connection, style)

    def find_style(self, digest: str, tenant: str | None = None) -> StyleRecord | None:
        """Find a style of a tenant, or of any."""
        found = self._styles(select(STYLES).where(_is_style(tenant, digest)).limit(1))
        return found[0] if found else None

    def newest_styles(
        self, limit: int, before: tuple[float, str] | None = None, tenant: str | None = None
    ) -> list[StyleRecord]:
        """List styles, of a tenant or of all, newest first, after the one created at `before` (time and digest)."""
        query = select(STYLES).order_by(_S.created_at.desc(), _S.digest.desc()).limit(limit)
        if tenant is not None:
            query = query.where(_S.tenant == tenant)
        if before:
            created_at, digest = before
            query = query.where(or_(_S.created_at < created_at, and_(_S.created_at == created_at, _S.digest < digest)))
        return self._styles(query)

    def use_style(self, tenant: str, digest: str, now: float) -> None:
        """Record that a style is used."""
        with self._engine.begin() as connection:
            connection.execute(update(STYLES).where(_is_style(tenant, digest)).values(used_at=now))

    def delete_style(self, tenant: str, digest: str) -> None:
        """Delete a style."""
        with self._engine.begin() as connection:
            connection.execute(delete(STYLES).where(_is_style(tenant, digest)))

    def is_used(self, digest: str) -> bool:
        """Return whether a job, an upload or a style refers to a file."""
        return self._refers(digest) or self.find_style(digest) is not None

    def has_image(self, tenant: str, digest: str) -> bool:
        """Return whether a job or an upload of a tenant refers to an image."""
        return self._refers(digest, tenant)

    def _refers(self, digest: str, tenant: str | None = None) -> bool:
        by_job = select(_T.id).where(_has_file(digest)).limit(1)
        by_upload = select(_U.digest).where(_U.digest == digest).limit(1)
        if tenant is not None:
            by_job, by_upload = by_job.where(_T.tenant == tenant), by_upload.where(_U.tenant == tenant)
        with self._engine.connect() as connection:
            return bool(connection.scalar(by_job) or connection.scalar(by_upload))

    def _one(self, condition: ColumnElement[bool]) -> Record | None:
        found = self._all(select(STYLIZATIONS).where(condition))
        return found[0] if found else None

    def _styles(self, query: Select[Any]) -> list[StyleRecord]:
        with self._engine.connect() as connection:
            return [StyleRecord(**row._mapping) for row in connection.execute(query)]

    def _all(self, query: Select[Any]) -> list[Record]:
        with self._engine.connect() as connection:
            return [record_of(row) for row in connection.execute(query)]


def _keep_style(connection: Connection, style: StyleRecord) -> None:
    # In one statement, because another server may keep the same one now.
    keeping = _INSERT[connection.dialect.name](STYLES).values(**dataclasses.asdict(style))
    used = {"used_at": style.used_at}
    connection.execute(keeping.on_conflict_do_update(index_elements=[_S.tenant, _S.digest], set_=used))


def _unused(account: str | None, using: Collection[str]) -> Subquery:
    nothing = literal("")
    jobs = select(
        _T.id.label("job_id"),
        nothing.label("upload"),
        nothing.label("style"),
        _T.tenant.label("tenant"),
        _JOB_BYTES.label("size"),
        _T.ended_at.label("at"),
    )
    has_one = or_(false(), *(_has_file(digest) for digest in using))
    jobs = jobs.where(_T.state.in_(_FINAL), not_(func.coalesce(has_one, false())))
    uploads = select(
        nothing.label("job_id"),
        _U.digest.label("upload"),
        nothing.label("style"),
        _U.tenant.label("tenant"),
        _U.size_bytes.label("size"),
        _U.used_at.label("at"),
    ).where(_U.digest.not_in(using))
    styles = select(
        nothing.label("job_id"),
        nothing.label("upload"),
        _S.digest.label("style"),
        _S.tenant.label("tenant"),
        _STYLE_BYTES.label("size"),
        _S.used_at.label("at"),
    ).where(_S.digest.not_in(using))
    if account is not None:
        jobs, uploads = jobs.where(_T.account == account), uploads.where(_U.account == account)
        styles = styles.where(_S.account == account)
    return union_all(jobs, uploads, styles).subquery()


def _has_file(digest: str) -> ColumnElement[bool]:
    """Whether a job refers to a file; NULL is a no."""
    of_fit = and_(_T.fitted_photos > 1, _T.other_photos.contains(digest))
    return or_(*(image == digest for image in _IMAGES), of_fit)


def _is_upload(tenant: str, digest: str) -> ColumnElement[bool]:
    return and_(_U.tenant == tenant, _U.digest == digest)


def _is_style(tenant: str | None, digest: str) -> ColumnElement[bool]:
    return _S.digest == digest if tenant is None else and_(_S.tenant == tenant, _S.digest == digest)


def record_of(row: Row[Any]) -> Record:
    """Read a job from its row."""
    values = dict(row._mapping)
    return Record(**(values | {"state": State(values["state"])}))


def _engine(url: str) -> Engine:
    """Connect to a database. Its errors do not quote what is stored: texts of users must not appear in logs."""
    if url.startswith("postgresql"):
        return _postgres_engine(url)
    if not url.startswith("sqlite"):
        return create_engine(url, hide_parameters=True)
    arguments = {"timeout": _BUSY_S, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # FULL: an accepted job survives a power cut too.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _postgres_engine(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True, connect_args=dict(POSTGRES), hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        for setting in _SESSION:
            connection.execute(setting)
        connection.commit()

    return engine
