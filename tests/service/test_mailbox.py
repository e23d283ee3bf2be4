"""The mailbox of one reader: whatever is put and read, order and counts are right."""

from __future__ import annotations

from datetime import UTC, datetime

from clipstyler_server.engine.base import EncodedImage, Previewed, Progressed
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.broadcast import Mailbox
from clipstyler_server.jobs.events import Cancelled, Event, Gap, Queued, Warned
from hypothesis import given
from hypothesis import strategies as st

from clipstyler.events import Losses
from clipstyler.imaging import ImageFormat

LOSSES = Losses(0, 0, 0, 0, 0)
IMAGE = EncodedImage(b"", ImageFormat.PNG, 1, 1, b"")


def payload(kind: str, number: int):
    return {
        "progress": Progressed("j", number, 9, LOSSES, 0, 0, 0, 0),
        "preview": Previewed("j", number, IMAGE, 0),
        "control": Warned("CODE", str(number)),
    }[kind]


@given(st.lists(st.sampled_from(["progress", "preview", "control", "read"]), max_size=60))
def test_control_events_all_arrive_in_order_and_what_is_skipped_is_counted(actions):
    mailbox, sequence, got = Mailbox(heartbeat_s=60), 0, []
    put = {"progress": 0, "preview": 0, "control": 0}
    for action in actions:
        if action == "read":
            got += [event for event in [mailbox._next()] if event]
        else:
            sequence += 1
            put[action] += 1
            mailbox.put(Event(sequence, datetime.now(UTC), payload(action, sequence)))
    assert len(mailbox._latest) <= 2
    while event := mailbox._next():
        got.append(event)

    sequences = [event.sequence for event in got]
    assert sequences == sorted(sequences)
    gaps = [event.payload for event in got if isinstance(event.payload, Gap)]
    progress = [event for event in got if isinstance(event.payload, Progressed)]
    previews = [event for event in got if isinstance(event.payload, Previewed)]
    assert sum(isinstance(event.payload, Warned) for event in got) == put["control"]
    assert len(progress) + sum(gap.skipped_progress for gap in gaps) == put["progress"]
    assert len(previews) + sum(gap.skipped_previews for gap in gaps) == put["preview"]
    assert all(gap.skipped_progress or gap.skipped_previews for gap in gaps)


async def test_reading_ends_with_the_job():
    mailbox = Mailbox(heartbeat_s=60)
    end = Cancelled(3, ServiceError(Reason.CANCELLED, "over"))
    for number, happened in enumerate((Queued(0, 1), payload("progress", 2), end), start=1):
        mailbox.put(Event(number, datetime.now(UTC), happened))

    assert [type(event.payload) async for event in mailbox.events()] == [Queued, Progressed, Cancelled]


async def test_of_places_in_the_queue_only_the_latest_waits_and_that_is_no_gap():
    mailbox = Mailbox(heartbeat_s=60)
    for number in range(1, 6):
        mailbox.put(Event(number, datetime.now(UTC), Queued(5 - number, 1)))
    assert mailbox._next().payload.position == 0
    assert mailbox._next() is None
