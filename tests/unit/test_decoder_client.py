"""What the front takes for the answer of a decoder."""

from __future__ import annotations

import asyncio

import pytest
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.workers.decoder.client import DecoderProcess
from clipstyler_server.workers.decoder.messages import DecoderReady, Inspect, Inspected
from clipstyler_server.workers.supervisor import SupervisionTimeouts

from clipstyler.imaging import Header, Limits


def inspected(number: int, width: int) -> Inspected:
    return Inspected(number, Header("PNG", width, 1))


async def test_the_late_answer_of_an_image_that_took_too_long_is_not_that_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = DecoderProcess((), SupervisionTimeouts(1, 1, 1), Metrics(), ChangeSignal())
    monkeypatch.setattr(decoder, "_send", lambda _: None)
    with pytest.raises(TimeoutError):
        await decoder.answer(Inspect(1, b"", Limits()), 0.01)
    following = asyncio.create_task(decoder.answer(Inspect(2, b"", Limits()), 60))
    await asyncio.sleep(0)
    decoder._take(inspected(1, width=11))
    decoder._take(inspected(2, width=22))
    assert await following == inspected(2, width=22)


async def test_a_decoder_that_was_killed_is_not_taken_for_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = DecoderProcess((), SupervisionTimeouts(1, 1, 1), Metrics(), ChangeSignal())
    monkeypatch.setattr(decoder, "_send", lambda _: None)
    decoder._take(DecoderReady())
    assert decoder.problems() == []
    with pytest.raises(TimeoutError):
        await decoder.answer(Inspect(1, b"", Limits()), 0.01)
    assert decoder.problems() == ["the decoder crashed and is being restarted"]
