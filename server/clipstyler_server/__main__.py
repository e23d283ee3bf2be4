"""`python -m clipstyler_server`: serve with the settings of the environment, and of the file that it names."""

import sys

from clipstyler.allocator import restart_with_c_allocator
from clipstyler.descriptors import open_missing
from clipstyler.home import ensure_home, temporary_home


def main() -> None:
    """Serve."""
    open_missing()
    restart_with_c_allocator()
    ensure_home()
    if home := temporary_home():
        sys.stderr.write(f"warning: no home directory: {home} stands in for it; set CLIPSTYLER_DATA_DIR\n")
    # Imported here: the spawned processes import this module too, and need none of it.
    from clipstyler_server.configuration import ConfigurationError, load
    from clipstyler_server.serving import run

    try:
        settings = load()
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    run(settings)


if __name__ == "__main__":
    main()
