"""Who calls, as the headers and the connection of a call show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from clipstyler_server.sharing import Caller, address_of

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

CLIENT_HEADER = "x-clipstyler-client"
_NAME = re.compile(r"[\x21-\x7e]{1,100}")


def caller_of(context: ServicerContext[Any, Any]) -> Caller:
    """Return who calls: an address, and the name in the client header, which means something only behind it."""
    named = (value for key, value in context.invocation_metadata() or () if key == CLIENT_HEADER)
    name = next((value for value in named if isinstance(value, str) and _NAME.fullmatch(value)), "")
    return Caller(address_of(context.peer()), name)
