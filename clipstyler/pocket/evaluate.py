"""Measure the towers on pictures they never saw: other seeds, other photos; as drawn, and under attack.

Examples
--------
  python -m clipstyler.pocket.evaluate
  python -m clipstyler.pocket.evaluate --weights pocket.safetensors --each 40 --radius 2 4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from clipstyler.pocket.augment import views
from clipstyler.pocket.dataset import draw, to_bytes
from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.model import WEIGHTS, PocketClip, load
from clipstyler.pocket.objective import attack
from clipstyler.pocket.photos import held_out_photos

SEED = 7_000_000
"""Of the held-out pictures; training runs use small seeds."""


def held_out_views(each: int, size: int, concepts: Sequence[str] = known_concepts()) -> tuple[Tensor, Tensor]:
    """Views of held-out pictures, `each` of every concept: float32 (N, 3, size, size), and their concepts, (N,)."""
    photos = held_out_photos()
    pictures = [
        to_bytes(draw(concept, np.random.default_rng([SEED, known_concepts().index(concept), i]), photos))
        for concept in concepts
        for i in range(each)
    ]
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    numbers = torch.tensor([known_concepts().index(concept) for concept in concepts])
    return views(stacked, size, torch.Generator().manual_seed(SEED)), numbers.repeat_interleave(each)


def concept_embeddings(clip: PocketClip) -> Tensor:
    """Normalised embeddings of the concepts' names, (concepts, D)."""
    return F.normalize(clip.encode_text(known_concepts()), dim=1)


def named(clip: PocketClip, images: Tensor, texts: Tensor) -> Tensor:
    """Number of the nearest text of each view, (N,)."""
    parts = [F.normalize(clip.encode_image(part), dim=1) @ texts.T for part in torch.split(images, 64)]
    return torch.cat(parts).argmax(dim=1)


def attacked(
    clip: PocketClip, images: Tensor, concepts: Tensor, texts: Tensor, radius: float, steps: int = 10
) -> Tensor:
    """Views moved within an L2 radius so that they look least like their concept to the towers."""

    def loss(part: Tensor, numbers: Tensor) -> Tensor:
        return F.cross_entropy(20 * F.normalize(clip.encode_image(part), dim=1) @ texts.T, numbers)

    generator = torch.Generator().manual_seed(SEED)
    moved = [
        attack(part, lambda x, n=numbers: loss(x, n), torch.full((len(part),), radius), steps, generator)  # type: ignore[misc]
        for part, numbers in zip(torch.split(images, 64), torch.split(concepts, 64), strict=True)
    ]
    return torch.cat(moved)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m clipstyler.pocket.evaluate",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="checkpoint (default: the bundled one)")
    parser.add_argument("--each", type=int, default=20, help="pictures of each concept (default: 20)")
    parser.add_argument(
        "--radius", type=float, nargs="*", default=[2.0, 4.0], help="radii of the attack (default: 2 4)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clip, _ = load(torch.device("cpu"), options.weights)
    images, concepts = held_out_views(options.each, clip.image_size)
    texts = concept_embeddings(clip)
    columns = {"as drawn": named(clip, images, texts)}
    for radius in track(options.radius, "attacking"):
        columns[f"attack {radius:g}"] = named(clip, attacked(clip, images, concepts, texts, radius), texts)
    Console().print(_table(columns, concepts))


def _table(columns: dict[str, Tensor], concepts: Tensor) -> Table:
    table = Table("concept", *columns, "mistaken for")
    for number, name in enumerate(known_concepts()):
        mine = concepts == number
        shares = [f"{float((found[mine] == number).float().mean()):.0%}" for found in columns.values()]
        first = next(iter(columns.values()))[mine]
        wrong = [known_concepts()[i] for i in sorted(set(first.tolist())) if i != number]
        table.add_row(name, *shares, ", ".join(wrong))
    table.add_row("all", *(f"{float((found == concepts).float().mean()):.1%}" for found in columns.values()), "")
    return table


if __name__ == "__main__":
    main()
