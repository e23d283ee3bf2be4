"""Train the `pocket` towers robustly on pictures that this project draws itself.

Examples
--------
  python -m training train --data data --targets targets.npz --out pocket.safetensors
  python -m training train --steps 500 --init pocket.safetensors --rate 0.0005 --out finer.safetensors
  python -m training train --steps 20 --bank 512 --out /tmp/try.safetensors      (a quick trial)

`training.pocket.fetch` makes the data folder, `training.pocket.teacher` the targets; without them a run knows the
bundled photos and the vocabulary's wordings only.

The same options and seed, on the same processor and library versions with one thread, give the same weights.
"""

from __future__ import annotations

import argparse
import copy
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.tokenizer import tokenize
from clipstyler.pocket.towers import VIEW, ImageTower, TextTower
from training.outputs import check_output
from training.pocket.augment import views
from training.pocket.captions import CaptionSampler, gibberish
from training.pocket.dataset import SIDE, Chunk, ImageGenerator
from training.pocket.generators.noise import Array
from training.pocket.modifiers import MODIFIERS
from training.pocket.objective import attack, caption_loss, training_loss, word_loss
from training.pocket.teacher import load_targets

_CAPTION_SETS = 2
_WORDS = 48  # of the targets in an update
_GIBBERISH = 8
_SHARE_MODIFIED = 0.3
_SMALLEST_CHANGE = 0.07  # of the mean pixel; a modifier that does less leaves the picture what it was
# Parts of the run: without an attack until, radius full from, two steps of attack from. A run that starts from a
# checkpoint begins with this share of the radius.
_CLEAN, _FULL_RADIUS, _TWO_STEPS = 0.12, 0.7, 0.7
_STARTED = 0.6
_NO_STYLES = ("noise", "haze")  # stay what they are in any color
_AVERAGE = 0.997  # decay of the running average of the weights, which is what is saved
_LARGEST_SCALE = 20.0


@dataclass(frozen=True)
class Recipe:
    """Options of a training run; the command line's help explains them."""

    steps: int = 5000
    batch: int = 56
    rate: float = 2e-3
    radius: float = 3.5
    bank: int = 12288
    chunk: int = 256
    word_steps: int = 1500
    chunk_every: int = 12
    seed: int = 0
    threads: int = 1
    workers: int = 1
    save_every: int = 200
    data: Path | None = None
    targets: Path | None = None
    image_from: Path | None = None
    init: Path | None = None
    out: Path = Path("pocket.safetensors")


_OPTIONS = (
    ("steps", int, "updates"),
    ("batch", int, "views in an update"),
    ("rate", float, "largest learning rate; falls linearly to 0"),
    ("radius", float, "largest L2 radius of the attack on a view of 72 x 72 pixels in [0, 1]"),
    ("bank", int, "pictures held in memory"),
    ("chunk", int, "pictures drawn at a time"),
    ("word-steps", int, "updates of the text tower by itself, before"),
    ("chunk-every", int, "updates after which a chunk of them is replaced"),
    ("seed", int, "of everything random"),
    ("threads", int, "of the optimization"),
    ("workers", int, "worker processes that generate images; their number does not change the images"),
    ("save-every", int, "updates after which a checkpoint is written"),
    ("data", Path, "folder with photos and textures to draw after"),
    ("targets", Path, "distillation targets of the sentence-embedding model"),
    ("image-from", Path, "checkpoint whose image tower, or the part of it that fits, is started from"),
    ("init", Path, "checkpoint to start from instead of random weights"),
    ("out", Path, "where the weights go"),
)


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
        self._pending.append(
            self._pool.submit(ImageGenerator.paint, self._recipe.seed, self._ordered, self._recipe.chunk)
        )
        self._ordered += 1

    def receive(self) -> None:
        """Wait for the next chunk and put it into the place of the oldest."""
        self._order()
        pictures, concepts = self._pending.popleft().result()
        places = (self._received * self._recipe.chunk + np.arange(self._recipe.chunk)) % self._recipe.bank
        self._pictures[places], self._concepts[places] = pictures, concepts
        self._received += 1

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Array, Tensor]:
        """Draw pictures, float32 (count, SIDE, SIDE, 3) in [0, 1], and their concepts; the first two are photos."""
        filled = min(self._received * self._recipe.chunk, self._recipe.bank)
        chosen = rng.integers(0, filled, count)
        chosen[:2] = rng.choice(np.flatnonzero(self._concepts[:filled] == 0), 2)
        return self._pictures[chosen].astype(np.float32) / 255, torch.from_numpy(self._concepts[chosen])


