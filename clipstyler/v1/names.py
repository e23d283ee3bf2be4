"""The one rule that maps enums of the contract to words: PRESET_DRAFT is "draft". The only hand-written file here."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import EnumDescriptor


def word_of(enum: EnumDescriptor, number: int) -> str:
    """Return the word for a value: "" for the unspecified one, and the number as text for an unknown one."""
    if number == 0:
        return ""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(_prefix(enum)).lower() if value else str(number)


def number_of(enum: EnumDescriptor, word: str) -> Any:
    """Return the value for a word: an int, which type checkers take for the enum's own type.

    Raises
    ------
    ValueError
        No value has this word; the message lists those that do.
    """
    value = enum.values_by_name.get(_prefix(enum) + str(word).upper())
    if value is None or value.number == 0:
        raise ValueError(f"{word!r} is unknown: use one of {', '.join(words_of(enum))}")
    return int(value.number)


def words_of(enum: EnumDescriptor) -> list[str]:
    """List the words of an enum, in the contract's order."""
    return [word_of(enum, value.number) for value in enum.values if value.number]


def _prefix(enum: EnumDescriptor) -> str:
    """Derive the prefix from the value zero, whose name ends in UNSPECIFIED."""
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")
