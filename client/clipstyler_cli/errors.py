"""Errors as one clear line and an exit code; no traceback for anything that a user can fix."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from clipstyler_client import InvalidRequestError, OptionError, ServerUnavailableError, StylizeError

from clipstyler.options import ConfigError
from clipstyler_cli.statuses import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from clipstyler_cli.terminal import Terminal, complain, restore_cursor

_CANCELLED = "error: cancelled"
# Fields of the contract that are not a flag of the same name.
_FLAGS = {
    "image": "PHOTO",
    "style_text": "TEXT",
    "previews.every_steps": "--preview-every",
    "every_steps": "--preview-every",
    "previews.draft": "--draft",
    "timeout_s": "--timeout",
    "target": "--server",
    "token": "CLIPSTYLER_TOKEN",
    "region": "--keep",
    "region.mask": "--keep",
    "region.upload": "--keep",
    "region.boxes": "--keep-box",
    "region.text": "--region-text",
    "region.feather": "--feather",
}
# Of messages within a request.
_PREFIXES = ("fit.", "application.", "spec.", "options.", "controls.")
_EXTRAS = {
    "local": {"filelock", "ftfy", "httpx2", "numpy", "onnx", "onnxruntime", "open_clip", "platformdirs", "regex"}
    | {"safetensors", "skimage", "tokenizers", "torch", "torchvision"},
    "training": {"scipy", "sklearn"},
    "teacher": {"all_minilm_l6_v2", "sentence_transformers"},
    "server": {"aiohttp", "grpc_health", "grpc_reflection", "grpc_status", "prometheus_client", "pydantic"}
    | {"alembic", "pydantic_settings", "sqlalchemy", "structlog"},
    "gateway": {"envoy"},
    "video": {"av", "cv2"},
}


class UsageError(Exception):
    """The command line cannot be carried out as it is."""


class WorkFailedError(Exception):
    """The command line is right, and the work failed, or what came out cannot be used."""


class SeveralProblemsError(Exception):
    """Several errors of the command line, found together."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class GatewayConfigError(UsageError):
    """An address, an origin, a certificate or a page that the gateway cannot use; the message names it."""


class JobGoesOnError(KeyboardInterrupt):
    """Ctrl-C ended watching while the job keeps running; the message says how to return to it.

    Parameters
    ----------
    name
        Of the job.
    flags
        Those that name its server.
    """

    def __init__(self, name: str, flags: str) -> None:
        super().__init__(f"the job keeps running: clipstyler jobs watch {name.rpartition('/')[2]} {flags}")


def flag_of(field: str, arguments: Mapping[str, str]) -> str:
    """Return a field as the user typed it: `spec.options.weight_patch` is `--weight-patch`.

    `arguments` has the fields that are positional arguments of this command.
    """
    name = field
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    flags = {**_FLAGS, **arguments}
    if name in flags:
        return flags[name]
    if name.startswith("region.boxes"):
        return name.replace("region.boxes", "--keep-box")
    if name.startswith("labels"):
        return name.upper()
    if name.startswith("photos["):
        return "--photos" + name.removeprefix("photos").partition(".")[0]
    return "--" + name.replace("_", "-")


def checked_together(*checks: Callable[[], Any]) -> list[Any]:
    """Run checks that do not depend on each other, and return what they return.

    Raises
    ------
    UsageError, ConfigError, InvalidRequestError, OptionError, SeveralProblemsError
        What the only failing one raised, or all errors in one.
    """
    found: list[Any] = []
    errors: list[Exception] = []
    for check in checks:
        try:
            found.append(check())
        except SeveralProblemsError as several:
            errors += several.errors
        except (UsageError, ConfigError, InvalidRequestError, OptionError) as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralProblemsError(errors)
    return found


@contextmanager
def clear_errors(**arguments: str) -> Iterator[None]:
    """Turn errors into a line on stderr and an exit code: 2 for bad input, 130 for Ctrl-C, 1 for the rest.

    Parameters
    ----------
    arguments
        For fields that are positional arguments of this command, their names in its help.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        restore_cursor()
        _leave(str(interrupt) or _CANCELLED, EXIT_INTERRUPTED, kind="")
    except (ConfigError, InvalidRequestError, OptionError) as error:
        _leave(_problems(error, arguments), EXIT_USAGE)
    except StylizeError as error:
        hint = "" if error.retry_delay_s is None else f" (try again in {error.retry_delay_s:.0f} s)"
        if isinstance(error, ServerUnavailableError) and not error.reason:
            hint = "; is a server running there? `clipstyler serve` starts one"
        _leave(f"{error.message}{hint}", EXIT_FAILED)
    except (UsageError, WorkFailedError) as error:
        _leave(str(error), EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
    except SeveralProblemsError as several:
        _leave("\n".join(_message(error, arguments) for error in several.errors), EXIT_USAGE)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((name for name, packages in _EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        _leave(f'{package} is not installed: run pip install "clipstyler[{extra}]"', EXIT_FAILED)
    except OSError as error:
        _leave(f"{error.filename or 'input or output'}: {error.strerror or error}", EXIT_FAILED)


def _message(error: Exception, arguments: Mapping[str, str]) -> str:
    if isinstance(error, (ConfigError, InvalidRequestError, OptionError)):
        return _problems(error, arguments)
    return str(error)


def _problems(error: ConfigError | InvalidRequestError | OptionError, arguments: Mapping[str, str]) -> str:
    violations = [(error.field, error.problem)] if isinstance(error, OptionError) else error.violations
    return "\n".join(f"{flag_of(field, arguments)}: {problem}" for field, problem in violations) or str(error)


def _leave(message: str, code: int, kind: str = "error: ") -> None:
    complain(kind + message.replace("\n", "\n" + " " * len(kind)))
    raise typer.Exit(code)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Ctrl-C exits the process while modules are imported, because an import may swallow or print an exception."""
    before = signal.signal(signal.SIGINT, _end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(*_: object) -> None:
    restore_cursor()
    below_the_bar = "\n" if Terminal(stderr=True).is_interactive else ""
    complain(below_the_bar + _CANCELLED)
    os._exit(EXIT_INTERRUPTED)
