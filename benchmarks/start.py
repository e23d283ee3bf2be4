"""Seconds to the first preview: the start in closed form beside 31 tints through all losses and 20 updates.

Examples
--------
    python -m benchmarks.start                         # pocket at 256 and 512 px: under two minutes on two cores
    python -m benchmarks.start --sizes 256 --texts fire "starry night" --json start.json

Everything that a warm process does between a request and its first picture is measured: the photo is decoded, the text
embedded, the network prepared. The reference is the earlier preparation in plain steps, which the library no longer
has. `again` is the same photo with another text, whose embedding and features are cached. `regret` says by how much the
loss of the tint that two stages choose exceeds that of the best of all 31: 0 % is the same choice.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch.nn import functional as F

import clipstyler
from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.step import PHOTO
from clipstyler.composition import Guide
from clipstyler.config import Start
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import guidance_of
from clipstyler.events import Preview
from clipstyler.imaging import decode_fitted
from clipstyler.optimization import Reuse, optimize
from clipstyler.photo_cache import PhotoCache
from clipstyler.preparation import WARM_UP_RATE, nearest_tint, tint_losses
from clipstyler.run_state import RunState
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler.tints import tints

TEXTS = ("fire", "starry night by vincent van gogh", "a sketch with black pencil")
UPDATES = 20
_CACHE_BYTES = 2**28


@dataclass(frozen=True)
class Row:
    """One line of the table: median seconds at one size over all texts, and the mean regret of the tint."""

    size: int
    reference_s: float
    ours_s: float
    again_s: float
    ratio: float
    regret: float


def spec_of(encoders: EncoderSet, text: str, size: int) -> StylizationSpec:
    """Return a draft of a size, without what the reference does itself."""
    request = SpecRequest(text, options={"size": size, "seed": 0}, previews={"every_steps": 10})
    return resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())


def first_preview_s(encoders: EncoderSet, photo: bytes, text: str, size: int, photos: PhotoCache) -> float:
    """Return the seconds from an encoded photo and a text to the first preview."""
    begun = time.perf_counter()
    spec = spec_of(encoders, text, size)
    picture = decode_fitted(photo, size, spec.config.enlarge)
    events = optimize(picture, spec, encoders, reuse=Reuse(photos=photos))
    next(event for event in events if isinstance(event, Preview))
    return time.perf_counter() - begun


def random_start(encoders: EncoderSet, photo: bytes, text: str, size: int) -> RunState:
    """Return a run with random weights that was not prepared."""
    spec = spec_of(encoders, text, size)
    guidance = guidance_of(TorchEncoders(encoders), text, spec.source_text, spec.config.template_set).guidance
    guide = Guide.of(guidance, spec.config, encoders)
    picture = decode_fitted(photo, size, spec.config.enlarge)
    return RunState(picture, guide.direction, encoders, spec.config, spec.seed, guide.text)


def all_tint_losses(state: RunState) -> list[float]:
    """Return the loss of the photo in every tint."""
    return [float(loss) for loss in tint_losses(state, range(len(tints())))]


def reference_s(encoders: EncoderSet, photo: bytes, text: str, size: int) -> float:
    """Return the seconds of the earlier preparation: all tints through all losses, updates, and an image."""
    begun = time.perf_counter()
    state = random_start(encoders, photo, text, size)
    losses = all_tint_losses(state)
    height, width = state.canvas
    target = tints()[losses.index(min(losses))](state.photo[..., :height, :width])
    optimizer = torch.optim.Adam(state.net.parameters(), lr=WARM_UP_RATE)
    for _ in range(UPDATES):
        loss = F.l1_loss(state.render(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    state.render()
    state.picture()
    return time.perf_counter() - begun


def regret(encoders: EncoderSet, photo: bytes, text: str, size: int) -> float:
    """Return by how much the loss of the chosen tint exceeds the best one's, as a fraction."""
    state = random_start(encoders, photo, text, size)
    losses = all_tint_losses(state)
    search = nearest_tint(state)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return losses[int(end.value)] / min(losses) - 1


def measure(encoders: EncoderSet, photo: bytes, texts: list[str], size: int) -> Row:
    """Measure one size: both ways in turns, so that background load affects both alike."""
    plain, ours, again = [], [], []
    for text in texts:
        photos = PhotoCache(_CACHE_BYTES)
        ours.append(first_preview_s(encoders, photo, text, size, photos))
        again.append(first_preview_s(encoders, photo, f"{text}, at night", size, photos))
        plain.append(reference_s(encoders, photo, text, size))
    regrets = [regret(encoders, photo, text, size) for text in texts]
    plain_s, ours_s, again_s = (statistics.median(seconds) for seconds in (plain, ours, again))
    return Row(size, plain_s, ours_s, again_s, plain_s / ours_s, statistics.mean(regrets))


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table(title=f"Seconds to the first preview, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for heading in ("size", "31 tints, 20 updates", "closed form", "again", "times faster", "regret"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = (f"{value:.2f} s" for value in (row.reference_s, row.ours_s, row.again_s))
        table.add_row(f"{row.size} px", *seconds, f"{row.ratio:.1f}", f"{row.regret:.1%}")
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=at_least_one, default=[256, 512], help="default: 256 512")
    parser.add_argument("--texts", nargs="+", default=list(TEXTS), metavar="TEXT", help="default: three looks")
    parser.add_argument("--photo", type=Path, default=PHOTO)
    figures.add_option(parser)
    arguments = parser.parse_args()
    encoders = clipstyler.load_encoders("pocket")
    assert encoders.calibration.start is Start.PHOTO
    photo = arguments.photo.read_bytes()
    first_preview_s(encoders, photo, "warm", min(arguments.sizes), PhotoCache(0))
    rows = [measure(encoders, photo, arguments.texts, size) for size in arguments.sizes]
    print_table(rows)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, torch.get_num_threads())


if __name__ == "__main__":
    main()
