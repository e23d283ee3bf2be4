"""The scripted server, whose wall clock is ahead by the seconds that the file CLIPSTYLER_CLOCK_FILE holds."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.service import serve_scripted


def main() -> None:
    real, file = time.time, Path(os.environ["CLIPSTYLER_CLOCK_FILE"])
    time.time = lambda: real() + float(file.read_text())
    serve_scripted.main()


if __name__ == "__main__":
    main()
