"""`clipstyler tokens`: the file of tokens that a server knows its callers by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import MAXYEAR, UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipstyler_cli.command_group import App
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.terminal import Terminal, complain, print_json, say, styled, table

if TYPE_CHECKING:
    from clipstyler_server.identity.roles import Role
    from clipstyler_server.identity.tokens import Token

_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdwy])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
app = App(no_args_is_help=True, help="Create, list and revoke the tokens of a server.")

_File = Annotated[
    Path, typer.Option("--file", envvar="CLIPSTYLER_TOKENS", help="File of tokens, the server's setting `tokens`.")
]


@app.callback()
def group() -> None:
    """Create, list and revoke the tokens by which a server knows its callers; it follows the file within a second."""


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Owner of what the token creates.", show_default=False)],
    file: _File,
    role: Annotated[str, typer.Option(help="user, operator (all tenants) or probe (health and metrics).")] = "user",
    expires: Annotated[str, typer.Option(help="never, or a duration such as 12h, 90d, 6w or 1y.")] = "1y",
) -> None:
    """Create a token for TENANT and print it: once, because only its digest is kept.

    Examples
    --------
      clipstyler tokens create studio --file tokens

      clipstyler tokens create monitoring --role probe --expires never --file tokens

      CLIPSTYLER_TOKEN=$(clipstyler tokens create studio --file tokens) clipstyler jobs list
    """
    with _clear_errors():
        from clipstyler_server.identity.tokens import add_token, draw

        owner, its_role, until = checked_together(
            partial(_tenant, tenant), partial(_role, role), partial(_expiry, expires)
        )
        text, token = draw(owner, its_role, until)
        add_token(file, token)
        complain(f"token {token.id} for {tenant}, {role}, expires {_when(token)}; it is not shown again:")
        say(text)


@app.command("list")
def list_(file: _File, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List tokens by their ids; the tokens themselves are stored nowhere.

    Examples
    --------
      clipstyler tokens list --file tokens

      clipstyler tokens list --file tokens --json
    """
    with _clear_errors():
        from clipstyler_server.identity.tokens import read_tokens

        known = read_tokens(file).values()
        if as_json:
            print_json(
                [
                    {"id": token.id, "tenant": token.tenant, "role": str(token.role), "expires": _when(token)}
                    for token in known
                ]
            )
            return
        shown = table("id", "tenant", "role", "expires", box=None)
        for token in known:
            is_expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
            when = styled(_when(token), "red" if is_expired else "default")
            shown.add_row(token.id, token.tenant, str(token.role), when)
        Terminal().print(shown)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token.", show_default=False)], file: _File
) -> None:
    """Revoke a token: calls and open streams that use it are refused within a second or two.

    Examples
    --------
      clipstyler tokens revoke 3fa9c1b2d4e5 --file tokens
    """
    with _clear_errors():
        from clipstyler_server.identity.tokens import remove_token

        removed = remove_token(file, token_id)
        say(f"revoked {removed.id} of {removed.tenant}")


@contextmanager
def _clear_errors() -> Iterator[None]:
    from clipstyler_server.identity.private_files import IdentityError

    with clear_errors():
        try:
            yield
        except IdentityError as error:
            raise UsageError(str(error)) from error


def _tenant(text: str) -> str:
    from clipstyler_server.identity.roles import TENANT_RULE, is_tenant_name

    if not is_tenant_name(text):
        raise UsageError(f"TENANT: {text!r} is no name of a tenant: it has {TENANT_RULE}")
    return text


def _role(text: str) -> Role:
    from clipstyler_server.identity.roles import Role

    if text not in list(Role):
        raise UsageError(f"--role: {text!r} is none of {', '.join(Role)}")
    return Role(text)


def _expiry(text: str) -> datetime | None:
    if text == "never":
        return None
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"--expires: {text!r} is neither never nor a duration such as 12h, 90d, 6w or 1y")
    try:
        return (datetime.now(UTC) + int(found[1]) * _UNITS[found[2]]).replace(microsecond=0)
    except OverflowError:
        raise UsageError(f"--expires: {text!r} is after the year {MAXYEAR}: use never") from None


def _when(token: Token) -> str:
    return "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M:%SZ}"
