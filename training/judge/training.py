"""Train the judge from a seed and report its accuracy on held-out images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator, default_rng
from PIL import Image
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from training.judge.looks import TEXTS, photos, picture, real_textures, square
from training.judge.network import Judge, augmented

SIDE = 128
"""Side of the drawn pictures in pixels."""
HELD_OUT_SEED = 9_000_000


@dataclass(frozen=True)
class Recipe:
    """How the judge is trained: the same recipe and seed give the same judge on the same kind of machine."""

    seed: int = 1
    each: int = 400
    steps: int = 1800
    batch: int = 64
    rate: float = 2e-3


def draw_bank(data: Path, each: int, seed: int, held_out: bool) -> tuple[Tensor, Tensor]:
    """Draw `each` pictures of every text: uint8 (N, 3, SIDE, SIDE), and their texts' numbers, (N,).

    Held-out pictures are drawn after the test photos, with the held-out real textures.
    """
    contents = photos(data / "photos" / ("test" if held_out else "train"))
    real = real_textures(data, held_out)
    drawn = []
    for number, text in enumerate(track(TEXTS, "drawing")):
        for i in range(each):
            rng = default_rng([seed, number, i])
            drawn.append(_as_stored(rng, picture(rng, text, SIDE, contents, real)))
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2), torch.arange(len(TEXTS)).repeat_interleave(each)


def _as_stored(
    rng: Generator, pixels: np.ndarray[tuple[int, ...], np.dtype[np.floating]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """As bytes; one in three has been through JPEG."""
    image = Image.fromarray((pixels * 255).astype(np.uint8))
    if rng.random() < 1 / 3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(40, 95)))
        image = Image.open(file)
    return np.asarray(image)


def train(data: Path, recipe: Recipe) -> Judge:
    """Train a judge: cross-entropy with label smoothing, AdamW, a one-cycle schedule; nothing adversarial."""
    bank, numbers = draw_bank(data, recipe.each, recipe.seed, held_out=False)
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        judge = Judge(len(TEXTS))
        optimizer = torch.optim.AdamW(judge.parameters(), recipe.rate, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=recipe.steps)
        for _ in track(range(recipe.steps), "training the judge"):
            chosen = torch.randint(len(bank), (recipe.batch,), generator=generator)
            views = augmented(bank[chosen].float() / 255, generator)
            loss = F.cross_entropy(judge(views), numbers[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


def trained(data: Path, cache: Path, recipe: Recipe) -> Judge:
    """Return the judge of this recipe, from the cache if it has one, else trained and kept there.

    The cache goes by the recipe: delete its file when the drawings or the data change.
    """
    path = cache / f"judge-{recipe.seed}-{recipe.each}-{recipe.steps}-{recipe.batch}-{recipe.rate:g}.safetensors"
    if path.exists():
        judge = Judge(len(TEXTS))
        judge.load_state_dict(load_file(path))
        return judge.eval().requires_grad_(False)
    judge = train(data, recipe)
    cache.mkdir(parents=True, exist_ok=True)
    save_file(judge.state_dict(), path)
    return judge


def real_bank(data: Path, each: int = 6) -> tuple[Tensor, Tensor]:
    """Squares of the held-out real textures, `each` of every one: uint8 (N, 3, SIDE, SIDE), and texts' numbers."""
    rng = default_rng(HELD_OUT_SEED)
    squares, numbers = [], []
    for text, textures in real_textures(data, held_out=True).items():
        for texture in textures:
            squares += [(square(rng, [texture], SIDE, 0.6) * 255).astype(np.uint8) for _ in range(each)]
            numbers += [TEXTS.index(text)] * each
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2), torch.tensor(numbers)
