"""Flags of a command that derive from the table of options: a new option needs no line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from clipstyler.config import DEFAULT_PRESET, PRESETS
from clipstyler.options import Option, Source
from clipstyler.spec import OPTIONS

STEPS_HELP = f"Optimizer steps. Default: {PRESETS[DEFAULT_PRESET].steps}."
"""Of a command that has a few flags of its own."""
_COMPUTATION = "Computation"
_CALIBRATED = "Calibrated options (default: the encoder set's)"


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag per option; it receives those that were used as keywords, others as None."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    added = [_parameter(option) for option in OPTIONS.values()]
    command.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
    return command


def _parameter(option: Option) -> inspect.Parameter:
    flag = option.name.replace("_", "-")
    names = [f"--{flag}/--no-{flag}"] if option.type is bool else [f"--{flag}"]
    panel = _CALIBRATED if option.source is Source.CALIBRATION else _COMPUTATION
    flag_info = typer.Option(*names, help=f"{option.help}{_range(option)}{_default(option)}", rich_help_panel=panel)
    annotation: Any = Annotated[option.type | None, flag_info]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _range(option: Option) -> str:
    if issubclass(option.type, StrEnum):
        return f" One of {', '.join(option.type)}."
    if option.bounds is None:
        return ""
    low, high, above = option.bounds
    digits = ".0f" if option.type is int and high < 2**53 else "g"
    return f" Range: {'above ' if above else ''}{low:g} to {high:{digits}}."


def _default(option: Option) -> str:
    match option.source:
        case Source.PRESET:
            values = ", ".join(f"{preset} {getattr(work, option.name)}" for preset, work in PRESETS.items())
            return f" Default: {values}."
        case Source.DRAWN:
            return " Default: random."
        case Source.FIXED if option.default is not None and option.type is not bool:
            return f" Default: {option.default}."
        case _:
            return ""
