"""Shared bounds: who is one caller, and that no caller can take what is there for all."""

from __future__ import annotations

import asyncio

import pytest
from clipstyler_server.sharing import CallCounts, FairBudget, address_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:5000", "10.1.2.3"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:80", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:ffff::1%5D:80", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:80", "10.1.2.3"),
        ("ipv6:%5Bfe80::1%25eth0%5D:80", "fe80::/64"),
        ("unix:", "unix"),
        ("unix:/run/clipstyler.sock", "unix"),
        ("", ""),
    ],
)
def test_a_caller_is_an_address_without_what_it_can_choose_itself(peer: str, address: str) -> None:
    assert address_of(peer) == address


async def test_whoever_finds_too_little_waits_until_it_is_given_back() -> None:
    budget = FairBudget(10, share=1)
    first = await budget.take("a", 8)
    second = asyncio.create_task(budget.take("b", 4))
    await asyncio.sleep(0)
    assert (second.done(), budget.used) == (False, 8)
    first.shrink(6)
    assert (await second).amount == 4
    assert budget.used == 10


async def test_one_caller_cannot_take_the_share_of_others() -> None:
    budget = FairBudget(10, share=0.5)
    await budget.take("a", 5)
    more = asyncio.create_task(budget.take("a", 1))
    other = await asyncio.wait_for(budget.take("b", 5), 1)
    assert not more.done()
    other.release()
    await asyncio.sleep(0)
    assert not more.done()
    more.cancel()


async def test_callers_take_turns_however_many_requests_one_of_them_has() -> None:
    budget = FairBudget(1, share=1)
    held = await budget.take("x", 1)
    served: list[str] = []

    async def work(name: str) -> None:
        async with budget.hold(name, 1):
            served.append(name)

    works = [asyncio.create_task(work(name)) for name in ("a", "a", "a", "b", "a", "c")]
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(*works)
    assert served == ["a", "b", "c", "a", "a", "a"]


async def test_a_large_request_is_not_overtaken_forever() -> None:
    budget = FairBudget(10, share=1)
    small = await budget.take("a", 6)
    large = asyncio.create_task(budget.take("b", 10))
    await asyncio.sleep(0)
    late = asyncio.create_task(budget.take("c", 1))
    await asyncio.sleep(0)
    assert not late.done()
    small.release()
    lease = await large
    assert not late.done()
    lease.release()
    await late


async def test_a_request_that_leaves_while_it_waits_takes_nothing() -> None:
    budget = FairBudget(1, share=1)
    held = await budget.take("a", 1)
    for cancel_late in (False, True):
        waiting = asyncio.create_task(budget.take("b", 1))
        await asyncio.sleep(0)
        if cancel_late:
            held.release()  # granted and cancelled in the same turn of the loop
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert budget.used == (0 if cancel_late else 1)


async def test_a_large_request_that_leaves_lets_those_behind_it_go_on() -> None:
    budget = FairBudget(10, share=1)
    await budget.take("a", 6)
    large = asyncio.create_task(budget.take("b", 10))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.take("c", 1))
    await asyncio.sleep(0)
    large.cancel()
    assert (await asyncio.wait_for(small, 1)).amount == 1


async def test_one_request_always_fits_however_small_the_bound_is() -> None:
    budget = FairBudget(0, share=0.1, smallest=7)
    assert (await asyncio.wait_for(budget.take("a", 7), 1)).amount == 7


def test_calls_are_bounded_in_all_and_by_caller() -> None:
    counts = CallCounts(4, share=0.5)
    assert [counts.enter("/m", "a") for _ in range(3)] == [True, True, False]
    assert [counts.enter("/m", name) for name in ("b", "c", "d")] == [True, True, False]
    counts.leave("/m", "a")
    assert counts.enter("/n", "d")
    assert (counts.by_method["/m"], counts.by_method["/n"]) == (3, 1)
