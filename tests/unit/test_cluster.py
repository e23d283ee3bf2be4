"""The connection to an actor of a cluster: nothing is lost or doubled, and nothing piles up."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import numpy as np
import pytest
import structlog
from clipstyler_server.settings import Settings
from clipstyler_server.spool import PixelFile, Spool, write_pixels
from clipstyler_server.workers.cluster import actor as actors
from clipstyler_server.workers.cluster import connection as connections
from clipstyler_server.workers.cluster import demand
from clipstyler_server.workers.cluster import worker as workers
from clipstyler_server.workers.cluster.actor import OptimizerActor, Placed
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.leases import Leases
from clipstyler_server.workers.cluster.outbox import Outbox
from clipstyler_server.workers.cluster.parcels import Parcel, pack_command, unpack_command
from clipstyler_server.workers.cluster.worker import ClusterWorker
from clipstyler_server.workers.engine import FailureKind, StartupError
from clipstyler_server.workers.messages import Cancel, CannotStart, PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.applications import Applied, Apply, CancelApply, StyleFile
from clipstyler_server.workers.optimizer.workload import OptimizerOptions
from pydantic import ValidationError

from clipstyler import __version__
from clipstyler.events import Preview, Rendering, Result
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile, Picture
from clipstyler.style_controls import StyleControls

PICTURE = Picture(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Keep how lines are logged: an actor that runs in this process configures it as its own."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def preview(job_id: str, step: int, skipped: int = 0) -> TaskEvent:
    return TaskEvent(job_id, Preview(step, f"picture {step}", skipped))


def test_messages_stay_until_the_front_has_seen_them():
    outbox = Outbox()
    for tile in range(3):
        outbox.put(TaskEvent("a", Rendering(tile, 3)))
    first = outbox.fetch(0, 0)
    assert [one.number for one in first] == [1, 2, 3]
    assert outbox.fetch(0, 0) == first  # the answer was lost
    assert [one.number for one in outbox.fetch(2, 0)] == [3]
    assert outbox.fetch(3, 0) == []


def test_of_previews_that_were_not_fetched_the_latest_stays_and_counts_the_others():
    outbox = Outbox()
    outbox.put(preview("a", 1))
    outbox.put(preview("b", 1))
    outbox.put(preview("a", 2, skipped=3))
    outbox.put(TaskEvent("a", Rendering(0, 1)))
    outbox.put(preview("a", 3))
    messages = [one.message for one in outbox.fetch(0, 0)]
    assert messages == [preview("b", 1), TaskEvent("a", Rendering(0, 1)), preview("a", 3, skipped=5)]


def test_a_preview_that_is_on_its_way_is_not_counted_as_skipped():
    outbox = Outbox()
    outbox.put(preview("a", 1))
    outbox.fetch(0, 0)
    outbox.put(preview("a", 2))
    assert [one.message for one in outbox.fetch(1, 0)] == [preview("a", 2)]


def test_a_fetch_waits_for_the_next_message():
    outbox = Outbox()
    threading.Timer(0.05, outbox.put, [preview("a", 1)]).start()
    assert [one.message for one in outbox.fetch(0, 10)] == [preview("a", 1)]


def test_a_lease_ends_unless_it_is_renewed():
    ended: list[str] = []
    leases = Leases(0.2, ended.append)
    for job_id in ("kept", "lost", "finished"):
        leases.begin(job_id)
    leases.end("finished")
    limit = time.monotonic() + 10
    while not ended and time.monotonic() < limit:
        leases.renew(["kept", "unknown"])
        time.sleep(0.02)
    assert ended == ["lost"]


@pytest.fixture
def options(tmp_path: Path) -> OptimizerOptions:
    return OptimizerOptions((), "cpu", 1, 0, tmp_path, Spool(tmp_path), 0, "warning", "json")


def test_commands_are_carried_out_in_order_and_once_however_they_arrive(options, monkeypatch):
    actor = OptimizerActor(options, None, 60, "another version", "node")
    done: list[str] = []
    monkeypatch.setattr(actor, "_carry_out", done.append)
    for number, command in ((2, "second"), (1, "first"), (1, "first"), (2, "second"), (4, "fourth"), (3, "third")):
        actor.command(number, command)
    assert done == ["first", "second", "third", "fourth"]
    assert not actor._early


def test_a_node_with_another_version_is_refused(options):
    actor = OptimizerActor(options, None, 60, "0.0.1", "node")
    placed, refused = (one.message for one in actor.receive(0, (), 0))
    assert isinstance(placed, Placed)
    assert refused == CannotStart(f"its node has clipstyler {__version__}, and the server 0.0.1")


def test_files_of_commands_arrive_with_their_contents(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    photo = write_pixels(PICTURE, here / "photo")
    received = unpack_command(pack_command(PhotoReady("a", photo)), there)
    assert received.photo.path.parent == there
    assert (received.photo.load().rgb == PICTURE.rgb).all()
    assert pack_command(PhotoReady("a", "there is none")) == PhotoReady("a", "there is none")

    (here / "style").write_bytes(b"a style")
    order = Apply(
        7, StyleFile(here / "style", "ab"), None, StyleControls(), photo, ImageFormat.PNG, here / "target", 5.0
    )
    received = unpack_command(pack_command(order), there)
    assert (received.style.path.read_bytes(), received.second) == (b"a style", None)
    assert {path.parent for path in (received.style.path, received.photo.path, received.target)} == {there}


def test_without_ray_the_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr(connections.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartupError, match=r"clipstyler\[ray\]"):
        ClusterConnection("auto")


def test_the_engine_ray_needs_devices_by_name():
    with pytest.raises(ValidationError, match="the engine ray needs `devices`"):
        Settings(engine="ray")
    assert Settings(engine="ray", devices="cuda*8").optimizer_threads == 1


async def test_a_cluster_that_does_not_hear_how_many_devices_are_needed_is_told_again(monkeypatch):
    monkeypatch.setattr(demand, "_LOOK_S", 0.01)
    connection = Mock(is_connected=True)
    connection.request.side_effect = [RuntimeError("the head node does not answer"), None]
    asking = asyncio.create_task(demand.request_devices(connection, [{"GPU": 1.0}] * 2, lambda: 2))
    await asyncio.wait([asking], timeout=0.5)
    assert not asking.done()
    asking.cancel()
    assert connection.request.call_count == 2


async def written_to_a_full_disk(options: OptimizerOptions, monkeypatch, message: object, target: Path) -> object:
    """What the front hears if the image of a message does not fit on its disk."""
    heard: list[object] = []
    worker = ClusterWorker(Mock(), {}, options, None, 60, heard.append)
    worker._actor, worker._deliver = Mock(), AsyncMock()
    worker.send(Apply(7, None, None, StyleControls(), None, ImageFormat.PNG, target, 5.0))
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(workers, "unpack_message", Mock(side_effect=full))
    await worker._take(Parcel(message, {"image": b""}))
    return heard[0]


async def test_a_result_that_does_not_fit_on_the_disk_of_the_front_fails_its_job_only(options, monkeypatch, tmp_path):
    heard = await written_to_a_full_disk(options, monkeypatch, TaskEvent("a", Rendering(1, 1)), tmp_path / "x")
    assert (heard.job_id, heard.event.kind) == ("a", FailureKind.STORAGE_FULL)
    heard = await written_to_a_full_disk(options, monkeypatch, Applied(7, None), tmp_path / "x")
    assert (heard.number, heard.end.kind) == (7, FailureKind.STORAGE_FULL)


def test_an_actor_whose_work_fails_ends(options, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(actors.os, "_exit", lambda _: ended.set())

    def fail(_: OptimizerOptions) -> None:
        raise ValueError("the device is of another kind")

    OptimizerActor(options, fail, 60, __version__, "node")
    assert ended.wait(10)


async def test_an_actor_of_a_cluster_that_does_not_answer_holds_up_no_end(options, monkeypatch):
    monkeypatch.setattr(workers, "_STOP_S", 0.1)
    worker = ClusterWorker(Mock(), {}, options, None, 60, print)
    worker._actor, worker.kill = Mock(), Mock()
    await asyncio.wait_for(worker.stop(), 5)
    assert worker.ended.is_set()


async def test_a_cluster_that_does_not_answer_is_asked_again(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "available_resources", Mock(side_effect=ray.exceptions.RpcError("lost")))
    connection = ClusterConnection("auto")
    monkeypatch.setattr(connection, "_connect", lambda: None)
    with pytest.raises(OSError, match="does not answer"):
        async with connection.place({"CPU": 1.0}):
            pass


EIO = OSError(errno.EIO, "Input/output error")


async def delivered(options: OptimizerOptions, message: object) -> tuple[list[object], AsyncMock, Mock]:
    """What the front hears, and the actor is told, of a command; and what kills the actor."""
    heard: list[object] = []
    worker = ClusterWorker(Mock(), {}, options, None, 60, heard.append)
    told = AsyncMock()
    worker._actor, worker.kill = Mock(), Mock()
    worker._actor.command.remote = told
    worker.send(message)
    await asyncio.gather(*worker._work)
    return heard, told, worker.kill


async def test_a_style_that_cannot_be_read_fails_its_application_only(options, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.setattr(workers, "pack_command", Mock(side_effect=EIO))
    order = Apply(7, None, None, StyleControls(), None, ImageFormat.PNG, tmp_path / "x", 5.0)
    heard, told, kill = await delivered(options, order)
    assert (heard[0].number, heard[0].end.kind) == (7, FailureKind.STORAGE_UNAVAILABLE)
    told.assert_awaited_once_with(1, CancelApply(7))
    kill.assert_not_called()


async def test_a_photo_that_cannot_be_read_fails_its_job_only(options, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "photo").mkdir()  # reading it fails
    heard, told, kill = await delivered(options, PhotoReady("a", PixelFile(tmp_path / "photo", 1, 1, False)))
    assert (heard[0].job_id, heard[0].event.kind) == ("a", FailureKind.STORAGE_UNAVAILABLE)
    assert str(tmp_path) not in heard[0].event.problem
    told.assert_awaited_once_with(1, Cancel("a"))
    kill.assert_not_called()


async def test_a_command_that_cannot_be_sent_ends_the_actor(options, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(workers, "pack_command", Mock(side_effect=TypeError("cannot be pickled")))
    _, told, kill = await delivered(options, Cancel("a"))
    told.assert_not_called()
    kill.assert_called_once()


def test_files_that_do_not_fit_on_the_disk_of_a_node_fail_their_work_only(options, monkeypatch):
    actor = OptimizerActor(options, None, 60, "another version", "node")
    received: list[object] = []
    monkeypatch.setattr(actor._inbox, "receive", received.append)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(actors, "unpack_command", Mock(side_effect=full))
    order = Apply(7, None, None, StyleControls(), None, ImageFormat.PNG, options.cache, 5.0)
    actor.command(1, Parcel(PhotoReady("a", "photo"), {}))
    actor.command(2, Parcel(order, {}))
    assert received == [Cancel("a"), CancelApply(7)]
    photo, style = (one.message for one in actor.receive(2, (), 0))
    assert (photo.job_id, photo.event.kind) == ("a", FailureKind.STORAGE_FULL)
    assert (style.number, style.end.kind) == (7, FailureKind.STORAGE_FULL)


def test_a_result_that_cannot_be_read_on_its_node_fails_its_job_only(options, tmp_path):
    actor = OptimizerActor(options, None, 60, "another version", "node")
    result = Result(ImageFile(tmp_path, None), *[None] * 8)  # reading a directory fails
    actor._send(TaskEvent("a", result))
    (ended,) = (one.message for one in actor.receive(2, (), 0))
    assert (ended.job_id, ended.event.kind) == ("a", FailureKind.STORAGE_UNAVAILABLE)
