"""`python -m clipstyler_server`: serve with the settings of the environment."""

import sys

from clipstyler.allocator import restart_with_c_allocator
from clipstyler.home import ensure_home, temporary_home


def main() -> None:
    """Serve."""
    restart_with_c_allocator()
    ensure_home()
    if home := temporary_home():
        sys.stderr.write(f"warning: no home directory: {home} stands in for it; set CLIPSTYLER_DATA_DIR\n")
    # Imported here: the spawned processes import this module too, and need none of it.
    from clipstyler_server.app import run
    from clipstyler_server.settings import Settings

    run(Settings())


if __name__ == "__main__":
    main()
