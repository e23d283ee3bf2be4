"""Whether an outcome is what a case expects; the rules are in `README.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mismatches(expected: Mapping[str, Any], outcome: Mapping[str, Any]) -> list[str]:
    """Describe each key whose value is not as expected."""
    wanted = {"code": "OK"} | dict(expected)
    return [
        f"{key}: expected {value}, got {outcome.get(key)}"
        for key, value in wanted.items()
        if not matches(value, outcome.get(key))
    ]


def matches(expected: Any, value: Any) -> bool:
    """Whether one value is as expected."""
    match expected:
        case {"present": present}:
            return bool(value) is present
        case {"min": least}:
            return isinstance(value, int | float) and value >= least
        case {"max": most}:
            return isinstance(value, int | float) and value <= most
        case {"contains": items}:
            rest = iter(value or ())
            return all(item in rest for item in items)
        case {**inner} if inner:
            return isinstance(value, Mapping) and all(matches(inner[key], value.get(key)) for key in inner)
    return bool(expected == value)
