"""The name by which a server finds its jobs again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.storage.storage import Storage


def test_the_name_of_a_server_survives_a_power_cut_as_its_jobs_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    names = []
    for _ in range(2):
        storage = Storage(tmp_path, "", Metrics())
        names.append(storage.owner)
        storage.close()
    assert names[0] == names[1] == (tmp_path / "server-id").read_text()
    assert synced == [(tmp_path / "server-id").stat().st_ino, tmp_path.stat().st_ino]
