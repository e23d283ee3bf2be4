"""Who calls: the one place that reads it from the connection and the headers of a call."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from clipstyler_server.identity.roles import Principal
from clipstyler_server.sharing import Caller, address_of

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

CLIENT_HEADER = "x-clipstyler-client"
_NAME = re.compile(r"[\x21-\x7e]{1,100}")
_current: ContextVar[Caller] = ContextVar("caller")


def caller_of(context: ServicerContext[Any, Any], principal: Principal) -> Caller:
    """Return who calls: an address, the name in the client header, and whom the credentials stand for."""
    named = (value for key, value in context.invocation_metadata() or () if key == CLIENT_HEADER)
    name = next((value for value in named if isinstance(value, str) and _NAME.fullmatch(value)), "")
    return Caller(address_of(context.peer()), name, principal)


def enter_call(caller: Caller) -> None:
    """Make a caller the one of the call that this task answers."""
    _current.set(caller)


def current_caller() -> Caller:
    """Return who makes the call that this task answers."""
    return _current.get()
