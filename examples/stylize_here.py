"""Stylize a photo in this process: no server, no download, no GPU.

Usage: python examples/stylize_here.py PHOTO TEXT OUTPUT
  python examples/stylize_here.py examples/cat.jpg "stained glass" cat-in-glass.png
"""

from __future__ import annotations

import sys
from typing import Any

import clipstyler
from clipstyler.events import Progress


def main(photo: str, text: str, output: str, **options: Any) -> None:
    """Stylize a photo, print the progress and write the result."""
    stylization = clipstyler.stylize(photo, text, **options)
    for event in stylization:
        if isinstance(event, Progress):
            print(f"step {event.step}/{event.steps}, loss {event.losses.total:.3f}")
    print(f"{stylization.save(output)}, seed {stylization.spec.seed}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
