"""Everything that can be done with a job, done at once to the same few jobs: watch, cancel, delete, list, read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.attack.measure import Target
from tests.attack.methods import CALL_S
from tests.attack.outcomes import Tally, run_all
from tests.service.harness import order

_JOBS = 8
_JOB = "step=0.02 in a storm"


async def storm(target: Target, tally: Tally) -> None:
    """Do to a few jobs whatever a caller can, in a drawn order; a deleted job is replaced by a new one."""
    stub = StylizationServiceStub(target.channel)
    draw = target.chance("storm")
    names = ["stylizations/00000000-0000-4000-8000-000000000000"] * _JOBS
    actions = _actions(stub, tally, names)
    count = target.scale(400, 20_000)
    await run_all(draw.choice(actions)(draw.randrange(_JOBS), draw) for _ in range(count))
    await run_all(tally.count("Cancel", stub.CancelStylization(_Cancel(name=name))) for name in set(names))


_Cancel = pb.CancelStylizationRequest
_Action = Callable[[int, random.Random], Awaitable[None]]


def _actions(stub: StylizationServiceStub, tally: Tally, names: list[str]) -> list[_Action]:
    """Return what may be done to the job at an index."""

    async def create(index: int, _draw: random.Random) -> None:
        call = stub.CreateStylization(order(_JOB), timeout=CALL_S)
        if response := await tally.count("CreateStylization", call):
            names[index] = response.stylization.name

    async def cancel(index: int, _draw: random.Random) -> None:
        await tally.count("CancelStylization", stub.CancelStylization(_Cancel(name=names[index]), timeout=CALL_S))

    async def delete(index: int, _draw: random.Random) -> None:
        asked = pb.DeleteStylizationRequest(name=names[index])
        await tally.count("DeleteStylization", stub.DeleteStylization(asked, timeout=CALL_S))

    async def get(index: int, _draw: random.Random) -> None:
        asked = pb.GetStylizationRequest(name=names[index])
        await tally.count("GetStylization", stub.GetStylization(asked, timeout=CALL_S))

    async def list_some(_index: int, draw: random.Random) -> None:
        asked = pb.ListStylizationsRequest(page_size=draw.randint(1, 1000))
        await tally.count("ListStylizations", stub.ListStylizations(asked, timeout=CALL_S))

    async def read(index: int, draw: random.Random) -> None:
        kind = draw.choice(Stylization.ImageKind.values()[1:])
        call = stub.GetStylizationImage(pb.GetStylizationImageRequest(name=names[index], kind=kind), timeout=CALL_S)
        await tally.count("GetStylizationImage", _all(call))

    async def watch(index: int, draw: random.Random) -> None:
        asked = pb.WatchStylizationRequest(name=names[index], after_sequence=draw.randint(0, 9))
        call = stub.WatchStylization(asked, timeout=draw.choice((0.01, 0.1, 1)))
        await tally.count("WatchStylization", _all(call))

    return [create, cancel, delete, get, list_some, read, watch, watch, watch]


async def _all(call: grpc.aio.UnaryStreamCall) -> None:
    async for _ in call:
        await asyncio.sleep(0)
