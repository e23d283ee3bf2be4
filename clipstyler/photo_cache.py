"""What encoders see in a photo, computed once: the same photo with ten texts is embedded once.

Entries are kept in memory, least recently used evicted first. Their key names whatever determines the bits, so that a
hit and a miss give the same bytes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from clipstyler.encoders.base import EncoderSet, identity
from clipstyler.imaging import Picture

Tensors = tuple[Tensor, ...]
# Besides its tensors, an entry costs its key and Python objects: counted, so that the bound is one of memory.
_ENTRY_OVERHEAD = 1024


class PhotoKey(NamedTuple):
    """Everything that the bits of an entry depend on; make it with `key_of`."""

    part: str
    photo: str
    clip: str
    content: str
    device: str
    accelerations: str


def key_of(photo: Picture, encoders: EncoderSet, part: str = "") -> PhotoKey:
    """Make the key of a part of what encoders see in a fitted photo; the digest covers its size and its pixels."""
    digest = hashlib.sha256(repr(photo.rgb.shape).encode())
    digest.update(photo.rgb.tobytes())
    clip, content = identity(encoders.clip), identity(encoders.content)
    return PhotoKey(part, digest.hexdigest(), clip, content, str(encoders.device), str(encoders.accelerations))


class PhotoCache:
    """Tensors by key, bounded by bytes. Thread-safe.

    Parameters
    ----------
    max_bytes
        Of memory; a larger entry is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[PhotoKey, Tensors] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Memory of all entries."""
        with self._lock:
            return self._size_bytes

    def get(self, key: PhotoKey, compute: Callable[[], Tensors]) -> Tensors:
        """Return an entry, or compute and keep it. Callers must not change the tensors."""
        with self._lock:
            if (kept := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return kept
        computed = compute()
        with self._lock:
            self._keep(key, computed)
        return computed

    def _keep(self, key: PhotoKey, tensors: Tensors) -> None:
        cost = _cost(tensors)
        if key in self._entries or cost > self._max_bytes:
            return
        self._entries[key] = tensors
        self._size_bytes += cost
        while self._size_bytes > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._size_bytes -= _cost(dropped)


def _cost(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors) + _ENTRY_OVERHEAD
