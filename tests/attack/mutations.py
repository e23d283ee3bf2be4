"""Mutations of bytes, and hostile values for the fields of any message; all drawn from a given generator."""

from __future__ import annotations

import random
from collections.abc import Callable

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Mutation = Callable[[random.Random, bytes], bytes]

TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "[/red] [bold",
    "{0} {x!r} %s %n",
    "\u202eright to left\u202c",
    "\u200b\u200b\u200b",
    "e" + "\u0301" * 300,
    "x" * 501,
    "x" * 100_000,
    "../../etc/passwd",
    "stylizations/00000000-0000-4000-8000-000000000000",
    "uploads/" + "0" * 64,
    "'; DROP TABLE stylizations; --",
    "\ud7ff\ue000\U0010ffff",
    "fire\r\nX-Header: y",
)
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e9, 1e308, -1e308, 5e-324)
INTEGERS = (0, 1, -1, 2, 7, 65_536, 10**9, 2**31 - 1, -(2**31))
LONG_INTEGERS = (*INTEGERS, 2**53 + 1, 2**63 - 1, -(2**63))
_LENGTHS = (b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 12, b"\x80\x80\x80\x01")
_MAX_DEPTH = 4


def flip_bits(chance: random.Random, data: bytes) -> bytes:
    flipped = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 8)):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def change_bytes(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def insert_noise(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.randint(1, 64)) + data[at:]


def repeat_part(chance: random.Random, data: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    part = data[start : start + chance.randint(1, 200)]
    return data[:start] + part * chance.randint(2, 20) + data[start:]


def add_unknown_fields(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 20)):
        number = chance.choice((15, 1000, 2**20, 2**29 - 1))
        body = chance.randbytes(chance.choice((0, 10, 1000)))
        data += varint(number << 3 | 2) + varint(len(body)) + body
    return data


def announce_length(chance: random.Random, data: bytes) -> bytes:
    """Append a field that announces far more bytes than follow."""
    return data + varint(chance.randint(1, 9) << 3 | 2) + chance.choice(_LENGTHS) + b"x"


def nest_deeply(chance: random.Random, data: bytes) -> bytes:
    """Wrap a message in itself, as a field or as an old group, far deeper than parsers allow."""
    number, depth = chance.randint(1, 5), chance.choice((50, 99, 101, 2000))
    if chance.random() < 0.5:
        return data + varint(number << 3 | 3) * depth
    nested = b""
    for _ in range(depth):
        nested = varint(number << 3 | 2) + varint(len(nested)) + nested
    return data + nested


def break_utf8(chance: random.Random, data: bytes) -> bytes:
    body = chance.choice((b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\x80"))
    return data + varint(chance.randint(1, 9) << 3 | 2) + varint(len(body)) + body


def use_bad_wire_type(chance: random.Random, data: bytes) -> bytes:
    return data + varint(chance.randint(0, 9) << 3 | chance.choice((1, 3, 4, 5, 6, 7)))


def replace_all(chance: random.Random, data: bytes) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 5, 40, 400)))


BYTE_MUTATIONS: tuple[Mutation, ...] = (flip_bits, change_bytes, truncate, insert_noise, repeat_part, replace_all)
WIRE_MUTATIONS: tuple[Mutation, ...] = (
    *BYTE_MUTATIONS,
    add_unknown_fields,
    announce_length,
    nest_deeply,
    break_utf8,
    use_bad_wire_type,
)


def varint(value: int) -> bytes:
    """Encode a number as protobuf does."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def set_hostile_values(chance: random.Random, message: Message, share: float, depth: int = 0) -> None:
    """Give about this share of a message's fields, nested ones included, a hostile value."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() >= share:
            continue
        if field.message_type:
            _set_hostile_message(chance, message, field, share, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend(_hostile(chance, field) for _ in range(chance.choice((1, 3, 300))))
        else:
            setattr(message, field.name, _hostile(chance, field))


def _set_hostile_message(
    chance: random.Random, message: Message, field: FieldDescriptor, share: float, depth: int
) -> None:
    if depth >= _MAX_DEPTH:
        return
    value = getattr(message, field.name)
    if field.message_type.GetOptions().map_entry:
        return
    if field.is_repeated:
        value = value.add()
    value.SetInParent()
    set_hostile_values(chance, value, share, depth + 1)


def _hostile(chance: random.Random, field: FieldDescriptor) -> object:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(FLOATS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        return abs(chance.choice(INTEGERS[:-1]))
    is_long = kind == FieldDescriptor.CPPTYPE_INT64
    return chance.choice(LONG_INTEGERS if is_long else INTEGERS)
