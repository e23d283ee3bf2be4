"""Text directions, computed once: in memory, bounded by bytes, over files that survive restarts and crashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipstyler.prompts import normalize, templates

Floats = NDArray[np.float32]

_MAGIC = b"clipstyler direction 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
# Beside its bytes, an entry costs its key and Python's own: counted, so that the bound is one of memory.
_ENTRY_OVERHEAD = 512


class DirectionKey(NamedTuple):
    """Everything that a text direction depends on; make it with `key_of`."""

    digest: str
    backend: str
    precision: str
    templates: str
    source_text: str
    style_text: str


class Origin(StrEnum):
    """Where a direction came from."""

    MEMORY = "memory"
    STORE = "store"
    COMPUTED = "computed"


class Found(NamedTuple):
    """A direction and where it came from."""

    direction: Floats
    origin: Origin


class CacheStats(NamedTuple):
    """What a cache holds, and what it has dropped and refused so far."""

    entries: int
    size_bytes: int
    evictions: int
    refused: int


def template_version(template_set: str) -> str:
    """Name of a template set with a digest of its sentences: another list is another version."""
    digest = hashlib.sha256("\n".join(templates(template_set)).encode()).hexdigest()
    return f"{template_set}@{digest[:12]}"


def key_of(
    digest: str, backend: str, precision: str, templates_used: str, source_text: str, style_text: str
) -> DirectionKey:
    """Make a key; texts are brought into their normal form (Unicode NFC, single spaces, none at the ends).

    Case stays: encoders may see it. Two texts that tokenize alike are two entries.
    """
    return DirectionKey(digest, backend, precision, templates_used, normalize(source_text), normalize(style_text))


class DirectionStore:
    """Directions as files, one each, written whole or not at all.

    Parameters
    ----------
    directory
        Made where it is missing. Several processes may share it.

    Attributes
    ----------
    refused
        Files that were broken or belonged to another key; each was removed and counts as not there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refused = 0

    def path(self, key: DirectionKey) -> Path:
        """Where a direction is, or would be."""
        name = hashlib.sha256(_header(key)).hexdigest()
        return self.directory / name[:2] / f"{name}.direction"

    def read(self, key: DirectionKey) -> Floats | None:
        """Read a direction; None where there is none that can be read, is whole and of exactly this key."""
        path = self.path(key)
        with contextlib.suppress(OSError):
            direction = _unpacked(path.read_bytes(), key)
            if direction is None:
                self.refused += 1
                path.unlink(missing_ok=True)
            return direction
        return None

    def write(self, key: DirectionKey, direction: Floats) -> None:
        """Write a direction: beside its place, to the disk, then moved there in one step."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_packed(key, direction))
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(scratch).unlink()
            raise


class DirectionCache:
    """Directions in memory, least recently used out first, over a store. Safe for several threads.

    Parameters
    ----------
    max_bytes
        Of memory; an entry that is larger alone is not kept.
    store
        Where directions survive; None keeps them in memory only.
    """

    def __init__(self, max_bytes: int, store: DirectionStore | None = None) -> None:
        self._max_bytes = max_bytes
        self._store = store
        self._lock = threading.Lock()
        self._entries: OrderedDict[DirectionKey, Floats] = OrderedDict()
        self._computing: dict[DirectionKey, Future[Floats]] = {}
        self._size_bytes = 0
        self._evictions = 0

    @property
    def stats(self) -> CacheStats:
        """What the cache holds and has dropped."""
        refused = self._store.refused if self._store else 0
        with self._lock:
            return CacheStats(len(self._entries), self._size_bytes, self._evictions, refused)

    def peek(self, key: DirectionKey) -> Floats | None:
        """The direction if it is in memory; it counts as used."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def keep(self, key: DirectionKey, direction: Floats) -> Floats:
        """Put a direction into memory, read-only; returns what is kept."""
        kept = np.array(direction, dtype=np.float32)
        kept.flags.writeable = False
        cost = _cost(key, kept)
        with self._lock:
            self._drop(key)
            if cost <= self._max_bytes:
                self._entries[key] = kept
                self._size_bytes += cost
            while self._size_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
                self._evictions += 1
        return kept

    def get(self, key: DirectionKey, compute: Callable[[], Floats]) -> Found:
        """Find a direction, or compute it: once, however many ask for it at the same time.

        What `compute` raises, all who wait for it get; nothing is kept then.
        """
        if (kept := self.peek(key)) is not None:
            return Found(kept, Origin.MEMORY)
        with self._lock:
            underway = self._computing.get(key)
            if underway is None:
                ours: Future[Floats] = Future()
                self._computing[key] = ours
        if underway is not None:
            return Found(underway.result(), Origin.MEMORY)
        try:
            found = self._load(key, compute)
        except BaseException as error:
            ours.set_exception(error)
            raise
        else:
            ours.set_result(found.direction)
            return found
        finally:
            with self._lock:
                del self._computing[key]

    def _load(self, key: DirectionKey, compute: Callable[[], Floats]) -> Found:
        # Somebody may have finished it between our look into memory and our turn.
        if (kept := self.peek(key)) is not None:
            return Found(kept, Origin.MEMORY)
        if self._store and (stored := self._store.read(key)) is not None:
            return Found(self.keep(key, stored), Origin.STORE)
        direction = self.keep(key, compute())
        if self._store:
            # A disk that is full costs time, not answers.
            with contextlib.suppress(OSError):
                self._store.write(key, direction)
        return Found(direction, Origin.COMPUTED)

    def _drop(self, key: DirectionKey) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self._size_bytes -= _cost(key, dropped)


def _cost(key: DirectionKey, direction: Floats) -> int:
    return direction.nbytes + sum(len(part.encode()) for part in key) + _ENTRY_OVERHEAD


def _header(key: DirectionKey) -> bytes:
    return json.dumps(key._asdict(), ensure_ascii=True).encode() + b"\n"


def _packed(key: DirectionKey, direction: Floats) -> bytes:
    body = _header(key) + np.ascontiguousarray(direction, "<f4").tobytes()
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(data: bytes, key: DirectionKey) -> Floats | None:
    """The direction in a file's bytes; None unless they are whole and of this key."""
    body = data[len(_MAGIC) + _DIGEST_BYTES :]
    header = _header(key)
    whole = data.startswith(_MAGIC) and hashlib.sha256(body).digest() == data[len(_MAGIC) :][:_DIGEST_BYTES]
    if not whole or not body.startswith(header) or (len(body) - len(header)) % 4:
        return None
    return np.frombuffer(body[len(header) :], "<f4").astype(np.float32)
