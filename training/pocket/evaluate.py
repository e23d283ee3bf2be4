"""Measure the towers on what they never saw: other seeds, photos and wordings; as drawn, and under attack.

Pictures are whole; views are cut-outs of such pictures, most of them through a perspective that leaves 44 % black, as a
stylization shows them to the towers: less to see, and the same attack.

Examples
--------
  python -m training evaluate
  python -m training evaluate --weights pocket.safetensors --data data --each 40 --radius 4
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

from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.model import WEIGHTS, PocketClip, load
from training.pocket.augment import views
from training.pocket.dataset import SIDE, draw, to_bytes
from training.pocket.generators.noise import Array
from training.pocket.objective import attack
from training.pocket.photos import Sources, held_out_photos, pictures_in
from training.pocket.unseen import unseen_wordings

SEED = 7_000_000
"""Of the held-out pictures; training runs use small seeds."""
ATTACKED_SIZE = 96
"""Side in pixels of the pictures that are attacked; the towers see them shrunk, as the product shrinks its views."""


def held_out_pictures(
    each: int, size: int, concepts: Sequence[str] = known_concepts(), photos: list[Array] | None = None
) -> tuple[Tensor, Tensor]:
    """Held-out pictures, `each` of every concept: float32 (N, 3, size, size) in [0, 1], and their concepts, (N,)."""
    sources = Sources(photos or held_out_photos(), {})
    numbers = [known_concepts().index(concept) for concept in concepts]
    pictures = [
        to_bytes(draw(concept, np.random.default_rng([SEED, number, i]), sources, size))
        for concept, number in zip(concepts, numbers, strict=True)
        for i in range(each)
    ]
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return stacked, torch.tensor(numbers).repeat_interleave(each)


def held_out_views(
    each: int, size: int, concepts: Sequence[str] = known_concepts(), photos: list[Array] | None = None
) -> tuple[Tensor, Tensor]:
    """Views of held-out pictures: float32 (N, 3, size, size) in [0, 1], and their concepts, (N,)."""
    pictures, numbers = held_out_pictures(each, SIDE, concepts, photos)
    return views(pictures, size, torch.Generator().manual_seed(SEED)), numbers


def concept_embeddings(clip: PocketClip) -> Tensor:
    """Normalized embeddings of the concepts' names, (concepts, D)."""
    return F.normalize(clip.encode_text(known_concepts()), dim=1)


def embedded(clip: PocketClip, images: Tensor) -> Tensor:
    """Normalized embeddings of pictures of any size, shrunk to what the towers take: (N, D)."""
    size = (clip.image_size, clip.image_size)
    shrunk = F.interpolate(images, size, mode="bilinear", antialias=True) if images.shape[-2:] != size else images
    return F.normalize(clip.encode_image(shrunk), dim=1)


def named(clip: PocketClip, images: Tensor, texts: Tensor) -> Tensor:
    """Number of the nearest text of each picture, (N,)."""
    return torch.cat([embedded(clip, part) @ texts.T for part in torch.split(images, 64)]).argmax(dim=1)


def attacked(
    clip: PocketClip, images: Tensor, concepts: Tensor, texts: Tensor, radius: float, steps: int = 20
) -> Tensor:
    """Pictures moved within an L2 radius so that they look least like their concept to the towers."""

    def loss(part: Tensor, numbers: Tensor) -> Tensor:
        return F.cross_entropy(20 * embedded(clip, part) @ texts.T, numbers)

    generator = torch.Generator().manual_seed(SEED)
    moved = [
        attack(part, lambda x, n=numbers: loss(x, n), torch.full((len(part),), radius), steps, generator)  # type: ignore[misc]
        for part, numbers in zip(torch.split(images, 64), torch.split(concepts, 64), strict=True)
    ]
    return torch.cat(moved)


def misread_wordings(clip: PocketClip, texts: Tensor) -> tuple[int, list[str]]:
    """How many unseen wordings there are, and "wording: concept" for each whose nearest concept is another."""
    spoken = [(concept, wording) for concept, wordings in unseen_wordings().items() for wording in wordings]
    nearest = (F.normalize(clip.encode_text([w for _, w in spoken]), dim=1) @ texts.T).argmax(dim=1)
    found = [known_concepts()[i] for i in nearest.tolist()]
    return len(spoken), [f"{w}: {other}" for (own, w), other in zip(spoken, found, strict=True) if other != own]


def named_by_unseen_wordings(clip: PocketClip, images: Tensor, concepts: Tensor, texts: Tensor) -> float:
    """Share of pictures named rightly when every concept goes by one of its unseen wordings."""
    replaced = texts.clone()
    for concept, wordings in unseen_wordings().items():
        replaced[known_concepts().index(concept)] = F.normalize(clip.encode_text(wordings[:1]), dim=1)[0]
    return float((named(clip, images, replaced) == concepts).float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console()
    clip, _ = load(torch.device("cpu"), options.weights)
    photos = pictures_in(options.data / "photos" / "test") if options.data else None
    texts = concept_embeddings(clip)
    for kind, drawn in (("pictures", held_out_pictures), ("views", held_out_views)):
        images, concepts = drawn(options.each, ATTACKED_SIZE, photos=photos)
        columns = {kind: named(clip, images, texts)}
        for radius in track(options.radius, "attacking", console=console):
            columns[f"attack {radius:g}"] = named(clip, attacked(clip, images, concepts, texts, radius), texts)
        console.print(_table(columns, concepts))
        share = named_by_unseen_wordings(clip, images, concepts, texts)
        console.print(f"{kind} named rightly by unseen wordings: {share:.1%}")
    count, misread = misread_wordings(clip, texts)
    console.print(f"unseen wordings nearest to their own concept: {1 - len(misread) / count:.1%} of {count}")
    console.print("others: " + "; ".join(misread))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training evaluate",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", type=Path, default=WEIGHTS, help="checkpoint (default: the bundled one)")
    add("--data", type=Path, help="folder whose photos/test are drawn after (default: two bundled photos)")
    add("--each", type=int, default=20, help="pictures of each concept (default: 20)")
    add("--radius", type=float, nargs="*", default=[4.0], help="L2 radii of the attack at 96 px (default: 4)")
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    return parser.parse_args(arguments)


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
