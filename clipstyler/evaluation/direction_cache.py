"""Text directions, computed once: in memory, bounded by bytes, over files that survive restarts and crashes.

An entry holds everything that a stylization needs from its texts. Its key names whatever determines the bits, so that a
hit and a miss give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.inference import Floats, InferenceEncoders
from clipstyler.evaluation.text_directions import TextGuidance, text_guidance
from clipstyler.prompts import normalize, templates

_MAGIC = b"clipstyler direction 2\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
# Besides its bytes, an entry costs its key and Python objects: counted, so that the bound is one of memory.
_ENTRY_OVERHEAD = 512
_SWEEPS = 16  # so many times is a store looked through until as many bytes were written as it may have
_SCRATCH = ".writing-"
_ABANDONED_S = 3600.0  # whoever writes an entry for so long was killed


class DirectionKey(NamedTuple):
    """Everything that the bits of a text direction depend on; make it with `key_of`."""

    digest: str
    runtime: str
    precision: str
    templates: str
    source_text: str
    style_text: str


class Origin(StrEnum):
    """Where an entry came from."""

    MEMORY = "memory"
    STORE = "store"
    COMPUTED = "computed"


class Found(NamedTuple):
    """An entry and where it came from."""

    guidance: TextGuidance
    origin: Origin


class CacheStats(NamedTuple):
    """Contents of a cache, and what it has evicted and refused so far."""

    entries: int
    size_bytes: int
    evictions: int
    refused: int


def template_version(template_set: str) -> str:
    """Return the name of a template set with a digest of its sentences: another list is another version."""
    digest = hashlib.sha256("\n".join(templates(template_set)).encode()).hexdigest()
    return f"{template_set}@{digest[:12]}"


def key_of(
    digest: str, runtime: str, precision: str, templates_used: str, source_text: str, style_text: str
) -> DirectionKey:
    """Make a key; texts are normalized (Unicode NFC, single spaces, none at the ends).

    Case is kept, because encoders may see it. Two texts with the same tokens are two entries.
    """
    return DirectionKey(digest, runtime, precision, templates_used, normalize(source_text), normalize(style_text))


class DirectionStore:
    """Entries as files, one each, written completely or not at all.

    Parameters
    ----------
    directory
        Created if missing. Several processes may share it.
    max_bytes
        Of all files together; above that, those that were unused longest are deleted.

    Attributes
    ----------
    refused
        Files that were broken or belonged to another key; each was deleted and counts as missing.
    """

    def __init__(self, directory: Path, max_bytes: int = 64 * 2**20) -> None:
        self.directory = directory
        self.refused = 0
        self._max_bytes = max_bytes
        # What earlier runs have left counts from the first write on.
        self._unswept_bytes = max_bytes

    def path(self, key: DirectionKey) -> Path:
        """Return where an entry is, or would be."""
        name = hashlib.sha256(_header(key)).hexdigest()
        return self.directory / name[:2] / f"{name}.direction"

    def read(self, key: DirectionKey) -> TextGuidance | None:
        """Read an entry; None unless there is a readable, complete one of exactly this key."""
        path = self.path(key)
        with contextlib.suppress(OSError):
            guidance = _unpacked(path.read_bytes(), key)
            with contextlib.suppress(OSError):  # of another user, or read-only
                os.utime(path)
            if guidance is None:
                self.refused += 1
                path.unlink(missing_ok=True)
            return guidance
        return None

    def write(self, key: DirectionKey, guidance: TextGuidance) -> None:
        """Write an entry: next to its place, synced to the disk, then renamed atomically."""
        path = self.path(key)
        for directory in (self.directory, path.parent):  # texts of users: for the owner only
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        packed = _packed(key, guidance)
        descriptor, scratch = tempfile.mkstemp(prefix=_SCRATCH, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(scratch).unlink()
            raise
        self._unswept_bytes += len(packed)
        if self._unswept_bytes >= self._max_bytes // _SWEEPS:
            self._unswept_bytes = 0
            self._sweep()

    def _sweep(self) -> None:
        """Delete what killed writers left, and then what was unused longest, until there is room for some more."""
        self._delete_abandoned()
        found = []
        for path in self.directory.glob("*/*.direction"):
            with contextlib.suppress(OSError):  # another process was faster
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        excess = sum(size for _, size, _ in found) - self._max_bytes + self._max_bytes // _SWEEPS
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _delete_abandoned(self) -> None:
        limit = time.time() - _ABANDONED_S
        for path in self.directory.glob(f"*/{_SCRATCH}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()


class DirectionCache:
    """Entries in memory, least recently used evicted first, over a store. Thread-safe.

    Parameters
    ----------
    max_bytes
        Of memory; a larger entry is not kept.
    store
        Where entries survive; None keeps them in memory only.
    """

    def __init__(self, max_bytes: int, store: DirectionStore | None = None) -> None:
        self._max_bytes = max_bytes
        self._store = store
        self._lock = threading.Lock()
        self._entries: OrderedDict[DirectionKey, TextGuidance] = OrderedDict()
        self._computing: dict[DirectionKey, Future[TextGuidance]] = {}
        self._size_bytes = 0
        self._evictions = 0

    @property
    def stats(self) -> CacheStats:
        """Contents of the cache, and what it has evicted."""
        refused = self._store.refused if self._store else 0
        with self._lock:
            return CacheStats(len(self._entries), self._size_bytes, self._evictions, refused)

    def peek(self, key: DirectionKey) -> TextGuidance | None:
        """Return an entry if it is in memory; it counts as used."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def keep(self, key: DirectionKey, guidance: TextGuidance) -> TextGuidance:
        """Put an entry into memory, read-only; returns what is kept."""
        kept = TextGuidance(_read_only(guidance.direction), _read_only(guidance.style), guidance.confidence)
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

    def get(self, key: DirectionKey, compute: Callable[[], TextGuidance]) -> Found:
        """Find an entry, or compute it: once, however many callers ask for it at the same time.

        What `compute` raises reaches every waiting caller, and nothing is kept.
        """
        if (kept := self.peek(key)) is not None:
            return Found(kept, Origin.MEMORY)
        with self._lock:
            underway = self._computing.get(key)
            if underway is None:
                ours: Future[TextGuidance] = Future()
                self._computing[key] = ours
        if underway is not None:
            return Found(underway.result(), Origin.MEMORY)
        try:
            found = self._load(key, compute)
        except BaseException as error:
            ours.set_exception(error)
            raise
        else:
            ours.set_result(found.guidance)
            return found
        finally:
            with self._lock:
                del self._computing[key]

    def _load(self, key: DirectionKey, compute: Callable[[], TextGuidance]) -> Found:
        # Another thread may have finished it between the look into memory and this turn.
        if (kept := self.peek(key)) is not None:
            return Found(kept, Origin.MEMORY)
        if self._store and (stored := self._store.read(key)) is not None:
            return Found(self.keep(key, stored), Origin.STORE)
        guidance = self.keep(key, compute())
        if self._store:
            # A full disk costs time, not answers.
            with contextlib.suppress(OSError):
                self._store.write(key, guidance)
        return Found(guidance, Origin.COMPUTED)

    def _drop(self, key: DirectionKey) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self._size_bytes -= _cost(key, dropped)


