"""Styles: the bundled ones, and those of tenants. Their files are named by their SHA-256 like all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from clipstyler.imaging import ImageError
from clipstyler.style import StyleDescription, digest_of, dump_description, load_description, load_style
from clipstyler.style_library import BundledStyle, bundled_styles
from clipstyler_server.errors import Reason, ServiceError, Violation, error, invalid
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import StyleRecord
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.optimizer.applications import StyleFile

_DOWNLOAD_BYTES = 256 * 1024
_BEFORE_ALL = float("inf")  # when bundled styles were created: they are listed before all others


@dataclass(frozen=True)
class StoredStyle:
    """A style as callers see it.

    Attributes
    ----------
    digest
        SHA-256 of its file in lower-case hexadecimal.
    created_at
        Seconds since 1970; infinite if it is bundled.
    """

    digest: str
    description: StyleDescription
    size_bytes: int
    created_at: float

    @property
    def bundled(self) -> bool:
        """Whether it comes with the server."""
        return self.created_at == _BEFORE_ALL


@dataclass(frozen=True)
class StyleQuery:
    """A page of styles: size, the style (time and digest) that it comes after, and the tenant (None for all)."""

    size: int
    after: tuple[float, str] | None
    scope: str | None


class StyleStore:
    """Keeps styles.

    `scope` is the tenant whose styles there are for a caller, None for all: those of others do not exist for it.

    Parameters
    ----------
    storage, room
        Of the files.
    decoder
        Reads them.
    """

    def __init__(self, storage: Storage, room: Room, decoder: ImageDecoder) -> None:
        self._storage = storage
        self._room = room
        self._decoder = decoder
        self._bundled: dict[str, BundledStyle] = {}

    async def open(self) -> None:
        """Read the bundled styles."""
        self._bundled = {style.digest: style for style in await asyncio.to_thread(bundled_styles)}

    async def create(self, job_id: str, caller: Caller) -> StoredStyle:
        """Make a style of what a finished job has kept.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND, STYLE_NOT_KEPT, STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        digest = await self.kept_by(job_id, caller.scope)
        found = await self._storage.read(self._storage.blobs.find, digest)
        if found is None:
            raise _not_kept(job_id)
        return await self._keep(found[0], found[1], caller)

    async def upload(self, data: bytes, caller: Caller) -> StoredStyle:
        """Store the file of a style.

        Raises
        ------
        ServiceError
            INVALID_FIELD, STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        return await self._keep(data, len(data), caller)

    @property
    def bundled(self) -> list[StoredStyle]:
        """The styles that come with the server."""
        return [_of_bundle(style) for style in self._bundled.values()]

    async def get(self, digest: str, scope: str | None) -> StoredStyle:
        """Describe a style, or raise `ServiceError` STYLE_NOT_FOUND."""
        if bundled := self._bundled.get(digest):
            return _of_bundle(bundled)
        return _stored(await self._record(digest, scope))

    async def page(self, query: StyleQuery) -> list[StoredStyle]:
        """List so many styles and one more: bundled ones, then others, newest first."""
        found = self._bundled_after(query.after)
        after = query.after if query.after and query.after[0] != _BEFORE_ALL else None
        if len(found) <= query.size:
            limit = query.size + 1 - len(found)
            found += await self._storage.read(self._newest, limit, after, query.scope)
        return found[: query.size + 1]

    async def delete(self, digest: str, scope: str | None) -> None:
        """Delete a style.

        Raises
        ------
        ServiceError
            STYLE_NOT_FOUND or STYLE_BUNDLED.
        """
        if digest in self._bundled:
            raise error(Reason.STYLE_BUNDLED, "styles/{digest} comes with the server: it stays", digest=digest)
        record = await self._record(digest, scope)
        await self._storage.write(self._storage.delete_style, record.tenant, digest)

    async def file(self, digest: str, scope: str | None) -> StyleFile:
        """Return the file of a style that is about to be applied, or raise `ServiceError` STYLE_NOT_FOUND."""
        if bundled := self._bundled.get(digest):
            return StyleFile(bundled.path, digest)
        record = await self._record(digest, scope)
        await self._storage.write(self._storage.database.use_style, record.tenant, digest, self._storage.now())
        return StyleFile(await self._path(digest), digest)

    async def kept_file(self, job_id: str, scope: str | None) -> StyleFile:
        """Return the file of the style that a finished job has kept; raises as `create`."""
        digest = await self.kept_by(job_id, scope)
        return StyleFile(await self._path(digest), digest)

    async def kept_by(self, job_id: str, scope: str | None) -> str:
        """Return the digest of the style that a finished job has kept; raises as `create`."""
        record = await self._storage.read(self._storage.database.get, job_id)
        if record is None or scope not in {None, record.tenant}:
            raise error(Reason.STYLIZATION_NOT_FOUND, "there is no stylizations/{id}", id=job_id)
        if record.style is None:
            raise _not_kept(job_id)
        return record.style

    async def parts(self, digest: str, scope: str | None) -> AsyncIterator[bytes]:
        """Read the file of a style part by part; raises `ServiceError` STYLE_NOT_FOUND."""
        style = await self.get(digest, scope)
        bundled = self._bundled.get(digest)
        for offset in range(0, style.size_bytes, _DOWNLOAD_BYTES):
            if bundled:
                yield bundled.data()[offset : offset + _DOWNLOAD_BYTES]
                continue
            data = await self._storage.read(self._storage.blobs.read, digest, offset, _DOWNLOAD_BYTES)
            if data is None:
                raise style_not_found(digest)
            yield data

    async def _keep(self, source: bytes | Path, size: int, caller: Caller) -> StoredStyle:
        try:
            digest, description = await self._decoder.read_style(source, caller.account)
        except ImageError as problem:
            raise invalid(Violation("data", str(problem))) from problem
        if bundled := self._bundled.get(digest):
            return _of_bundle(bundled)
        now = self._storage.now()
        text = dump_description(description)
        record = StyleRecord(caller.tenant, digest, caller.account, now, now, size, text)
        is_kept = await self._storage.read(self._storage.database.find_style, digest, caller.tenant) is not None
        async with self._room.hold(caller, 0 if is_kept else size, [digest]):
            await asyncio.shield(self._storage.write(self._write, record, source))
        return _stored(await self._record(digest, caller.tenant))

    def _write(self, record: StyleRecord, source: bytes | Path) -> None:
        with self._storage.database.holding(record.digest):
            if isinstance(source, bytes):
                self._storage.blobs.put(source)
            elif not self._storage.blobs.touch(record.digest):
                raise style_not_found(record.digest)
            self._storage.database.keep_style(record)

    def _newest(self, limit: int, after: tuple[float, str] | None, scope: str | None) -> list[StoredStyle]:
        """Read styles, inside of `Storage.read`: their descriptions are too long for the event loop."""
        return [_stored(record) for record in self._storage.database.newest_styles(limit, after, scope)]

    def _bundled_after(self, after: tuple[float, str] | None) -> list[StoredStyle]:
        listed = [_of_bundle(style) for style in self._bundled.values()]
        if after is None:
            return listed
        digests = [style.digest for style in listed]
        return listed[digests.index(after[1]) + 1 :] if after[0] == _BEFORE_ALL and after[1] in digests else []

    async def _record(self, digest: str, scope: str | None) -> StyleRecord:
        record = await self._storage.read(self._storage.database.find_style, digest, scope)
        if record is None:
            raise style_not_found(digest)
        return record

    async def _path(self, digest: str) -> Path:
        found = await self._storage.read(self._storage.blobs.find, digest)
        if found is None:
            raise style_not_found(digest)
        return found[0]


def _of_bundle(style: BundledStyle) -> StoredStyle:
    return StoredStyle(style.digest, style.description, style.size_bytes, _BEFORE_ALL)


def _stored(record: StyleRecord) -> StoredStyle:
    return StoredStyle(record.digest, load_description(record.description), record.size_bytes, record.created_at)


def made_style(caller: Caller, data: bytes, now: float) -> StyleRecord:
    """Describe a style that a job of a caller has made, inside of `Storage.write`: it takes a moment."""
    style = load_style(data)
    text = dump_description(style.description)
    return StyleRecord(caller.tenant, digest_of(data), caller.account, now, now, len(data), text)


def style_not_found(digest: str) -> ServiceError:
    """Make the error of a style that there is none of."""
    return error(Reason.STYLE_NOT_FOUND, "there is no styles/{digest}", digest=digest)


def _not_kept(job_id: str) -> ServiceError:
    return error(
        Reason.STYLE_NOT_KEPT,
        "stylizations/{id} has kept no style: create it with the option keep_style, and wait for its end",
        id=job_id,
    )
