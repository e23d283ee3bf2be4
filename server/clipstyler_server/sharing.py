"""Bounds that callers share: who a caller is, and how much one of them may take of what there is for all."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clipstyler_server.identity.roles import UNRESTRICTED, Limits, Principal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PREFIX_OF_ONE_SITE = 64  # of an IPv6 address; the rest is the site's own choice


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes
    ----------
    address
        Address of the peer, or the one that a trusted proxy reports, without its port: no caller can invent one.
    name
        What the caller calls itself: distinguishes users of one account, and only there.
    principal
        Who it is, if the server asks for credentials.
    is_peer
        Whether it is another server of the same database.
    """

    address: str = ""
    name: str = ""
    principal: Principal = UNRESTRICTED
    is_peer: bool = False

    @property
    def account(self) -> str:
        """What bounds and turns are counted by: the tenant if it is known, else the address."""
        return f"tenant:{self.tenant}" if self.tenant else self.address

    @property
    def tenant(self) -> str:
        """Owner of what it creates; empty if the server asks for no credentials."""
        return self.principal.tenant

    @property
    def scope(self) -> str | None:
        """The tenant whose jobs and images it may use; None for all."""
        return self.principal.scope

    @property
    def limits(self) -> Limits:
        """Limits of its tenant."""
        return self.principal.limits


def address_of(peer: str) -> str:
    """Return the address in gRPC's name of a peer, without the port; of IPv6, the network of one site."""
    host = host_of(peer)
    return site_of(host) if host else peer.partition(":")[0]


def host_of(peer: str) -> Address | None:
    """Return the IP address in gRPC's name of a peer; None if it has none."""
    kind, _, rest = peer.partition(":")
    return parse_host(rest.rpartition(":")[0]) if kind in {"ipv4", "ipv6"} else None


def parse_host(text: str) -> Address | None:
    """Return an IP address that may be in brackets and have a zone; None if it is none."""
    host = text.replace("%5B", "").replace("%5D", "").strip("[] ").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


def site_of(address: Address) -> str:
    """Return the address by which a caller is counted: of IPv6, the network of one site."""
    if address.version == 4 or address.is_loopback:
        return str(address)
    return str(ipaddress.ip_network((int(address), _PREFIX_OF_ONE_SITE), strict=False))


class Lease:
    """An amount taken of a budget, given back by `shrink` or `release`."""

    def __init__(self, budget: FairBudget, account: str, amount: int) -> None:
        self._budget = budget
        self._account = account
        self.amount = amount

    def shrink(self, amount: int) -> None:
        """Keep only so much of it."""
        surplus = self.amount - amount
        if surplus > 0:
            self.amount = amount
            self._budget.give_back(self._account, surplus)

    def release(self) -> None:
        """Give all of it back; once is enough."""
        self.shrink(0)


class FairBudget:
    """An amount that callers take from and give back to. Whoever finds too little left waits; callers take turns.

    Parameters
    ----------
    total
        Amount for all callers together.
    share
        Largest fraction of it that one account may hold, above 0 and at most 1.
    smallest
        The largest amount taken at once: the total and every share are at least that.
    """

    def __init__(self, total: int, share: float, smallest: int = 1) -> None:
        self._total = max(total, smallest)
        self._per_caller = max(int(share * self._total), smallest)
        self._used: Counter[str] = Counter()
        self._waiting: OrderedDict[tuple[str, str], deque[tuple[int, asyncio.Future[None]]]] = OrderedDict()

    @property
    def used(self) -> int:
        """Amount that is taken."""
        return self._used.total()

    async def take(self, account: str, amount: int, line: str = "") -> Lease:
        """Take an amount, as soon as it is there and it is this caller's turn.

        Parameters
        ----------
        account
            Of the caller; its share bounds what it holds.
        amount
            What is taken.
        line
            In which it waits: lines take turns, and the requests of a line go one after the other. Default: the
            caller's own. A connection is a line, so that one that asks for much does not delay another one.
        """
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((account, line), deque()).append((amount, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back(account, amount)
            else:
                self._grant()  # those behind it may have waited for it only
            raise
        return Lease(self, account, amount)

    @asynccontextmanager
    async def hold(self, account: str, amount: int, line: str = "") -> AsyncIterator[Lease]:
        """Take an amount, as `take` does, for the duration of a block."""
        lease = await self.take(account, amount, line)
        try:
            yield lease
        finally:
            lease.release()

    def give_back(self, account: str, amount: int) -> None:
        """Return an amount; `Lease` does this."""
        self._used[account] -= amount
        if self._used[account] <= 0:
            del self._used[account]
        self._grant()

    def _grant(self) -> None:
        """Serve whoever can be served, one request per line and round."""
        while key := self._next():
            requests = self._waiting.pop(key)
            amount, granted = requests.popleft()
            self._used[key[0]] += amount
            granted.set_result(None)
            if requests:
                self._waiting[key] = requests

    def _next(self) -> tuple[str, str] | None:
        self._forget_cancelled()
        for (account, line), requests in self._waiting.items():
            amount = requests[0][0]
            if self._used[account] and self._used[account] + amount > self._per_caller:
                continue
            # Nobody behind overtakes the first one whose share permits it: a large request would wait forever.
            fits = not self.used or self.used + amount <= self._total
            return (account, line) if fits else None
        return None

    def _forget_cancelled(self) -> None:
        for key, requests in list(self._waiting.items()):
            while requests and requests[0][1].cancelled():
                requests.popleft()
            if not requests:
                del self._waiting[key]


class CallCounts:
    """Open calls by method and by caller, with a bound in all and per caller.

    Parameters
    ----------
    total
        Maximum number of open calls.
    share
        Largest fraction of them that one account may have.
    """

    def __init__(self, total: int, share: float) -> None:
        self.total = total
        self.per_caller = max(1, int(share * total))
        self.by_method: Counter[str] = Counter()
        self._by_account: Counter[str] = Counter()

    def most_of(self, limit: int | None) -> int:
        """Return how many open calls a caller may have: its share, or fewer by a limit of its own."""
        return self.per_caller if limit is None else min(limit, self.total)

    def enter(self, method: str, account: str, limit: int | None = None) -> bool:
        """Count a call that begins; False, and not counted, if there are too many."""
        if self._by_account.total() >= self.total or self._by_account[account] >= self.most_of(limit):
            return False
        self.by_method[method] += 1
        self._by_account[account] += 1
        return True

    def leave(self, method: str, account: str) -> None:
        """Count a call that has ended."""
        self.by_method[method] -= 1
        self._by_account[account] -= 1
        if not self._by_account[account]:
            del self._by_account[account]
