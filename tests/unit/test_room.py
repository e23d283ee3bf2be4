"""Room for what callers store: nothing is deleted in vain, and nothing that the request uses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.identity.roles import Limits, Principal, Role
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Record, State, StyleRecord
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage

MIB = 2**20
LIMIT = 10 * MIB


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path, "", Metrics(False))
    asyncio.run(opened.open())
    yield opened
    opened.close()


def tenant(name: str = "acme", limit: int | None = LIMIT) -> Caller:
    return Caller("127.0.0.1", "", Principal(name, Role.USER, Limits(max_stored_bytes=limit)))


def job(name: str, owner: str = "acme", state: State = State.SUCCEEDED, ended_at: float = 1, **files: str) -> Record:
    return Record(
        id=name,
        request_id=None,
        payload_digest="",
        tenant=owner,
        account=tenant(owner).account,
        client="",
        priority=2,
        one_shot=False,
        state=state,
        created_at=1,
        deadline_at=1e12,
        spec="",
        content=files.pop("content", ""),
        content_metadata="",
        ended_at=ended_at,
        stored_bytes=MIB,
        **files,
    )


def names(storage: Storage) -> set[str]:
    return {record.id for record in storage.database.newest(100)}


async def hold(room: Room, caller: Caller, size: int, using: list[str]) -> None:
    async with room.hold(caller, size, using):
        pass


def refusal(room: Room, caller: Caller, size: int, *using: str) -> Reason:
    with pytest.raises(ServiceError) as caught:
        asyncio.run(hold(room, caller, size, list(using)))
    return caught.value.reason


def test_what_does_not_fit_all_the_same_deletes_nothing(storage: Storage) -> None:
    for number in range(4):
        storage.database.create(job(f"own {number}"))
        storage.database.create(job(f"other {number}", "other"))
    before = names(storage)
    assert refusal(Room(storage, 100 * MIB, 1), tenant(), LIMIT + 1) is Reason.STORAGE_FULL
    assert refusal(Room(storage, 6 * MIB, 1), tenant(limit=None), 7 * MIB) is Reason.STORAGE_FULL
    storage.database.create(job("in use", state=State.RUNNING))
    assert refusal(Room(storage, 100 * MIB, 1), tenant(), LIMIT - MIB // 2) is Reason.STORAGE_FULL
    assert names(storage) == before | {"in use"}


def test_what_others_have_in_use_leaves_room_for_nobody(storage: Storage) -> None:
    storage.database.create(job("own"))
    for number in range(8):
        storage.database.create(job(f"other {number}", "other", State.RUNNING))
    before = names(storage)
    assert refusal(Room(storage, LIMIT, 1), tenant(), 4 * MIB) is Reason.STORAGE_FULL
    assert names(storage) == before


def test_what_was_unused_longest_makes_room(storage: Storage) -> None:
    for number in range(4):
        storage.database.create(job(str(number), ended_at=number))
    asyncio.run(hold(Room(storage, 100 * MIB, 1), tenant(), LIMIT - 3 * MIB, []))
    assert names(storage) == {"2", "3"}  # a row counts with a little more than its files


@pytest.mark.parametrize("column", ["content", "mask", "result", "style", "other_photos"])
def test_jobs_with_a_file_that_is_used_stay(storage: Storage, column: str) -> None:
    digest = "ab" * 32
    fitted = {"fitted_photos": 3} if column == "other_photos" else {}
    storage.database.create(job("used", ended_at=1, **{column: digest}, **fitted))
    storage.database.create(job("unused", ended_at=2, mask="cd" * 32))
    asyncio.run(hold(Room(storage, 100 * MIB, 1), tenant(), LIMIT - MIB - MIB // 2, [digest]))
    assert names(storage) == {"used"}
    assert refusal(Room(storage, 100 * MIB, 1), tenant(), LIMIT - MIB // 2, digest) is Reason.STORAGE_FULL


def test_uploads_and_styles_that_are_used_stay(storage: Storage) -> None:
    database, account = storage.database, tenant().account
    for digest in ("aa" * 32, "bb" * 32):
        database.keep_upload("acme", digest, account, MIB, now=1, expires_at=1e12)
        database.keep_style(StyleRecord("acme", digest, account, 1, 1, MIB, "{}"))
    asyncio.run(hold(Room(storage, 100 * MIB, 1), tenant(), LIMIT - 3 * MIB, ["aa" * 32]))
    assert database.has_image("acme", "aa" * 32)
    assert database.find_style("aa" * 32, "acme")
    assert not (database.has_image("acme", "bb" * 32) and database.find_style("bb" * 32, "acme"))


def test_what_another_server_deletes_meanwhile_counts(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        storage.database.create(job(f"{number}", ended_at=number))
    unused, rooms = storage.database.unused, [Room(storage, 5 * MIB, 1) for _ in range(2)]

    def after_another(*asked: object) -> object:
        monkeypatch.setattr(storage.database, "unused", unused)
        rooms[1].delete_excess()
        return unused(*asked)

    monkeypatch.setattr(storage.database, "unused", after_another)
    rooms[0].delete_excess()
    assert len(names(storage)) == 4  # each has a row besides its bytes
