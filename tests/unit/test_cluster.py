"""The connection to an actor of a cluster: nothing is lost or doubled, and nothing piles up."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from clipstyler_server.settings import Settings
from clipstyler_server.spool import Spool, write_pixels
from clipstyler_server.workers.cluster import connection as connections
from clipstyler_server.workers.cluster import demand
from clipstyler_server.workers.cluster.actor import OptimizerActor, Placed
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.leases import Leases
from clipstyler_server.workers.cluster.outbox import Outbox
from clipstyler_server.workers.cluster.parcels import pack_command, unpack_command
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.messages import CannotStart, PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.applications import Apply, StyleFile
from clipstyler_server.workers.optimizer.workload import OptimizerOptions
from pydantic import ValidationError

from clipstyler import __version__
from clipstyler.events import Preview, Rendering
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture
from clipstyler.style_controls import StyleControls

PICTURE = Picture(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))


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
