"""Train the `pocket` towers robustly on pictures that this project draws itself.

Examples
--------
  python -m clipstyler.pocket.train --steps 3000 --photos ~/photos --out pocket.safetensors
  python -m clipstyler.pocket.train --steps 500 --init pocket.safetensors --rate 0.0005 --out finer.safetensors
  python -m clipstyler.pocket.train --steps 20 --bank 512 --out /tmp/try.safetensors      (a quick trial)

The same options and seed, on the same processor and library versions with one thread, give the same weights.
"""

from __future__ import annotations

import argparse
import copy
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipstyler.pocket.augment import views
from clipstyler.pocket.captions import caption_of_each
from clipstyler.pocket.dataset import SIDE, Chunk, Painter
from clipstyler.pocket.objective import attack, caption_loss, training_loss
from clipstyler.pocket.tokenizer import tokenize
from clipstyler.pocket.towers import VIEW, ImageTower, TextTower

_CHUNK = 256  # pictures
_CAPTION_SETS = 2
_WORD_STEPS = 400
# Parts of the run: without an attack until, radius full from, two steps of attack from.
_CLEAN, _FULL_RADIUS, _TWO_STEPS = 0.12, 0.45, 0.5
_AVERAGE = 0.997  # decay of the running average of the weights, which is what is saved
_LARGEST_SCALE = 20.0


@dataclass(frozen=True)
class Recipe:
    """Options of a training run; the command line's help explains them."""

    steps: int = 3000
    batch: int = 56
    rate: float = 2e-3
    radius: float = 4.0
    bank: int = 12288
    chunk_every: int = 8
    seed: int = 0
    threads: int = 1
    save_every: int = 200
    photos: Path | None = None
    init: Path | None = None
    out: Path = Path("pocket.safetensors")


class Bank:
    """The pictures at hand: a ring that a worker process keeps refilling, at fixed steps so that runs repeat."""

    def __init__(self, recipe: Recipe, pool: ProcessPoolExecutor) -> None:
        self._recipe, self._pool = recipe, pool
        self._pictures = np.empty((recipe.bank, SIDE, SIDE, 3), np.uint8)
        self._concepts = np.empty(recipe.bank, np.int64)
        self._ordered, self._received = 0, 0
        self._pending: deque[Future[Chunk]] = deque()
        for _ in range(4):
            self._order()

    def _order(self) -> None:
        self._pending.append(self._pool.submit(Painter.paint, self._recipe.seed, self._ordered, _CHUNK))
        self._ordered += 1

    def receive(self) -> None:
        """Wait for the next chunk and put it into the place of the oldest."""
        self._order()
        pictures, concepts = self._pending.popleft().result()
        places = (self._received * _CHUNK + np.arange(_CHUNK)) % self._recipe.bank
        self._pictures[places], self._concepts[places] = pictures, concepts
        self._received += 1

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw pictures, float32 (count, 3, SIDE, SIDE) in [0, 1], and their concepts, with two photos at least."""
        filled = min(self._received * _CHUNK, self._recipe.bank)
        chosen = rng.integers(0, filled, count)
        chosen[:2] = rng.choice(np.flatnonzero(self._concepts[:filled] == 0), 2)
        pictures = torch.from_numpy(self._pictures[chosen]).permute(0, 3, 1, 2).float() / 255
        return pictures, torch.from_numpy(self._concepts[chosen])


class Trainer:
    """The towers, their optimiser and all randomness of a run."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rng = np.random.default_rng([recipe.seed, 1])
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.towers = initial_towers(recipe)
        self.average = copy.deepcopy(self.towers).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(2.3))
        parameters = [*self.towers.parameters(), self.scale]
        self.optimiser = torch.optim.AdamW(parameters, recipe.rate, weight_decay=0.02)

    def teach_words(self, steps: int) -> None:
        """Let the text tower tell the concepts apart by itself; images then have something firm to aim at."""
        optimiser = torch.optim.AdamW(self.towers["text"].parameters(), self.recipe.rate)
        for _ in range(steps):
            loss = caption_loss(self._captions())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def step(self, number: int, bank: Bank) -> tuple[float, float]:
        """Make one update; return the loss and the share of attacked views that are named rightly."""
        done = number / self.recipe.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate * min(1.0, (number + 1) / 60) * (1 - done)
        pictures, concepts = bank.sample(self.rng, self.recipe.batch)
        x = views(pictures, VIEW, self.generator).contiguous(memory_format=torch.channels_last)
        photos = torch.nonzero(concepts == 0)[:, 0]
        partners = photos[torch.randint(len(photos), (len(concepts),), generator=self.generator)]
        captions = self._captions()
        x = self._attacked(x, captions.detach(), concepts, partners, done)
        embeddings = self.towers["image"](x)
        scale = self.scale.exp().clamp(max=_LARGEST_SCALE)
        loss = training_loss(embeddings, captions, concepts, partners, scale)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.towers.parameters(), 5.0)
        self.optimiser.step()
        self._follow(number)
        named = (embeddings.detach() @ nn.functional.normalize(captions.detach()[0], dim=1).T).argmax(1)
        return float(loss.detach()), float((named == concepts).float().mean())

    def _captions(self) -> Tensor:
        sentences = [s for _ in range(_CAPTION_SETS) for s in caption_of_each(self.rng)]
        embeddings: Tensor = self.towers["text"](*tokenize(sentences))
        return embeddings.reshape(_CAPTION_SETS, -1, embeddings.shape[1])

    def _attacked(self, x: Tensor, captions: Tensor, concepts: Tensor, partners: Tensor, done: float) -> Tensor:
        """The worst views near by: none at first, then in a growing radius, at last by two steps."""
        ramp = 1.0 if self.recipe.init else min(1.0, (done - _CLEAN) / (_FULL_RADIUS - _CLEAN))
        if ramp <= 0:
            return x
        image = self.towers["image"].requires_grad_(False)
        scale = self.scale.detach().exp().clamp(max=_LARGEST_SCALE)
        radius = self.recipe.radius * ramp * (0.4 + 0.6 * torch.rand(len(x), generator=self.generator))
        worse: Tensor = attack(
            x,
            lambda candidates: training_loss(image(candidates), captions, concepts, partners, scale),
            radius,
            2 if self.recipe.init or done > _TWO_STEPS else 1,
            self.generator,
        )
        image.requires_grad_(True)
        return worse

    def _follow(self, number: int) -> None:
        """Move the running average towards the weights, faster at the start."""
        decay = min(_AVERAGE, (number + 1) / (number + 10))
        with torch.no_grad():
            new = self.towers.state_dict()
            for name, mean in self.average.state_dict().items():
                if mean.is_floating_point():
                    mean.lerp_(new[name], 1 - decay)

    def save(self) -> None:
        """Write the averaged weights in half precision, by way of a temporary file."""
        path = self.recipe.out
        path.parent.mkdir(parents=True, exist_ok=True)
        state = self.average.state_dict().items()
        half = {name: tensor.half().contiguous() for name, tensor in state if tensor.is_floating_point()}
        temporary = path.with_suffix(".part")
        save_file(half, temporary)
        temporary.chmod(0o644)
        temporary.replace(path)


