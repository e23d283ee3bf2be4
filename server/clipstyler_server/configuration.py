"""Where settings come from: keywords, such as flags, then the environment, then a TOML file, then defaults."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clipstyler_server.operator_files import read_regular
from clipstyler_server.settings import Settings

CONFIG = "CLIPSTYLER_CONFIG"
_PREFIX = "CLIPSTYLER_"
_QUERY_PASSWORD = re.compile(r"(password=)[^&]*", re.IGNORECASE)
# It may contain ":", "/" and "?", and by mistake "@": up to the last one everything is hidden.
_PASSWORD = re.compile(r"(://[^:@/]*:).*(?=@)")
_HIDDEN = "***"
_OF_OUR_OWN = "Value error, "  # how Pydantic begins what our checks say
_SECONDS = "_s"  # which flags leave out: --drain-delay
# Variables of the command, not of the server.
_OF_THE_COMMAND = {"config", "token", "tls_ca"}
# How similar a variable is to a setting that was meant. Others have this prefix too, such as Kubernetes' of services.
_MISSPELLED = 0.8


class ConfigurationError(Exception):
    """Settings that cannot be used; the message names each with where it was set."""


@dataclass(frozen=True)
class Origin:
    """Where a setting comes from, and its value as it may be shown: without passwords."""

    name: str
    value: str
    origin: str


def load(path: str | None = None, **given: Any) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path
        TOML file whose keys are names of settings. Default: the one that `CLIPSTYLER_CONFIG` names, if any.
    **given
        Settings that take precedence over everything else.

    Raises
    ------
    ConfigurationError
        The file cannot be read, has a key that is no setting, a variable is misspelled, or a value cannot be used: all
        are named.
    """
    path = path or os.environ.get(CONFIG)
    problems: list[str] = []
    file = _usable(path, problems) if path else {}
    problems += _misspelled()
    elsewhere = _environment() | set(given)
    try:
        settings = Settings(**{name: value for name, value in file.items() if name not in elsewhere}, **given)
    except ValidationError as error:
        problems += [_problem(entry, path, file, given) for entry in error.errors()]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return settings


def origins(settings: Settings, path: str | None = None) -> list[Origin]:
    """Return every setting with its origin: the environment, the file, or the default."""
    path = path or os.environ.get(CONFIG)
    file, environment = _read(Path(path)) if path else {}, _environment()
    return [
        Origin(name, _shown(getattr(settings, name)), _origin(name, environment, file, path))
        for name in Settings.model_fields
    ]


def _origin(name: str, environment: set[str], file: Mapping[str, Any], path: str | None) -> str:
    if name in environment:
        return _PREFIX + name.upper()
    return str(path) if name in file else "default"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_regular(path).decode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    return values


def _usable(path: str, problems: list[str]) -> dict[str, Any]:
    """Return the settings of a file; what is wrong with it, and with its keys, is added to the problems."""
    try:
        values = _read(Path(path))
    except ConfigurationError as error:
        problems.append(str(error))
        return {}
    known = {name: value for name, value in values.items() if name in Settings.model_fields}
    problems += [f"{path}: {name} is no setting{_near(name)}" for name in values if name not in known]
    return known


def _near(name: str) -> str:
    found = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f": did you mean {found[0]}?" if found else ""


def _environment() -> set[str]:
    """Return the settings that the environment has; their names are not case-sensitive."""
    present = {name.upper() for name in os.environ}
    return {name for name in Settings.model_fields if _PREFIX + name.upper() in present}


def _misspelled() -> list[str]:
    """Return problems of variables that must be misspelled settings: one of identity leaves the server open."""
    given = sorted({name.upper().removeprefix(_PREFIX).lower() for name in os.environ if _is_ours(name)})
    unknown = [name for name in given if name not in Settings.model_fields and name not in _OF_THE_COMMAND]
    meant_by = {name: difflib.get_close_matches(name, Settings.model_fields, 1, _MISSPELLED) for name in unknown}
    return [
        f"{_PREFIX}{name.upper()} is no setting: did you mean {_PREFIX}{meant[0].upper()}?"
        for name, meant in meant_by.items()
        if meant
    ]


def _is_ours(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


def _problem(entry: Any, path: str | None, file: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in entry["loc"])
    top = str(entry["loc"][0]) if entry["loc"] else ""
    problem = str(entry["msg"]).removeprefix(_OF_OUR_OWN)
    if not top:  # of several settings, which it names
        return problem
    if top in given:
        return f"--{name.removesuffix(_SECONDS).replace('_', '-')}: {problem}"
    if top in file and top not in _environment():
        return f"{path}: {name}: {problem}"
    return f"{_PREFIX}{name.upper()}: {problem}"


def _shown(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    for password in (_QUERY_PASSWORD, _PASSWORD):
        text = password.sub(rf"\1{_HIDDEN}", text)
    return text
