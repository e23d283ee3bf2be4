"""How many fields a message has is known before it is parsed, and soon."""

from __future__ import annotations

import pytest
from clipstyler_server.api.wire_format import has_more_fields

from clipstyler.v1.encoder_service_pb2 import ClassifyImageRequest, EncodeImageRequest
from clipstyler.v1.options_pb2 import StylizationOptions
from tests.timing import thread_seconds

LABELS = ClassifyImageRequest(image=b"\xff" * 3_000_000, labels=["fire"] * 256, encoder_set="pocket")
NUMBERS = StylizationOptions(size=-1, seed=2**62, learning_rate=0.1, augmentation=True)
GROUP = b"\xa3\x06" + b"\xa5\x06abcd" + b"\xa4\x06"  # field 100: a group with a fixed 32-bit number


@pytest.mark.parametrize(
    ("message", "count"),
    [(b"", 0), (LABELS.SerializeToString(), 258), (NUMBERS.SerializeToString(), 4), (GROUP, 3), (b"\x0a\0" * 9, 9)],
)
def test_fields_are_counted(message: bytes, count: int) -> None:
    assert not has_more_fields(message, count)
    assert not count or has_more_fields(message, count - 1)


@pytest.mark.parametrize("broken", [b"\x0a", b"\x0a\xff\xff\xff\xff\x07", b"\xff" * 5_000_000, b"\x0f" * 100])
def test_what_is_no_message_is_left_to_the_parser(broken: bytes) -> None:
    assert not has_more_fields(broken, 50)
    assert thread_seconds(lambda: has_more_fields(broken, 50)) < 0.1


def test_a_large_message_of_small_elements_is_recognized_soon() -> None:
    message = EncodeImageRequest(images=[b""] * 2_000_000).SerializeToString()
    assert has_more_fields(message, 4096)
    assert thread_seconds(lambda: has_more_fields(message, 4096)) < 0.1
