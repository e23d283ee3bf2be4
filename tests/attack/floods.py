"""Far more than the server can take: connections, large jobs on a full queue, new names, one-shot calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.attack.measure import Target
from tests.attack.methods import CALL_S
from tests.attack.outcomes import Tally, run_all
from tests.service.harness import noise_photo, order, request

STEPS = 3  # of a small job
STEP_S = 0.1
JOB = f"step={STEP_S} one of many"
_LARGE_BYTES = 15 * 2**20


async def connections(target: Target, tally: Tally) -> None:
    """Connect and leave at once."""
    host, port = target.address.rsplit(":", 1)

    async def connect() -> None:
        tally.inputs += 1
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CALL_S)
        except (OSError, TimeoutError):
            tally.note("not accepted")
        else:
            writer.close()

    await run_all(connect() for _ in range(target.scale(300, 20_000)))


async def large_jobs_on_a_full_queue(target: Target, tally: Tally) -> None:
    """Fill the queue, then create jobs with photos of 15 MiB."""
    stub = StylizationServiceStub(target.channel)
    image = noise_photo(64, 64).ljust(_LARGE_BYTES, b"\0")
    async with full_queue(target, tally, [None]):

        def calls() -> Iterator[Awaitable[object]]:
            for number in range(target.scale(12, 200)):
                asked = order(f"large {number}", image=image)
                yield tally.count("CreateStylization", stub.CreateStylization(asked, timeout=60))

        await run_all(calls())


async def ever_new_names(target: Target, tally: Tally) -> None:
    """Create jobs under a new client name each."""
    async with full_queue(target, tally, [f"name-{number}" for number in range(10_000)]):
        await asyncio.sleep(target.scale(2, 15))


@asynccontextmanager
async def full_queue(target: Target, tally: Tally, names: list[str | None]) -> AsyncIterator[None]:
    """Create more jobs than the queue has places, with the client names by turns; cancel them at the end."""
    stub = StylizationServiceStub(target.channel)
    created: list[str] = []

    async def create(name: str | None) -> None:
        metadata = (("x-clipstyler-client", name),) if name else ()
        call = stub.CreateStylization(order(JOB), metadata=metadata, timeout=CALL_S)
        if response := await tally.count("CreateStylization", call):
            created.append(response.stylization.name)

    await run_all(create(names[number % len(names)]) for number in range(target.scale(80, 600)))
    try:
        yield
    finally:
        await run_all(target.server.cancel(name) for name in created)


async def one_shots(target: Target, tally: Tally) -> None:
    """Call more often at once than the queue has places, and stay to the end or the deadline."""
    timeout_s = target.scale(2, 30)

    async def stylize() -> None:
        async for _ in StylizationServiceStub(target.channel).Stylize(request(JOB), timeout=timeout_s):
            pass

    async with asyncio.TaskGroup() as group:
        for _ in range(target.scale(80, 300)):
            group.create_task(tally.count("Stylize", stylize()))
