"""A server process on the scripted workload; its settings come from the environment."""

from __future__ import annotations

import json
import sys

from clipstyler.allocator import restart_with_c_allocator


def main() -> None:
    restart_with_c_allocator()
    # Imported here: the spawned processes import this module too, and need none of it.
    from clipstyler_server.serving import run
    from clipstyler_server.settings import Settings

    from tests.service import scripted

    run(Settings(), scripted.make)
    print(json.dumps({"torch": "torch" in sys.modules}), flush=True)


if __name__ == "__main__":
    main()
