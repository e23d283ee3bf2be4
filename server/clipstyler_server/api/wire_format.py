"""The wire format of Protocol Buffers, as far as it tells how long a message takes to parse."""

from __future__ import annotations

_VARINT, _FIXED_64, _BYTES, _GROUP_START, _GROUP_END, _FIXED_32 = range(6)
_LENGTHS = {_FIXED_64: 8, _FIXED_32: 4, _GROUP_START: 0, _GROUP_END: 0}
_MORE, _DIGIT, _TYPE = 0x80, 0x7F, 0x07
_LONGEST_VARINT = 10


def has_more_fields(message: bytes, most: int) -> bool:
    """Return whether a message has more fields than `most`, an element of a repeated field counting as one.

    Fields inside a field are not counted; those inside a group are. What is no message has no more than can be read.

    Parameters
    ----------
    message
        In wire format: https://protobuf.dev/programming-guides/encoding.
    most
        No more are looked at.
    """
    place = 0
    try:
        for _ in range(most):
            if place >= len(message):
                return False
            tag, place = _varint(message, place)
            kind = tag & _TYPE
            if kind == _VARINT:
                _, place = _varint(message, place)
            elif kind == _BYTES:
                length, place = _varint(message, place)
                place += length
            else:
                place += _LENGTHS[kind]
    except (IndexError, KeyError):
        return False  # parsing fails at this place
    return place < len(message)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Read a number; returns it and the place after it."""
    value = 0
    for size in range(_LONGEST_VARINT):
        part = message[place + size]
        value |= (part & _DIGIT) << 7 * size
        if not part & _MORE:
            return value, place + size + 1
    raise IndexError("the number does not end")
