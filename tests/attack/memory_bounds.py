"""The memory that each process may have, as docs/operations.md states it under "Bounds"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clipstyler_server.settings import Settings

from tests.attack.sampling import FRONT, children, resident_bytes

_MIB = 2**20
FRONT_BYTES = 400_000_000
EVALUATOR_BYTES = 512 * _MIB
"""For texts, images and a report, besides the encoders."""


def loaded_bytes(record: Path) -> dict[str, int]:
    """Return the memory of the server's children now, by name: that of the largest, where there are several."""
    found: dict[str, int] = {}
    for name, pid in children(record):
        found[name] = max(found.get(name, 0), resident_bytes(pid))
    return found


def most_bytes(loaded: Mapping[str, int]) -> dict[str, int]:
    """Return the bounds by name, of a server whose children had so much once they were ready."""
    fields = Settings.model_fields
    besides = {
        "decoder": fields["decoder_memory_bytes"].default,
        "optimizer": fields["max_job_memory_bytes"].default,
        "evaluator": EVALUATOR_BYTES,
    }
    return {FRONT: FRONT_BYTES} | {name: size + besides[name] for name, size in loaded.items()}
