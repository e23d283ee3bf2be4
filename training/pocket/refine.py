"""Teach the text tower alone what a finished image tower sees: wordings and modifiers in minutes instead of hours.

Pictures are drawn and embedded once; then captions learn to lie where their pictures are, most of them in other
colors: a long run of both towers sees each of some 1,500 modified concepts a few dozen times only.

Examples
--------
  python -m training refine --init pocket.safetensors --data data --targets targets.npz --out refined.safetensors
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.model import WEIGHTS
from clipstyler.pocket.towers import VIEW
from training.pocket.augment import views
from training.pocket.dataset import Chunk, ImageGenerator
from training.pocket.generators.noise import Array
from training.pocket.objective import training_loss
from training.pocket.train import Recipe, Trainer, modified, parse

_SHARE_MODIFIED = 0.6
_EMBEDDED_AT_ONCE = 64
_LOGIT_SCALE = 20.0
_DEFAULT = Recipe(steps=900, batch=320, rate=1e-3, bank=9216, init=WEIGHTS, out=Path("refined.safetensors"))
# What only a run that trains both towers has.
_NOT_HERE = ("radius", "word-steps", "chunk-every", "save-every", "image-from")


class Seen(NamedTuple):
    """Embeddings of views, (N, D), the number of the concept of each, and its modifier, "" for none."""

    embeddings: Tensor
    concepts: list[int]
    modifiers: list[str]

    @property
    def photos(self) -> list[int]:
        """Where the photos are that nothing was done to."""
        kinds = enumerate(zip(self.concepts, self.modifiers, strict=True))
        return [i for i, kind in kinds if kind == (0, "")]


def look(trainer: Trainer, chunks: Sequence[Chunk]) -> Seen:
    """Embed a view of every picture, most pictures in other colors."""
    concepts = [int(number) for chunk in chunks for number in chunk.concepts]
    pictures = np.concatenate([chunk.pictures for chunk in chunks])
    image = trainer.towers["image"].eval()
    parts, modifiers = [], []
    for first in track(range(0, len(pictures), _EMBEDDED_AT_ONCE), "looking"):
        batch = pictures[first : first + _EMBEDDED_AT_ONCE].astype(np.float32) / 255
        modifiers += [_change(trainer, picture, concepts[first + i]) for i, picture in enumerate(batch)]
        cut = views(torch.from_numpy(batch).permute(0, 3, 1, 2), VIEW, trainer.generator)
        with torch.no_grad():
            parts.append(image(cut))
    return Seen(torch.cat(parts), concepts, modifiers)


def _change(trainer: Trainer, picture: Array, number: int) -> str:
    """Change most pictures' colors, in place; return the modifier, "" where the picture stays what it was."""
    if trainer.rng.random() >= _SHARE_MODIFIED:
        return ""
    modifier = trainer.modifier()
    changed = modified(trainer.rng, picture, known_concepts()[number], modifier)
    if changed is None:
        return ""
    picture[:] = changed
    return modifier


def step(trainer: Trainer, optimizer: torch.optim.Optimizer, seen: Seen, count: int) -> float:
    """Make one update of the text tower; return the loss."""
    chosen = trainer.rng.choice(len(seen.concepts), count)
    chosen[:2] = trainer.rng.choice(seen.photos, 2)
    pairs = [(known_concepts()[seen.concepts[i]], seen.modifiers[i]) for i in chosen]
    modifications = list(dict.fromkeys(pair for pair in pairs if pair[1]))
    numbers = {pair: len(known_concepts()) + i for i, pair in enumerate(modifications)}
    named = torch.tensor([numbers.get(pair, known_concepts().index(pair[0])) for pair in pairs])
    photos = torch.nonzero(named == 0)[:, 0]
    partners = photos[torch.randint(len(photos), (count,), generator=trainer.generator)]
    captions = trainer.captions(modifications)
    loss = training_loss(seen.embeddings[chosen], captions, named, partners, torch.tensor(_LOGIT_SCALE))
    loss = loss + trainer.distillation_loss(captions[0])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trainer.towers["text"].parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def refine(recipe: Recipe) -> Iterator[float]:
    """Draw, look, teach and save; yield the loss of every step."""
    torch.set_num_threads(recipe.threads)
    trainer = Trainer(recipe)
    with ProcessPoolExecutor(recipe.workers, get_context("spawn"), ImageGenerator.start, (recipe.data,)) as pool:
        orders = [
            pool.submit(ImageGenerator.paint, recipe.seed, i, recipe.chunk) for i in range(recipe.bank // recipe.chunk)
        ]
        seen = look(trainer, [order.result() for order in track(orders, "drawing")])
    optimizer = torch.optim.AdamW(trainer.towers["text"].parameters(), recipe.rate, weight_decay=0.0)
    for number in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * (1 - number / recipe.steps)
        yield step(trainer, optimizer, seen, recipe.batch)
        trainer.follow(number)
    trainer.save()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    recipe = parse(arguments, "refine", __doc__, _DEFAULT, but=_NOT_HERE)
    losses = list(track(refine(recipe), "teaching", total=recipe.steps))
    Console().print(f"{recipe.out}: loss {np.mean(losses[:50]):.3f} at first, {np.mean(losses[-50:]):.3f} at last")


if __name__ == "__main__":
    main()
