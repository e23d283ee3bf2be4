"""A server process on a scripted workload that its argument names: `make` or `make_never`."""

from __future__ import annotations

import sys


def main() -> None:
    # Imported here: the spawned processes import this module too, and need none of it.
    from clipstyler_server.serving import run
    from clipstyler_server.settings import Settings

    from tests.service import scripted

    run(Settings(), getattr(scripted, sys.argv[1]))


if __name__ == "__main__":
    main()
