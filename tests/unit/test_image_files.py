"""Images as files: written atomically, stored once, and collected when no job refers to them."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from clipstyler_server.storage.blobs import BlobStore
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.service.harness import fail_once


@pytest.fixture
def images(tmp_path) -> BlobStore:
    return BlobStore(tmp_path / "images")


def files(images: BlobStore) -> list[str]:
    return sorted(path.name for path in images._directory.rglob("*") if path.is_file())


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.binary())
def test_what_was_put_is_found_under_its_digest(images, data):
    digest = images.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert images.read(digest, 0, 10**6) == data


def test_the_same_image_is_one_file(images):
    assert images.put(b"same") == images.put(b"same")
    assert len(files(images)) == 1


@pytest.mark.parametrize("name", ["", "../lock", "0" * 64, "A" * 64, "a/b"])
def test_what_is_not_there_is_none(images, name):
    assert images.read(name, 0, 10**6) is None


def test_a_full_disk_leaves_nothing_behind(images, monkeypatch):
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        images.put(b"too much")
    assert files(images) == []


def test_a_file_that_could_not_be_moved_is_moved_by_the_next_try(images, tmp_path, monkeypatch):
    path, digest = tmp_path / "result", hashlib.sha256(b"result").hexdigest()
    path.write_bytes(b"result")
    fail_once(monkeypatch, os, "fsync", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        images.adopt(path, digest)
    assert (files(images), path.read_bytes()) == ([], b"result")
    images.adopt(path, digest)
    assert (files(images), path.exists()) == ([digest], False)


def test_a_file_that_was_written_long_before_it_is_stored_is_young(images, tmp_path):
    path, digest = tmp_path / "result", hashlib.sha256(b"result").hexdigest()
    path.write_bytes(b"result")
    os.utime(path, (time.time() - 100, time.time() - 100))
    images.adopt(path, digest)
    assert images.older_than(50) == []


def test_what_a_killed_server_did_not_finish_is_swept_away(images):
    kept = images.put(b"kept")
    (images._directory / "half.part").write_bytes(b"half")
    images.sweep()
    assert files(images) == [kept]


def test_naming_an_image_again_makes_it_young_again(images):
    digest = images.put(b"old")
    path = images._path(digest)
    os.utime(path, (time.time() - 100, time.time() - 100))
    assert images.older_than(50) == [digest]
    assert images.is_older_than(digest, 50)
    images.put(b"old")
    assert images.older_than(50) == []
    assert not images.is_older_than(digest, 50)
    assert not images.is_older_than("0" * 64, 0)


@pytest.mark.parametrize("name", [".nfs000000000012ab34", ".DS_Store", "a" * 63])
def test_what_a_file_system_leaves_beside_images_is_none_of_them(images, name):
    digest = images.put(b"image")
    foreign = images._path(digest).with_name(name)
    foreign.touch()
    assert images.older_than(-60) == [digest]


def test_many_writers_of_one_image_do_not_disturb_each_other(images):
    data = os.urandom(100_000)
    threads = [threading.Thread(target=images.put, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (digest,) = files(images)
    assert images.read(digest, 0, 10**6) == data


def test_what_servers_left_that_are_gone_for_long_is_deleted(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    gone, alive, fresh = (BlobStore(directory, owner) for owner in ("gone", "alive", "fresh"))
    gone.create()
    parts = [store.begin() for store in (gone, alive)]
    for store in (gone, alive):
        store.older_than(1)
    day_before_yesterday = time.time() - 48 * 3600
    for path in (parts[0], directory / "gone.clock"):
        os.utime(path, (day_before_yesterday, day_before_yesterday))
    fresh.sweep()
    assert {path.name for path in directory.iterdir()} == {parts[1].name, "alive.clock", "fresh.clock"}
