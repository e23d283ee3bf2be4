"""Options of a stylization: their names, types, bounds and help, written once.

An option is a dataclass field made by `option`; `StylizeConfig` and `StylizationSpec` hold them. Command-line flags,
the server's validation and the documentation derive from `Option`; the names are those of `StylizationOptions` in the
contract. No PyTorch here: the server's front process and the command use this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, get_type_hints

_METADATA = "clipstyler option"
_MOST_DIGITS = 30  # of a number in a message


class Violation(NamedTuple):
    """A field that cannot be used, and why."""

    field: str
    problem: str


class ConfigError(ValueError):
    """One or more values that cannot be used.

    Parameters
    ----------
    field
        Name of the first offending field, as the caller spells it.
    problem
        What was found and what was expected.
    *others
        Further violations.

    Attributes
    ----------
    violations
        Every field that cannot be used.
    """

    def __init__(self, field: str, problem: str, *others: Violation) -> None:
        self.violations = (Violation(field, problem), *others)
        super().__init__("; ".join(f"{name}: {why}" for name, why in self.violations))

    @classmethod
    def of(cls, violations: list[Violation]) -> ConfigError:
        """Make one error of several violations; there must be at least one."""
        (field, problem), *others = violations
        return cls(field, problem, *others)

    @property
    def field(self) -> str:
        """Name of the first offending field."""
        return self.violations[0].field

    @property
    def problem(self) -> str:
        """Why the first offending field cannot be used."""
        return self.violations[0].problem

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Any, ...]]:
        first, *others = self.violations
        return type(self), (*first, *others)


class Bounds(NamedTuple):
    """Closed range of a number, its lower end excluded if `above` is set."""

    low: float
    high: float
    above: bool = False

    def check(self, name: str, value: float) -> None:
        """Raise `ConfigError` unless the value is a finite number in the range."""
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(name, f"must be a finite number, got {value}")
        low_is_met = value > self.low if self.above else value >= self.low
        if not (low_is_met and value <= self.high):
            start = f"{'above' if self.above else 'at least'} {plain(self.low)}"
            raise ConfigError(name, f"must be {start} and at most {plain(self.high)}, got {plain(value)}")


def plain(number: float) -> str:
    """Return the shortest digits that give a number again, a whole one without a decimal point; too many are counted.

    Python refuses to write whole numbers of thousands of digits.
    """
    if isinstance(number, int) and abs(number) >= 10**_MOST_DIGITS:
        return f"a number of more than {_MOST_DIGITS} digits"
    return repr(number).removesuffix(".0")


class Source(StrEnum):
    """Where the default of an option comes from."""

    PRESET = "preset"
    CALIBRATION = "calibration"
    FIXED = "fixed"  # the field's own default
    DRAWN = "drawn"  # decided anew for each stylization


class Option(NamedTuple):
    """One option.

    Attributes
    ----------
    name
        The same in configuration, contract, command and clients.
    type
        int, float, bool, str, or a StrEnum whose values are its words.
    help
        One line for people.
    bounds
        Of numbers; None otherwise.
    source
        Where the default comes from.
    default
        The field's own default; None if there is none.
    """

    name: str
    type: Any
    help: str
    bounds: Bounds | None
    source: Source
    default: Any

    def parse(self, value: object) -> Any:
        """Return a value in the option's type.

        Raises
        ------
        ConfigError
            The value has another type, is none of the known words, or is out of bounds.
        """
        if issubclass(self.type, StrEnum):
            words = [str(word) for word in self.type]
            if value not in words:
                raise ConfigError(self.name, f"{value!r} is unknown: use {', '.join(words)}")
            return self.type(value)
        expected = (int, float) if self.type is float else self.type
        if not isinstance(value, expected) or (isinstance(value, bool) and self.type is not bool):
            raise ConfigError(self.name, f"must be {_WORDS[self.type]}, got {value!r}")
        if self.bounds is not None and isinstance(value, int | float):
            self.bounds.check(self.name, value)
        return float(value) if isinstance(value, int) and self.type is float else value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class _Declared(NamedTuple):
    help: str
    bounds: Bounds | None
    source: Source


def option(help: str, *, source: Source, bounds: Bounds | None = None, default: Any = MISSING) -> Any:
    """Declare a dataclass field that is an option."""
    metadata = {_METADATA: _Declared(help, bounds, source)}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def options_of(owner: type) -> Mapping[str, Option]:
    """Return the options that a dataclass declares, in order, by name."""
    hints = get_type_hints(owner)
    return {
        declared.name: _option(declared, hints[declared.name])
        for declared in fields(owner)
        if _METADATA in declared.metadata
    }


def _option(declared: Field[Any], hint: Any) -> Option:
    kind = next(part for part in (*getattr(hint, "__args__", ()), hint) if isinstance(part, type))
    help_text, bounds, source = declared.metadata[_METADATA]
    default = None if declared.default is MISSING else declared.default
    return Option(declared.name, kind, help_text, bounds, source, default)
