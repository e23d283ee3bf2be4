"""`python -m clipstyler_server`: serve with the settings of the environment."""


def main() -> None:
    """Serve."""
    # Imported here: the spawned processes import this module too, and need none of it.
    from clipstyler_server.app import run
    from clipstyler_server.settings import Settings

    run(Settings())


if __name__ == "__main__":
    main()
