"""How a run begins: the tint nearest to the text, the network that shows the photo in it, and warm-up updates."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.config import Start, StylizeConfig
from clipstyler.losses import directional_loss
from clipstyler.run_state import RunState, embedded
from clipstyler.starting import show
from clipstyler.tints import tints

SHORTLIST = 5  # tints that go through all losses, of those with the best global views
WARM_UP_RATE = 2e-3  # of Adam; the photo is learned in a dozen steps at a rate too high for styles


def prepare(run: RunState) -> Generator[None, None, None]:
    """Bring a run's network to its start, whose image its `picture` then returns; its optimizer is left untouched.

    Yields after each of its `preparation_parts`: none takes longer than a step.
    """
    if _needs_tint(run.config):
        nearest = yield from nearest_tint(run)
        target = tints()[nearest](run.on_canvas(run.photo))
        if run.config.start is Start.PHOTO:
            run.output = run.on_canvas(show(run.net, run.input, target, banded=run.is_banded))
        yield from _warm_up(run, target)
    if run.output is None or run.config.warm_up:
        with torch.no_grad():
            run.render()
    yield


def preparation_parts(config: StylizeConfig, runs: int = 1) -> int:
    """Return how many parts the preparation of so many runs has.

    They are the texts, the photo, and of each run those of `prepare`: the search for a tint, the warm-up
    steps, and the start picture.
    """
    search = 1 + SHORTLIST if _needs_tint(config) else 0
    return 2 + runs * (search + config.warm_up + 1)


def nearest_tint(run: RunState) -> Generator[None, None, int]:
    """Find the tint nearest to the text: all of them by their global views, then the best of these by all losses.

    Yields after each part of the search; returns the tint's number in `clipstyler.tints.tints`.
    """
    best: list[int] = _tint_scores(run).topk(SHORTLIST, largest=False).indices.sort().values.tolist()
    yield
    on_device = []
    for loss in tint_losses(run, best):
        on_device.append(loss)
        yield
    losses: list[float] = torch.stack(on_device).tolist()
    return best[losses.index(min(losses))]


def _tint_scores(run: RunState) -> Tensor:
    """Return what the loss of each tint would be if the global view were the only patch, (tints,)."""
    config, seen = run.config, run.seen.tints()
    directional = directional_loss(seen.embeddings, run.content_embedding, run.direction)
    patch = run.with_text(directional, seen.embeddings)
    whole = config.weight_direction * directional + config.weight_patch * patch
    return whole + config.weight_content * seen.contents


def tint_losses(run: RunState, numbers: Sequence[int]) -> Iterator[Tensor]:
    """Yield the loss of the photo in each of some tints, all seen through the same patches; it stays on the device.

    The run's generator is left as it was.
    """
    before = run.generator.get_state()
    choice = run.choose_views().to(run.encoders.device)
    run.generator.set_state(before)
    candidates = tints()
    for number in numbers:
        with torch.no_grad():
            image = candidates[number](run.on_canvas(run.photo))
            terms = run.clip_terms(embedded([run], run.views(image, choice)))
            loss = run.total(terms, run.content_term(image), run.variation_term(image))
        yield loss


def _warm_up(run: RunState, target: Tensor) -> Iterator[None]:
    """Learn to reproduce a picture; yields after every step."""
    optimizer = torch.optim.Adam(run.net.parameters(), lr=WARM_UP_RATE)
    for _ in range(run.config.warm_up):
        loss = F.l1_loss(run.render(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield
    run.optimizer.zero_grad(set_to_none=True)


def _needs_tint(config: StylizeConfig) -> bool:
    return config.start is Start.PHOTO or config.warm_up > 0
