"""The events of a job: numbered, replayed, followed live by any number of watchers, and never without their end."""

from __future__ import annotations

import asyncio

import pytest
from clipstyler_server.errors import Reason, ServiceError

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import WatchStylizationRequest
from tests.service.harness import eventually, fields, order


def sequences(outcome) -> list[int]:
    return [event.sequence for event in outcome.events]


async def test_events_are_numbered_and_a_watch_resumes_after_a_number(server, gate):
    created = await server.create(order(f"hold={gate} warning=ODD x"))
    _, events, task = server.begin_watch(created.name)
    await eventually(lambda: any(event.WhichOneof("event") == "warning" for event in events))
    seen = [event for event in events if event.WhichOneof("event") == "warning"][-1].sequence
    resumed = asyncio.create_task(server.watch(created.name, after=seen))
    gate.touch()
    whole, rest = await task, await resumed

    assert sequences(whole) == sorted(sequences(whole))
    assert rest.kinds()[-1] == "result"
    assert min(event.sequence for event in rest.events if event.WhichOneof("event") not in {"gap", "heartbeat"}) > seen
    assert "warning" not in rest.kinds()


async def test_a_late_watcher_learns_what_was_skipped(server, gate):
    created = await server.create(order(f"hold={gate} at=6 warning=ODD x", options=StylizationOptions(steps=8)))
    _, early, first = server.begin_watch(created.name)
    await eventually(lambda: any(event.progress.step == 5 for event in early))  # a preview may follow
    late = asyncio.create_task(server.watch(created.name))
    await eventually(lambda: server.running and len(server.running._subscriptions) == 2)
    gate.touch()
    outcome = await late
    await first

    assert [kind for kind in outcome.kinds() if kind in {"queued", "started", "warning", "result"}] == [
        "queued",
        "started",
        "warning",
        "result",
    ]
    got = len(outcome.only("progress"))
    assert got + sum(gap.skipped_progress_count for gap in outcome.only("gap")) == 8
    assert sum(gap.skipped_progress_count for gap in outcome.only("gap")) >= 4
    assert not any(gap.log_expired for gap in outcome.only("gap"))


async def test_leaving_a_watch_cancels_nothing(server, gate):
    created = await server.create(order(f"hold={gate} x"))
    call, events, task = server.begin_watch(created.name)
    await eventually(lambda: any(event.WhichOneof("event") == "started" for event in events))
    call.cancel()
    task.cancel()
    assert (await server.get(created.name)).state == Stylization.STATE_RUNNING
    running = server.running
    await eventually(lambda: not running._subscriptions)
    gate.touch()
    assert (await server.watch(created.name)).kinds()[-1] == "result"


async def test_the_watcher_of_a_finished_job_gets_its_end_at_once(server):
    created = await server.create(order())
    live = await server.watch(created.name)
    late = await server.watch(created.name)
    resumed = await server.watch(created.name, after=live.events[-1].sequence - 1)
    beyond = await server.watch(created.name, after=live.events[-1].sequence)

    assert late.kinds() == ["gap", "result"]
    assert late.only("gap")[0].log_expired
    assert resumed.kinds() == ["result"]  # nothing was missed
    assert beyond.kinds() == ["result"]  # an end is never left out
    assert late.events[-1] == live.events[-1]


async def test_a_place_before_the_first_event_is_refused(server):
    created = await server.create(order())
    await server.watch(created.name)
    assert fields((await server.watch(created.name, after=-1)).status) == ["after_sequence"]


async def test_the_image_of_a_job_that_is_deleted_while_it_is_sent_is_said_to_be_gone(server):
    created = await server.create(order("side=1400 x"))
    await server.watch(created.name)
    catalog = server.app.catalog
    _, chunk, *_ = await catalog.ending(created.name.removeprefix("stylizations/"), None, 0)
    assert (await catalog.complete(chunk)).payload.data
    await server.delete(created.name)
    with pytest.raises(ServiceError) as caught:
        await catalog.complete(chunk)
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND


async def test_many_watchers_see_the_same_end_and_one_that_does_not_read_affects_no_other(server):
    created = await server.create(order("side=1400 x", options=StylizationOptions(steps=40)))
    lazy = server.stub.WatchStylization(WatchStylizationRequest(name=created.name))  # never read
    outcomes = await asyncio.gather(*(server.watch(created.name) for _ in range(30)))
    images = [b"".join(chunk.data for chunk in outcome.only("chunk")) for outcome in outcomes]

    assert len(set(images)) == 1
    assert all(outcome.kinds()[-1] == "result" for outcome in outcomes)
    assert (await server.get(created.name)).state == Stylization.STATE_SUCCEEDED
    lazy.cancel()


async def test_a_quiet_watch_shows_that_it_lives(serve, gate):
    server = await serve(heartbeat_s=0.1)
    created = await server.create(order(f"hold={gate} x"))
    _, events, task = server.begin_watch(created.name)
    await eventually(lambda: [event.WhichOneof("event") for event in events].count("heartbeat") >= 2)
    gate.touch()
    assert (await task).kinds()[-1] == "result"


@pytest.mark.parametrize("ending", ["fail=1", "die=1", "oom=1"])
async def test_every_end_reaches_every_watcher(server, ending):
    created = await server.create(order(f"{ending} x"))
    outcomes = await asyncio.gather(*(server.watch(created.name) for _ in range(3)))
    assert {outcome.kinds()[-1] for outcome in outcomes} == {"failed"}
    assert (await server.watch(created.name)).only("failed") == outcomes[0].only("failed")
    await eventually(lambda: not server.app.scheduler.problems())
