"""Which server a command calls, and with which credentials: flags that several commands share."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import grpc
import typer
from clipstyler_client import DEFAULT_TARGET, Client, check_target, tls_credentials

from clipstyler_cli.errors import UsageError

TOKEN = "CLIPSTYLER_TOKEN"
_CA = "CLIPSTYLER_TLS_CA"
_PANEL = "Connection"
LONGEST_WAIT_S = 366 * 86_400
"""Of a call; gRPC cannot count to much later deadlines, and ends calls with such a one at once."""


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes
    ----------
    address
        "HOST:PORT".
    tls
        Whether to encrypt, also without any of the files.
    tls_ca, tls_cert, tls_key
        Files in PEM: authorities of the server's certificate, and the client's own certificate with its key.

    Raises
    ------
    OptionError
        The address is none.
    """

    address: str
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        check_target(self.address)

    @property
    def flags(self) -> str:
        """The flags that name it, as they are typed."""
        files = {"--tls-ca": self.tls_ca, "--tls-cert": self.tls_cert, "--tls-key": self.tls_key}
        named = [word for flag, file in files.items() if file for word in (flag, str(file))]
        return shlex.join(["--server", self.address, *(["--tls"] if self.tls else []), *named])

    def connect(self) -> Client:
        """Return a client with the token of the environment.

        Raises
        ------
        OSError, OptionError
            Credentials cannot be read or used.
        """
        return Client(self.address, self.credentials(), token=os.environ.get(TOKEN))

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return credentials of TLS; None to go without. Raises as `connect`."""
        if not (self.tls or self.tls_ca or self.tls_cert or self.tls_key):
            return None
        return tls_credentials(self.tls_ca, self.tls_cert, self.tls_key)


DEFAULT = Target(DEFAULT_TARGET)
Tls = Annotated[
    bool, typer.Option("--tls", help="Encrypt, and check the server's certificate.", rich_help_panel=_PANEL)
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        envvar=_CA,
        help=f"Authorities of the server's certificate, in PEM. Tokens come from {TOKEN} only.",
        rich_help_panel=_PANEL,
    ),
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate of this client, in PEM.", rich_help_panel=_PANEL)]
TlsKey = Annotated[Path | None, typer.Option(help="Private key of that certificate.", rich_help_panel=_PANEL)]
_FLAGS: dict[str, tuple[Any, Any]] = {
    "tls": (Tls, False),
    "tls_ca": (TlsCa, None),
    "tls_cert": (TlsCert, None),
    "tls_key": (TlsKey, None),
}


def with_connection_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has a parameter `server`, a `Target`, the flags that such a target is made of."""
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=flag)
        for name, (flag, default) in _FLAGS.items()
    ]
    parameters = [*map(_as_typed, signature.parameters.values()), *added]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        address = values.pop("server")
        flags = {name: values.pop(name) for name in _FLAGS}
        if address is None:
            _check_unused(flags)
        command(**values, server=None if address is None else Target(address, **flags))

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _check_unused(flags: Mapping[str, Any]) -> None:
    """Refuse flags that say how to reach a server where none is named; the environment may name authorities anyway."""
    authorities = os.environ.get(_CA)
    is_from_environment = authorities is not None and flags["tls_ca"] == Path(authorities)
    typed = [name for name, value in flags.items() if value and not (name == "tls_ca" and is_from_environment)]
    unused = [f"--{name.replace('_', '-')}" for name in typed]
    if unused:
        raise UsageError("\n".join(f"{flag}: needs a server: name one with --server" for flag in unused))


def _as_typed(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter as it is on the command line: a target is its address there."""
    if parameter.name != "server":
        return parameter
    target = parameter.default
    kind: Any = str if isinstance(target, Target) else str | None
    default = target.address if isinstance(target, Target) else None
    return parameter.replace(annotation=Annotated[kind, get_args(parameter.annotation)[1]], default=default)