def initial_towers(recipe: Recipe) -> nn.ModuleDict:
    """Towers with random weights of the recipe's seed, or with those of the checkpoint to start from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        towers = nn.ModuleDict({"image": ImageTower(), "text": TextTower()})
    if recipe.init:
        towers.load_state_dict({name: tensor.float() for name, tensor in load_file(recipe.init).items()})
    towers["image"].to(memory_format=torch.channels_last)
    return towers


def train(recipe: Recipe) -> Iterator[tuple[int, float, float]]:
    """Train and save; yield the number, loss and accuracy of every step."""
    torch.set_num_threads(recipe.threads)
    with ProcessPoolExecutor(1, get_context("spawn"), Painter.start, (recipe.photos,)) as pool:
        bank, trainer = Bank(recipe, pool), Trainer(recipe)
        for _ in range(max(1, recipe.bank // _CHUNK // 3)):
            bank.receive()
        if not recipe.init:
            trainer.teach_words(_WORD_STEPS)
        for number in range(recipe.steps):
            if number % recipe.chunk_every == 0:
                bank.receive()
            yield (number, *trainer.step(number, bank))
            if (number + 1) % recipe.save_every == 0:
                trainer.save()
        trainer.save()
        pool.shutdown(cancel_futures=True)


def main() -> None:
    """Run the command line."""
    recipe = _parse()
    console = Console()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    with bar:
        task = bar.add_task("drawing", total=recipe.steps)
        losses: list[tuple[float, float]] = []
        for number, loss, accuracy in train(recipe):
            losses.append((loss, accuracy))
            bar.update(task, completed=number + 1, description=f"loss {loss:.3f}")
            if (number + 1) % 50 == 0:
                mean_loss, mean_accuracy = np.mean(losses, axis=0)
                console.log(f"step {number + 1}: loss {mean_loss:.3f}, attacked accuracy {mean_accuracy:.1%}")
                losses.clear()


def _parse() -> Recipe:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m clipstyler.pocket.train",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Recipe()
    for name, kind, text in (
        ("steps", int, "updates"),
        ("batch", int, "views in an update"),
        ("rate", float, "largest learning rate; falls linearly to 0"),
        ("radius", float, "largest L2 radius of the attack on a view of 72 x 72 pixels in [0, 1]"),
        ("bank", int, "pictures held in memory"),
        ("chunk-every", int, f"updates after which {_CHUNK} pictures are replaced"),
        ("seed", int, "of everything random"),
        ("threads", int, "of the optimisation"),
        ("save-every", int, "updates after which a checkpoint is written"),
        ("photos", Path, "folder with more photos to draw after"),
        ("init", Path, "checkpoint to start from instead of random weights"),
        ("out", Path, "where the weights go"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{text} (default: {value})")
    return Recipe(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
