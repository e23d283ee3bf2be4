"""A slow reader delays no other: it skips frames, learns how many, and misses nothing that matters."""

from __future__ import annotations

from clipstyler.v1.image_pb2 import IMAGE_FORMAT_PNG
from clipstyler.v1.options_pb2 import PreviewOptions, StylizationOptions
from tests.service.harness import eventually, photo, request

STEPS = 200  # previews of 130 kB each: far more than all buffers on the way hold


async def test_a_reader_that_sleeps_skips_frames_and_still_gets_the_end(server):
    asked = request(
        "step=0.01 side=1500 x",
        image=photo(256, 171),
        options=StylizationOptions(steps=STEPS, size=256),
        previews=PreviewOptions(every_steps=1, format=IMAGE_FORMAT_PNG),
    )
    call = server.stub.Stylize(asked, timeout=60)
    responses = aiter(call)
    first = await anext(responses)
    # The whole job runs while no client reads.
    await eventually(lambda: server.metric("stylization_duration_seconds_count", outcome="succeeded"))
    events = [first.event]
    async for response in responses:
        assert response.ByteSize() <= 3 * 2**20
        events.append(response.event)

    of = {kind: [getattr(event, kind) for event in events if event.WhichOneof("event") == kind] for kind in KINDS}
    assert [events[0].WhichOneof("event"), events[-1].WhichOneof("event")] == ["queued", "result"]
    assert of["progress"][-1].step == STEPS
    assert len(of["progress"]) + sum(gap.skipped_progress_count for gap in of["gap"]) == STEPS
    assert len(of["preview"]) + sum(gap.skipped_preview_count for gap in of["gap"]) == STEPS + 1
    assert sum(gap.skipped_preview_count for gap in of["gap"]) > STEPS / 2
    assert sum(len(chunk.data) for chunk in of["chunk"]) == of["result"][0].result.image.size_bytes
    sequences = [event.sequence for event in events]
    assert sequences == sorted(sequences)
    assert server.metric("frames_skipped_total", kind="preview") > 0


async def test_a_slow_reader_does_not_slow_the_next_job(server):
    asked = request(
        image=photo(512, 512),
        options=StylizationOptions(steps=100, size=512),
        previews=PreviewOptions(every_steps=1, max_size=512, format=3),
    )
    slow = server.stub.Stylize(asked, timeout=60)
    await slow.read()

    assert (await server.stylize(request())).status is None
    slow.cancel()


async def test_a_job_whose_reader_hangs_and_then_dies_is_stopped(server, tmp_path):
    trace = tmp_path / "trace"
    asked = request(
        f"step=0.01 trace={trace}",
        image=photo(512, 512),
        options=StylizationOptions(steps=500, size=512),
        previews=PreviewOptions(every_steps=1, max_size=512, format=IMAGE_FORMAT_PNG),
    )
    call = server.stub.Stylize(asked, timeout=60)
    await call.read()
    # Previews of 700 kB fill every buffer on the way: the server's write waits.
    await eventually(lambda: trace.exists() and trace.read_text().count("step") > 30)
    call.cancel()

    await eventually(lambda: server.metric("steps_after_cancel_count"))
    assert server.metric("steps_after_cancel_sum") <= 1
    assert "step 500" not in trace.read_text()


KINDS = ("progress", "preview", "gap", "chunk", "result")
