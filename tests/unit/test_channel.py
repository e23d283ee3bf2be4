"""A pipe between two processes: a message that is lost ends the connection, so that no one waits for it."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from typing import Any

import pytest
from clipstyler_server.workers.channel import Channel


class Side:
    """One end of a pipe, with what it has received, and whether it has ended."""

    def __init__(self, connection: Any) -> None:
        self.received: list[object] = []
        self.arrived, self.ended = threading.Event(), threading.Event()
        self.channel = Channel(connection, self._receive, self.ended.set)
        self.channel.start()

    def _receive(self, message: object) -> None:
        self.received.append(message)
        self.arrived.set()


class Breaks:
    """A message that raises an error where it is written, or where it is read."""

    def __init__(self, error: Exception, when: str) -> None:
        self.error, self.when = error, when

    def __reduce__(self) -> Any:
        if self.when == "sent":
            raise self.error
        return _raise, (self.error,)


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def sides() -> tuple[Side, Side]:
    here, there = (Side(end) for end in Pipe(duplex=True))
    return here, there


@pytest.mark.parametrize("when", ["sent", "read"])
@pytest.mark.parametrize("error", [TypeError("cannot be pickled"), MemoryError(), OSError("no buffer")], ids=repr)
def test_a_message_that_cannot_be_sent_or_read_ends_the_connection(sides, error, when):
    here, there = sides
    here.channel.send("before")
    assert there.arrived.wait(10)
    here.channel.send(Breaks(error, when))
    assert here.ended.wait(10)
    assert there.ended.wait(10)
    assert there.received == ["before"]


def test_what_is_pending_is_sent_before_the_end(sides):
    here, there = sides
    for number in range(100):
        here.channel.send(number)
    here.channel.flush(10)
    here.channel._hang_up()
    assert there.ended.wait(10)
    assert there.received == list(range(100))
