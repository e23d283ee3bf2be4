"""The command's Typer classes: texts are Unicode, numbers finite, and usage errors are printed literally."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeGuard

import typer
from typer.core import TyperCommand, TyperGroup

from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.surroundings import is_working_directory_gone
from clipstyler_cli.terminal import printable

# Texts that are paths: settings of a server, as they are in the environment.
_FILES = frozenset({"config", "data_dir", "tenants", "tls_cert", "tls_client_ca", "tls_key", "tokens"})
# Texts that are paths or the names of something else, resources of a server among them.
_STYLES_AND_SOURCES = frozenset({"mix_with", "sources", "style"})
_RESOURCES = ("styles/", "stylizations/")


class Command(TyperCommand):
    """A command whose texts are valid Unicode and whose numbers are finite; paths may be any bytes."""

    def invoke(self, ctx: Any) -> Any:
        """Check texts, numbers and paths, and run the command."""
        directory_is_gone = is_working_directory_gone()
        with clear_errors():
            for parameter in self.params:
                value = ctx.params.get(parameter.name or "")
                if directory_is_gone:
                    _check_absolute(parameter, value)
                if not _is_path(parameter, value):
                    _check_unicode(parameter, value)
                    _check_finite(parameter, value)
        if directory_is_gone:
            os.chdir(tempfile.gettempdir())  # libraries and child processes need one
        return super().invoke(ctx)


class Group(TyperGroup):
    """The top of the command."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; what the output's encoding lacks is escaped."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the command line."""
        with _literal_messages(), clear_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        with _literal_messages(), clear_errors():
            return super().invoke(ctx)


class App(typer.Typer):
    """A Typer application of such commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Return a decorator that registers a command."""
        return super().command(name, cls=Command, **settings)


def _is_path(parameter: Any, value: object) -> TypeGuard[str | Path]:
    """Whether a value is a path; older versions of Typer convert it later."""
    kind = getattr(getattr(parameter, "type", None), "name", "")
    return isinstance(value, Path) or (kind == "path" and isinstance(value, str))


def _check_absolute(parameter: Any, value: object) -> None:
    """Refuse relative paths, which mean nothing without a working directory."""
    for path in _each(value):
        if isinstance(path, str | Path) and _names_file(parameter, path) and not Path(path).is_absolute():
            problem = "the working directory no longer exists: name an absolute path"
            raise UsageError(f"{_name(parameter)}: {path}: {problem}")


def _names_file(parameter: Any, value: str | Path) -> bool:
    """Whether a value is a path, or a text that is read as one."""
    if isinstance(value, Path) or _is_path(parameter, value):
        return True
    if parameter.name in _STYLES_AND_SOURCES:
        return bool(Path(value).suffix) or (os.sep in value and not value.startswith(_RESOURCES))
    return parameter.name in _FILES and value != ""


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _check_unicode(parameter: Any, value: object) -> None:
    for text in _each(value):
        if isinstance(text, str) and not text.isascii() and text != text.encode(errors="replace").decode():
            raise UsageError(f"{_name(parameter)}: '{text}' is not UTF-8; type it in a UTF-8 locale")


def _check_finite(parameter: Any, value: object) -> None:
    """Refuse NaN, which bounds of older versions of Typer do not exclude, and infinity if there is no upper one."""
    if isinstance(value, float) and not math.isfinite(value) and _is_bounded(parameter):
        raise UsageError(f"{_name(parameter)}: must be a finite number, got {value}")


def _is_bounded(parameter: Any) -> bool:
    """Whether the command bounds a number; other numbers are checked where they are used."""
    places = (parameter, getattr(parameter, "type", None))  # older versions of Typer have bounds in the type
    return any(getattr(place, bound, None) is not None for place in places for bound in ("min", "max"))


def _name(parameter: Any) -> str:
    """Return the name of a parameter as it is typed."""
    if parameter.param_type_name == "option":
        return str(parameter.opts[0])
    return str(parameter.metavar or parameter.name).upper().removesuffix("...")


@contextmanager
def _literal_messages() -> Iterator[None]:
    """Make control characters visible in the usage errors of Typer, which quote the command line."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str):
            error.message = printable(message)  # type: ignore[attr-defined]
        raise
