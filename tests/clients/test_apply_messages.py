"""The messages of a call that applies a style, and how such a call ended, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from clipstyler_client._ending import Ending
from clipstyler_client._styles import ApplyMessages

from clipstyler.v1 import style_service_pb2 as pb

OF_GRPC = (grpc.StatusCode.INTERNAL, "Internal error from Core")
OF_THE_SERVER = (grpc.StatusCode.UNAVAILABLE, "starting")


class Call:
    """A call of gRPC whose status changes without a word."""

    def __init__(self) -> None:
        self.status = OF_GRPC

    def add_done_callback(self, callback: Callable[[Call], None]) -> None:
        callback(self)

    def code(self) -> grpc.StatusCode:
        return self.status[0]

    def details(self) -> str:
        return self.status[1]

    def trailing_metadata(self) -> tuple[()]:
        return ()


def photos(messages: Iterator[pb.ApplyStyleRequest]) -> list[bytes]:
    return [message.photo.image for message in messages if message.HasField("photo")]


def test_a_call_that_begins_again_has_all_photos_and_the_one_before_no_more() -> None:
    messages = ApplyMessages(pb.StyleApplication(), iter([b"a", b"b", b"c"]))
    before = messages.begin()
    assert next(before).HasField("application")
    assert next(before).photo.image == b"a"
    again = messages.begin()
    assert photos(before) == []
    assert photos(again) == [b"a", b"b", b"c"]


def test_after_the_first_answer_photos_are_not_kept() -> None:
    messages = ApplyMessages(pb.StyleApplication(), iter([b"a", b"b"]))
    assert photos(messages.begin()) == [b"a", b"b"]
    messages.answered()
    assert photos(messages.begin()) == []


def test_the_status_of_the_server_replaces_that_of_grpc() -> None:
    call = Call()
    ending = Ending()
    ending.of(call)
    assert ending.may_change
    call.status = OF_THE_SERVER
    assert not ending.may_change
    call.status = OF_GRPC
    assert not ending.may_change
    assert ending.error(grpc.RpcError()).code == "UNAVAILABLE"


def test_the_status_of_the_server_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("clipstyler_client._ending.time.monotonic", lambda: now[0])
    ending = Ending()
    ending.of(Call())
    assert ending.may_change
    now[0] = 0.9
    assert ending.may_change
    now[0] = 1.1
    assert not ending.may_change
    assert ending.error(grpc.RpcError()).code == "INTERNAL"