def guidance_of(
    encoders: InferenceEncoders,
    style_text: str,
    source_text: str,
    template_set: str,
    cache: DirectionCache | None = None,
) -> Found:
    """Find or compute what a stylization needs from its texts; without a cache it is computed.

    Raises
    ------
    ConfigError
        To these encoders both texts mean the same.
    """
    key = key_of(
        encoders.digest, encoders.runtime, encoders.precision, template_version(template_set), source_text, style_text
    )
    compute = partial(text_guidance, encoders, key.style_text, key.source_text, template_set)
    return cache.get(key, compute) if cache else Found(compute(), Origin.COMPUTED)


def _read_only(values: Floats) -> Floats:
    kept = np.array(values, dtype=np.float32)
    kept.flags.writeable = False
    return kept


def _cost(key: DirectionKey, guidance: TextGuidance) -> int:
    text_bytes = sum(len(part.encode()) for part in key)
    return guidance.direction.nbytes + guidance.style.nbytes + text_bytes + _ENTRY_OVERHEAD


def _header(key: DirectionKey) -> bytes:
    return json.dumps(key._asdict(), ensure_ascii=True).encode() + b"\n"


def _packed(key: DirectionKey, guidance: TextGuidance) -> bytes:
    confidence = json.dumps(guidance.confidence and guidance.confidence._asdict()).encode() + b"\n"
    vectors = np.stack([guidance.direction, guidance.style]).astype("<f4").tobytes()
    body = _header(key) + confidence + vectors
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(data: bytes, key: DirectionKey) -> TextGuidance | None:
    """Return the entry in a file's bytes; None unless they are complete and of this key."""
    body = data[len(_MAGIC) + _DIGEST_BYTES :]
    header = _header(key)
    is_complete = data.startswith(_MAGIC) and hashlib.sha256(body).digest() == data[len(_MAGIC) :][:_DIGEST_BYTES]
    if not is_complete or not body.startswith(header):
        return None
    line, _, vectors = body[len(header) :].partition(b"\n")
    direction, style = np.frombuffer(vectors, "<f4").astype(np.float32).reshape(2, -1)
    known = json.loads(line)
    confidence = TextConfidence(known["probability"], tuple(known["nearest"])) if known else None
    return TextGuidance(direction, style, confidence)