class Batch(NamedTuple):
    """Views, the number of the caption of each, for each the number of a view that is a photo, captions' embeddings.

    The captions are sets of one for every concept and one for every picture in other colors, as `training_loss`
    takes them.
    """

    views: Tensor
    named: Tensor
    partners: Tensor
    captions: Tensor


class Trainer:
    """The towers, their optimizer and all randomness of a run."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rng = np.random.default_rng([recipe.seed, 1])
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.targets = load_targets(recipe.targets) if recipe.targets else None
        self.sampler = CaptionSampler(self.targets.subjects() if self.targets else ())
        # Channels last: the same sums in another order, a sixth faster on two cores.
        self.towers = initial_towers(recipe).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.towers).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(2.3))
        parameters = [*self.towers.parameters(), self.scale]
        self.optimizer = torch.optim.AdamW(parameters, recipe.rate, weight_decay=0.02)

    def teach_words(self, steps: int) -> None:
        """Train the text tower alone to separate the concepts, so that images have stable targets."""
        optimizer = torch.optim.AdamW(self.towers["text"].parameters(), self.recipe.rate)
        for _ in range(steps):
            captions = self.captions(self._modifications(_GIBBERISH))
            loss = caption_loss(captions) + self.distillation_loss(captions[0])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    def step(self, number: int, bank: Bank) -> tuple[float, float]:
        """Make one update; return the loss and the share of attacked views that are named rightly."""
        done = number / self.recipe.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * min(1.0, (number + 1) / 60) * (1 - done)
        batch = self._batch(bank)
        batch = batch._replace(views=self._attacked(batch, done))
        embeddings = self.towers["image"](batch.views)
        scale = self.scale.exp().clamp(max=_LARGEST_SCALE)
        loss = training_loss(embeddings, batch.captions, batch.named, batch.partners, scale)
        loss = loss + self.distillation_loss(batch.captions[0])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.towers.parameters(), 5.0)
        self.optimizer.step()
        self.follow(number)
        found = (embeddings.detach() @ nn.functional.normalize(batch.captions.detach()[0], dim=1).T).argmax(1)
        return float(loss.detach()), float((found == batch.named).float().mean())

    def _batch(self, bank: Bank) -> Batch:
        pictures, concepts = bank.sample(self.rng, self.recipe.batch)
        named = concepts.clone()
        modifications: list[tuple[str, str]] = []
        for i in self.rng.permutation(np.arange(2, len(pictures)))[: round(_SHARE_MODIFIED * len(pictures))]:
            concept, modifier = known_concepts()[int(concepts[i])], self.modifier()
            changed = modified(self.rng, pictures[i], concept, modifier)
            if changed is not None:
                pictures[i], named[i] = changed, len(known_concepts()) + len(modifications)
                modifications.append((concept, modifier))
        photos = torch.nonzero(named == 0)[:, 0]
        partners = photos[torch.randint(len(photos), (len(named),), generator=self.generator)]
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        return Batch(views(x, VIEW, self.generator), named, partners, self.captions(modifications))

    def modifier(self) -> str:
        """Draw the name of a modifier."""
        return list(MODIFIERS)[self.rng.integers(len(MODIFIERS))]

    def _modifications(self, count: int) -> list[tuple[str, str]]:
        chosen = self.rng.integers(len(known_concepts()), size=count)
        return list({(known_concepts()[i], self.modifier()): None for i in chosen})

    def captions(self, modifications: Sequence[tuple[str, str]]) -> Tensor:
        """Embed sets of a caption for every concept, and one for every modified concept: (sets, captions, D)."""
        sentences: list[str] = []
        for _ in range(_CAPTION_SETS):
            sentences += self.sampler.caption_of_each(self.rng)
            sentences += [self.sampler.modified(*modification, self.rng) for modification in modifications]
        embeddings: Tensor = self.towers["text"](*_tokens(sentences))
        return embeddings.reshape(_CAPTION_SETS, -1, embeddings.shape[1])

    def distillation_loss(self, captions: Tensor) -> Tensor:
        """What the teacher says of other words, and which of all sentences are about something known."""
        if self.targets is None:
            return captions.new_zeros(())
        words, targets, known = self.targets.sample(self.rng, _WORDS)
        count = len(known_concepts())
        sentences = [
            *words,
            *(gibberish(self.rng) for _ in range(_GIBBERISH)),
            *self.sampler.caption_of_each(self.rng),
        ]
        tokens = _tokens(sentences)
        expected = torch.from_numpy(np.concatenate([known, np.zeros(_GIBBERISH), np.ones(count)])).float()
        text = cast("TextTower", self.towers["text"])
        knowing = nn.functional.binary_cross_entropy_with_logits(text.confidence(*tokens), expected)
        embeddings = text(*(part[:_WORDS] for part in tokens))
        return word_loss(embeddings, captions[:count], torch.from_numpy(targets).float()) + knowing

    def _attacked(self, batch: Batch, done: float) -> Tensor:
        """The worst views near by: none at first, then in a growing radius, at last by two steps."""
        started = self.recipe.init or self.recipe.image_from
        ramp = _STARTED + (1 - _STARTED) * done / _FULL_RADIUS if started else (done - _CLEAN) / (_FULL_RADIUS - _CLEAN)
        ramp = min(1.0, ramp)
        if ramp <= 0:
            return batch.views
        image = self.towers["image"].requires_grad_(False)
        scale = self.scale.detach().exp().clamp(max=_LARGEST_SCALE)
        captions = batch.captions.detach()
        # Uniform over a disc's area rather than over its radius: small attacks are soon learned, large ones are not.
        radius = self.recipe.radius * ramp * torch.rand(len(batch.views), generator=self.generator).sqrt()
        worse: Tensor = attack(
            batch.views,
            lambda candidates: training_loss(image(candidates), captions, batch.named, batch.partners, scale),
            radius,
            2 if done > _TWO_STEPS else 1,
            self.generator,
        )
        image.requires_grad_(True)
        return worse

    def follow(self, number: int) -> None:
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


def modified(rng: np.random.Generator, picture: Array, concept: str, modifier: str) -> Array | None:
    """Change a picture's colors or light; None where that leaves it what it was."""
    changed = MODIFIERS[modifier](rng, picture)
    is_other = concept not in _NO_STYLES and np.abs(changed - picture).mean() > _SMALLEST_CHANGE
    return changed if is_other else None


