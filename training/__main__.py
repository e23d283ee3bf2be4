"""Train, measure and inspect the bundled encoders; docs/pocket.md lists the steps.

Examples
--------
  python -m training fetch --out data
  python -m training train --help
  python -m training evaluate --data data
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

TOOLS = {
    "fetch": "fetch the photos and textures that training draws from",
    "teacher": "compute distillation targets with a sentence-embedding model",
    "train": "train the towers",
    "refine": "train the text tower alone against the image tower",
    "average": "average checkpoints that share an ancestor",
    "evaluate": "measure the towers on held-out data",
    "sheet": "stylize photos with several texts and settings side by side",
}


def main(arguments: list[str]) -> None:
    """Run one tool; each has a command line of its own."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    for name, purpose in TOOLS.items():
        tools.add_parser(name, help=purpose, add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    import_module(f"training.pocket.{chosen.tool}").main(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
