"""The one-shot call from its first event to its last."""

from __future__ import annotations

from clipstyler.v1.options_pb2 import PreviewOptions
from tests.service.harness import request


async def test_a_stylisation_tells_its_whole_story_in_order(server):
    outcome = await server.stylize(request("step=0.05 x", previews=PreviewOptions(every_steps=2)))

    assert outcome.status is None
    kinds = outcome.kinds()
    assert [kinds[0], kinds[1], kinds[-1]] == ["queued", "started", "result"]
    assert [progress.step for progress in outcome.only("progress")] == [1, 2, 3]
    assert [preview.step for preview in outcome.only("preview")] == [1, 2]
    sequences = [event.sequence for event in outcome.events]
    assert sequences == sorted(set(sequences))
    assert len({event.stylization for event in outcome.events}) == 1
    assert outcome.events[0].stylization.startswith("stylizations/")
