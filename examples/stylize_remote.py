"""Stylize a photo on a server, with progress; leaving early (Ctrl-C) cancels the work on the server.

Usage: python examples/stylize_remote.py TARGET PHOTO TEXT OUTPUT
  clipstyler serve &
  python examples/stylize_remote.py 127.0.0.1:50051 examples/cat.jpg "stained glass" cat-in-glass.png
"""

from __future__ import annotations

import sys
from typing import Any

from clipstyler_client import Client, Preview, Progress


def main(target: str, photo: str, text: str, output: str, **options: Any) -> None:
    """Stylize a photo, print what arrives and write the result."""
    with Client(target) as client, client.stylize(photo, text, **options) as stream:
        for event in stream:
            match event:
                case Progress():
                    print(f"step {event.step}/{event.steps}, {event.remaining_s:.0f} s left")
                case Preview():
                    print(f"a preview of {len(event.image)} bytes")
        result = stream.result()
    result.save(output)
    print(f"{output}, seed {result.seed}")


if __name__ == "__main__":
    main(*sys.argv[1:5])
