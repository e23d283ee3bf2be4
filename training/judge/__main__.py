"""Train the judge (a quarter of an hour on one thread, once) and show how well it judges what it never saw.

Examples
--------
  python -m training.pocket.fetch --out data
  python -m training.judge --data data --cache cache
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from training.judge.looks import TEXTS
from training.judge.network import Judge
from training.judge.training import HELD_OUT_SEED, Recipe, draw_bank, real_bank, trained
from training.judge.verdict import verdict
from training.outputs import check_folder, check_output


def named(judge: Judge, pictures: Tensor) -> Tensor:
    """Number of the text that the judge names for each picture, uint8 (N, 3, S, S): (N,)."""
    return torch.stack([verdict(judge, picture.float() / 255).argmax() for picture in pictures])


def confusion(found: Tensor, numbers: Tensor) -> Tensor:
    """How often the text of a row was named as that of a column: (texts, texts)."""
    return torch.bincount(numbers * len(TEXTS) + found, minlength=len(TEXTS) ** 2).view(len(TEXTS), len(TEXTS))


def table(counts: Tensor, title: str) -> Table:
    """Show the confusions of one kind of pictures."""
    shown = Table("text", "right", "of", "mistaken for", title=title)
    for row, text in enumerate(TEXTS):
        total, right = int(counts[row].sum()), int(counts[row, row])
        wrong = sorted(((int(n), TEXTS[i]) for i, n in enumerate(counts[row]) if n and i != row), reverse=True)
        if total:
            shown.add_row(text, f"{right / total:.0%}", str(total), ", ".join(f"{name} {n}" for n, name in wrong))
    shown.add_row("all", f"{accuracy(counts):.1%}", str(int(counts.sum())), "")
    return shown


def accuracy(counts: Tensor) -> float:
    """Share of the diagonal."""
    return float(counts.diagonal().sum() / counts.sum())


def main() -> None:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training.judge", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that training.pocket.fetch filled")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the trained judge")
    parser.add_argument("--each", type=int, default=40, help="held-out pictures of each text (default: 40)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="of training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--json", type=Path, help="write the two confusion tables here")
    options = parser.parse_args()
    check_folder(parser, options.cache, "--cache")
    check_output(parser, options.json, "--json")
    torch.set_num_threads(options.threads)
    judge = trained(options.data, options.cache, Recipe(steps=options.steps))
    drawn = draw_bank(options.data, options.each, HELD_OUT_SEED, held_out=True)
    counts = {"drawn": confusion(named(judge, drawn[0]), drawn[1])}
    real = real_bank(options.data)
    counts["real"] = confusion(named(judge, real[0]), real[1])
    for kind, title in (("drawn", "unseen seeds and photos"), ("real", "real textures, unseen")):
        Console().print(table(counts[kind], title))
    if options.json:
        figures = {kind: {"accuracy": accuracy(c), "confusion": c.tolist()} for kind, c in counts.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"texts": TEXTS, **figures}))


if __name__ == "__main__":
    main()
