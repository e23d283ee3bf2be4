"""The scripted server, which appends "name pid" of every process that it starts to the file CLIPSTYLER_ATTACK_CHILDREN.

The file is opened once: the record goes on while no descriptor is free.
"""

from __future__ import annotations

import os
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.service import serve_scripted


def main() -> None:
    start = BaseProcess.start
    with Path(os.environ["CLIPSTYLER_ATTACK_CHILDREN"]).open("a", buffering=1) as record:

        def recorded_start(process: BaseProcess) -> None:
            start(process)
            record.write(f"{process.name} {process.pid}\n")

        BaseProcess.start = recorded_start
        serve_scripted.main()


if __name__ == "__main__":
    main()