def initial_towers(recipe: Recipe) -> nn.ModuleDict:
    """Towers with random weights of the recipe's seed, or with those of the checkpoint to start from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        towers = nn.ModuleDict({"image": ImageTower(), "text": TextTower()})
    if recipe.init:
        towers.load_state_dict(_weights(recipe.init))
    elif recipe.image_from:
        known = {name: tensor for name, tensor in _weights(recipe.image_from).items() if name.startswith("image.")}
        if towers.load_state_dict(known, strict=False).unexpected_keys:
            raise ValueError(f"{recipe.image_from} holds another image tower")
    return towers


def _tokens(sentences: Sequence[str]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, tokenize(sentences)))


def _weights(path: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def train(recipe: Recipe) -> Iterator[tuple[int, float, float]]:
    """Train and save; yield the number, loss and accuracy of every step."""
    torch.set_num_threads(recipe.threads)
    with ProcessPoolExecutor(recipe.workers, get_context("spawn"), ImageGenerator.start, (recipe.data,)) as pool:
        bank, trainer = Bank(recipe, pool), Trainer(recipe)
        for _ in range(max(1, recipe.bank // recipe.chunk // 3)):
            bank.receive()
        if not recipe.init:
            trainer.teach_words(recipe.word_steps)
        for number in range(recipe.steps):
            if number % recipe.chunk_every == 0:
                bank.receive()
            yield (number, *trainer.step(number, bank))
            if (number + 1) % recipe.save_every == 0:
                trainer.save()
        trainer.save()
        pool.shutdown(cancel_futures=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    recipe = parse(arguments, "train", __doc__, Recipe())
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


def parse(
    arguments: Sequence[str] | None, tool: str, doc: str | None, default: Recipe, but: Collection[str] = ()
) -> Recipe:
    """Read a recipe from the command line of a tool; the options `but` are not offered."""
    purpose, _, examples = (doc or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        f"python -m training {tool}",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind, text in _OPTIONS:
        if name not in but:
            value = getattr(default, name.replace("-", "_"))
            parser.add_argument(f"--{name}", type=kind, default=value, help=f"{text} (default: {value})")
    recipe = replace(default, **vars(parser.parse_args(arguments)))
    inputs = [path for path in (recipe.targets, recipe.image_from, recipe.init) if path]
    check_output(parser, recipe.out, inputs=inputs)
    return recipe


if __name__ == "__main__":
    main()
