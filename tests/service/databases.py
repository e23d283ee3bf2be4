"""PostgreSQL for tests: one server for all, and a fresh database for each that asks."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pgserver
import sqlalchemy

_TRIES = 3


@contextmanager
def postgres(folder: Path) -> Iterator[Callable[[], str]]:
    """Run a server; gives a function that makes a database and returns SQLAlchemy's URL of it."""
    server = _started(folder)
    numbers = itertools.count(1)

    def create() -> str:
        name = f"test_{next(numbers)}"
        server.psql(f"CREATE DATABASE {name}")
        return server.get_uri(name).replace("postgresql://", "postgresql+psycopg://")

    yield create
    server.cleanup()


def _started(folder: Path) -> pgserver.PostgresServer:
    """Start a server; pgserver waits for ten seconds, which a busy machine may exceed: then it gets a fresh folder."""
    for number in range(_TRIES):
        with contextlib.suppress(subprocess.SubprocessError):
            return pgserver.get_server(folder / str(number))
    return pgserver.get_server(folder / str(_TRIES))


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.execute(sqlalchemy.text(query))]
    engine.dispose()
    return found
