"""One reader's subscription: whatever is put and read, order and counts are right."""

from __future__ import annotations

from datetime import UTC, datetime

from clipstyler_server.jobs.events import Cancelled, Draft, Gap, JobEvent, Queued
from clipstyler_server.jobs.subscription import Subscription
from hypothesis import given
from hypothesis import strategies as st

from clipstyler.events import Losses, Preview, Progress, Warning
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import EncodedImage

LOSSES = Losses(0, 0, 0, 0, 0)
IMAGE = EncodedImage(b"", ImageFormat.PNG, 1, 1, b"")


def payload(kind: str, number: int):
    return {
        "progress": Progress(number, 9, LOSSES, 0, 0, 0, 0),
        "preview": Preview(number, IMAGE),
        "control": Warning("CODE", str(number)),
    }[kind]


@given(st.lists(st.sampled_from(["progress", "preview", "control", "read"]), max_size=60))
def test_control_events_all_arrive_in_order_and_what_is_skipped_is_counted(actions):
    subscription, sequence, got = Subscription(heartbeat_s=60), 0, []
    put = {"progress": 0, "preview": 0, "control": 0}
    for action in actions:
        if action == "read":
            got += [event for event in [subscription._next()] if event]
        else:
            sequence += 1
            put[action] += 1
            subscription.put(JobEvent(sequence, datetime.now(UTC), payload(action, sequence)))
    assert len(subscription._latest) <= 2
    while event := subscription._next():
        got.append(event)

    sequences = [event.sequence for event in got]
    assert sequences == sorted(sequences)
    gaps = [event.payload for event in got if isinstance(event.payload, Gap)]
    progress = [event for event in got if isinstance(event.payload, Progress)]
    previews = [event for event in got if isinstance(event.payload, Preview)]
    assert sum(isinstance(event.payload, Warning) for event in got) == put["control"]
    assert len(progress) + sum(gap.skipped_progress for gap in gaps) == put["progress"]
    assert len(previews) + sum(gap.skipped_previews for gap in gaps) == put["preview"]
    assert all(gap.skipped_progress or gap.skipped_previews for gap in gaps)


async def test_reading_ends_with_the_job():
    subscription = Subscription(heartbeat_s=60)
    end = Cancelled(3)
    for number, happened in enumerate((Queued(0, 1), payload("progress", 2), end), start=1):
        subscription.put(JobEvent(number, datetime.now(UTC), happened))

    assert [type(event.payload) async for event in subscription.events()] == [Queued, Progress, Cancelled]


async def test_of_places_in_the_queue_only_the_latest_waits_and_that_is_no_gap():
    subscription = Subscription(heartbeat_s=60)
    for number in range(1, 6):
        subscription.put(JobEvent(number, datetime.now(UTC), Queued(5 - number, 1)))
    assert subscription._next().payload.position == 0
    assert subscription._next() is None


def test_a_slow_reader_gets_the_draft_and_the_latest_preview():
    subscription = Subscription(heartbeat_s=60)
    happened = [Draft("ab", "fire", 1.0, IMAGE), *(payload("preview", number) for number in range(2, 9))]
    for number, event in enumerate(happened, start=1):
        subscription.put(JobEvent(number, datetime.now(UTC), event))

    got = [subscription._next() for _ in range(3)]
    assert [type(event.payload) for event in got] == [Gap, Draft, Preview]
    assert got[0].payload.skipped_previews == 6
    assert got[2].payload.step == 8
