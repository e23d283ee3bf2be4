"""Average checkpoints of one ancestry: between a robust run and a gentler one from there lies what both are good at.

Examples
--------
  python -m training average robust.safetensors gentle.safetensors --out pocket.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.outputs import check_output


def average(checkpoints: Sequence[Path]) -> dict[str, Tensor]:
    """Mean of every tensor, in half precision.

    Raises
    ------
    ValueError
        The checkpoints are not of one architecture.
    """
    loaded = [load_file(path) for path in checkpoints]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in loaded]
    if any(other != shapes[0] for other in shapes):
        raise ValueError("the checkpoints hold different towers")
    return {name: torch.stack([state[name].float() for state in loaded]).mean(0).half() for name in loaded[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training average",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    options = parser.parse_args(arguments)
    check_output(parser, options.out, inputs=options.checkpoints)
    weights = average(options.checkpoints)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, options.out)


if __name__ == "__main__":
    main()
