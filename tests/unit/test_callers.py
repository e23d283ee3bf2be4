"""Who calls: an address that the caller cannot choose, also behind proxies that the operator trusts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from clipstyler_server.api.callers import Callers
from clipstyler_server.identity.roles import UNRESTRICTED, Principal, Role
from clipstyler_server.settings import Settings
from clipstyler_server.sharing import Caller

GATEWAY = "ipv4:127.0.0.1:40000"


def call(peer: str, **headers: str | list[str]) -> SimpleNamespace:
    """A call with headers, whose names have underscores here; a list is a header that came several times."""
    metadata = [
        (name.replace("_", "-"), value)
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return SimpleNamespace(peer=lambda: peer, invocation_metadata=lambda: tuple(metadata))


def trusting(proxies: str) -> Callers:
    return Callers(Settings(trusted_proxies=proxies).trusted_proxies)


def address(callers: Callers, context: SimpleNamespace) -> str:
    return callers.of(context, UNRESTRICTED).address


def test_by_default_no_header_names_the_address():
    forged = call(GATEWAY, x_forwarded_for="203.0.113.9", x_clipstyler_client="ann")
    assert Callers().of(forged, UNRESTRICTED) == Caller("127.0.0.1", "ann")
    assert Callers(Settings().trusted_proxies) == Callers()


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("9.9.9.9, 203.0.113.9", "203.0.113.9"),  # what a caller sends stands before what the proxy appends
        ("9.9.9.9,203.0.113.9 , 10.0.0.7", "203.0.113.9"),  # two proxies, both trusted
        (["9.9.9.9", "203.0.113.9"], "203.0.113.9"),
        ("not an address, 10.0.0.7", "10.0.0.7"),
        ("not an address", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_a_trusted_proxy_names_the_address(forwarded: str | list[str], expected: str):
    callers = trusting("127.0.0.1, 10.0.0.0/8")
    assert address(callers, call(GATEWAY, x_forwarded_for=forwarded)) == expected


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.1:40000", "ipv6:%5B2001:db8::1%5D:40000", "unix:"])
def test_others_name_no_address(peer: str):
    callers = trusting("127.0.0.1,::1")
    assert address(callers, call(peer, x_forwarded_for="203.0.113.9")) == address(Callers(), call(peer))


def test_without_the_header_a_proxy_is_a_caller_like_any_other():
    assert trusting("127.0.0.1").of(call(GATEWAY), UNRESTRICTED) == Caller("127.0.0.1", "")


def test_credentials_count_more_than_the_address_that_a_proxy_names():
    caller = trusting("127.0.0.1").of(call(GATEWAY, x_forwarded_for="203.0.113.9"), Principal("studio", Role.USER))
    assert (caller.account, caller.address) == ("tenant:studio", "203.0.113.9")
    unknown = trusting("127.0.0.1").of(call(GATEWAY, x_forwarded_for="203.0.113.9"), UNRESTRICTED)
    assert unknown.account == "203.0.113.9"


def test_a_proxy_that_is_no_address_is_refused():
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings(trusted_proxies="gateway.example")
