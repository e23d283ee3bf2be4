"""The first lines of the command: Ctrl-C ends it without a traceback while its modules are still being read."""

import signal

from clipstyler_cli.statuses import EXIT_INTERRUPTED


def main() -> None:
    """Run the command; a Ctrl-C that nothing in it has answered ends it with the status of one."""
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def _run() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from clipstyler.openmp import spin_briefly  # after the signal is set
    from clipstyler_cli.surroundings import prepare

    prepare()
    from clipstyler_cli.main import app

    spin_briefly()

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
