"""Structured logs, one line per event, those of libraries too. Texts of users are logged at debug level only."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import structlog

from clipstyler_server.observability.foreign_output import log_stream

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Of grpc.aio, which logs it with a traceback unless it has noticed before that the caller is gone.
_BROKEN_CONNECTION = "ExecuteBatchError raised in core by servicer method"


def configure(level: str, log_format: str, process: str) -> None:
    """Set up the logging of this process.

    Parameters
    ----------
    level
        "debug", "info", "warning" or "error".
    log_format
        "json" or "console".
    process
        Name of this process, added to every line.
    """
    # Pillow warns about oddities in users' photos; real problems raise errors.
    warnings.filterwarnings("ignore", module=r"PIL\.")

    def name_process(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return event | {"process": process}

    context: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    # No local variables in tracebacks: they hold texts and photos of users.
    if log_format == "json":
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        writing: list[Any] = [structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        writing = [structlog.dev.ConsoleRenderer(colors=log_stream().isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*context, *writing],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        # Writes line and newline in one call: several processes share this stderr.
        logger_factory=structlog.WriteLoggerFactory(log_stream()),
        cache_logger_on_first_use=True,
    )
    _bring_in_libraries(context, writing)


def _bring_in_libraries(context: list[Any], writing: list[Any]) -> None:
    """Write warnings of libraries that use `logging` in the same form, one line per event."""
    only = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(log_stream())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*context, structlog.stdlib.add_logger_name], processors=[only, *writing]
        )
    )
    handler.addFilter(is_fault)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)


def is_fault(record: logging.LogRecord) -> bool:
    """Return whether a library reports a fault, and not only that a caller's connection broke while it was answered."""
    return not record.getMessage().startswith(_BROKEN_CONNECTION)


def context() -> dict[str, Any]:
    """Return what every line of this task has: the ids of its request and of its caller's trace."""
    return dict(structlog.contextvars.get_contextvars())


def in_context(shared: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Write lines with what those of another process or task have, while a `with` statement lasts."""
    return structlog.contextvars.bound_contextvars(**shared)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger of this process."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
