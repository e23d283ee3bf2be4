"""A process that watches the server from outside: the bystander's delays and the processes' memory.

python -m tests.attack.watcher GRPC_ADDRESS HTTP_ADDRESS FRONT_PID CHILDREN_FILE

Reads commands from stdin, one per line: `restart` makes it call and measures from now on, `look` changes nothing,
`figures` ends that. Each is answered with one line of JSON that holds what was measured. It is a process of its own, so
that the attacker's work does not look like a pause of the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.attack.bystander import Bystander
from tests.attack.sampling import ProcessSampler


async def main() -> None:
    grpc_address, http_address, front_pid, record = sys.argv[1:]
    bystander = Bystander(grpc_address, http_address)
    sampler = ProcessSampler(int(front_pid), Path(record))
    working = asyncio.gather(bystander.run(), sampler.run())
    obeying = asyncio.create_task(_obey(bystander, sampler))
    await asyncio.wait({working, obeying}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    os._exit(0)  # nothing is left to tidy up, and a cancelled relay complains


async def _obey(bystander: Bystander, sampler: ProcessSampler) -> None:
    """Carry out commands until stdin ends."""
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "restart":
            bystander.restart()
            sampler.restart()
        elif command == "figures":
            bystander.pause()
        print(json.dumps({"bystander": bystander.figures(), "processes": sampler.figures()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
