"""Stylize six photos by twenty texts, lay them out, and let the independent judge name what each shows.

Every cell is kept: an interrupted run resumes. Cells belong to the encoders, their calibration and the options.

Examples
--------
  python -m training fetch --out data
  python -m benchmarks.pocket_sheet --data data --cache cache --out out/sheet
  python -m benchmarks.pocket_sheet --data data --cache cache --out out/try --texts fire gold --photos coffee
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from clipstyler_cli.labels import label
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy import ndimage
from skimage.metrics import structural_similarity

import clipstyler
from benchmarks.arguments import at_least_one, output_folder
from benchmarks.kept import digest_of_work, resolved
from clipstyler.config import PRESETS, Preset
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.registry import load
from training.judge.drawing import Array, luminance
from training.judge.looks import TEXTS
from training.judge.network import Judge
from training.judge.training import Recipe, trained
from training.judge.verdict import verdict
from training.pocket.sources import SHEET

TILE, GAP, CAPTION, LINE, MARGIN = 192, 6, 22, 19, 170
STRUCTURE_KEPT = 0.4
"""Structure similarity of edges from which on a photo counts as kept."""


class Cell(NamedTuple):
    """One photo by one text: files of the photo and of the result."""

    photo: Path
    text: str
    result: Path


def cells(photos: Sequence[Path], texts: Sequence[str], folder: Path) -> Iterator[Cell]:
    """Every photo by every text."""
    for text in texts:
        for photo in photos:
            yield Cell(photo, text, folder / photo.stem / f"{text.replace(' ', '-')}.png")


def draw(missing: Sequence[Cell], encoders: EncoderSet, options: Mapping[str, Any], console: Console) -> None:
    """Stylize the missing cells."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("stylizing", total=len(missing))
        for cell in missing:
            progress.update(task, description=f"{cell.text} / {cell.photo.stem}")
            picture = clipstyler.stylize(cell.photo, cell.text, encoders=encoders, **options).result().image
            cell.result.parent.mkdir(parents=True, exist_ok=True)
            partial = cell.result.with_suffix(".partial")
            Image.fromarray(picture.rgb).save(partial, "PNG")
            partial.replace(cell.result)
            progress.advance(task)


def opened(path: Path) -> Array:
    """A picture as float32 (H, W, 3) in [0, 1]."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def structure_similarity(photo: Array, result: Array) -> float:
    """How much of a photo's structure a result keeps: the mean SSIM of their luminance edges, at most 1.

    Edges are Sobel magnitudes of the slightly blurred luminance, divided by their 99th percentile.
    """
    return float(structural_similarity(_edges(photo), _edges(result), data_range=1.0))


def _edges(picture: Array) -> Array:
    blurred = ndimage.gaussian_filter(luminance(picture), 1.0)
    strength = np.hypot(ndimage.sobel(blurred, 0), ndimage.sobel(blurred, 1))
    kept: Array = np.clip(strength / max(float(np.percentile(strength, 99)), 1e-6), 0, 1)
    return kept


def judged(judge: Judge, cell: Cell) -> dict[str, Any]:
    """The judge's three best texts for a cell, whether the first is right, and the remaining structure."""
    result = opened(cell.result)
    height, width = result.shape[:2]
    photo = np.asarray(Image.open(cell.photo).convert("RGB").resize((width, height)), np.float32) / 255
    shares = verdict(judge, torch.from_numpy(result).permute(2, 0, 1)).exp()
    best = [
        {"text": TEXTS[i], "share": round(float(shares[i]), 3)} for i in shares.argsort(descending=True)[:3].tolist()
    ]
    return {
        "photo": cell.photo.stem,
        "text": cell.text,
        "right": best[0]["text"] == cell.text,
        "best": best,
        "structure": round(structure_similarity(photo, result), 3),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares over all cells and by text."""
    texts = dict.fromkeys(row["text"] for row in rows)
    return {
        "cells": len(rows),
        "named right": sum(row["right"] for row in rows) / len(rows),
        "structure kept": sum(row["structure"] >= STRUCTURE_KEPT for row in rows) / len(rows),
        "mean structure": sum(row["structure"] for row in rows) / len(rows),
        "by text": {text: [row["right"] for row in rows if row["text"] == text].count(True) for text in texts},
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The judge's table: a row for each text, a column for each photo."""
    photos = list(dict.fromkeys(row["photo"] for row in rows))
    found = {(row["text"], row["photo"]): row for row in rows}
    whole = summary(rows)
    lines = [
        f"Named right: {whole['named right']:.1%} of {whole['cells']}; structure of at least {STRUCTURE_KEPT}: "
        f"{whole['structure kept']:.1%} (mean {whole['mean structure']:.2f}).",
        "",
        "| text | " + " | ".join(photos) + " |",
        "| --- |" + " --- |" * len(photos),
    ]
    for text in dict.fromkeys(row["text"] for row in rows):
        marks = [_mark(found[text, photo]) for photo in photos if (text, photo) in found]
        lines.append(f"| {text} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def _mark(row: dict[str, Any]) -> str:
    named = "yes" if row["right"] else row["best"][0]["text"]
    return f"{named} {row['best'][0]['share']:.0%}, {row['structure']:.2f}"


def layout(photos: Sequence[Path], texts: Sequence[str], folder: Path) -> Image.Image:
    """Lay the cells out: a row for each text, a column for each photo, the photos on top."""
    size = (MARGIN + len(photos) * (TILE + GAP), (len(texts) + 1) * (TILE + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, text in enumerate(["photo", *texts]):
        top = row * (TILE + GAP) + TILE // 2 - CAPTION
        for number, line in enumerate(text.replace(" by ", "\nby ").replace(" with ", "\nwith ").split("\n")):
            label(line, 15, MARGIN - GAP).draw(pen, (GAP, top + number * LINE), "#1c1c1e")
        for column, photo in enumerate(photos):
            path = photo if row == 0 else next(cells([photo], [text], folder)).result
            tile = ImageOps.fit(Image.open(path).convert("RGB"), (TILE, TILE))
            sheet.paste(tile, (MARGIN + column * (TILE + GAP), row * (TILE + GAP)))
    return sheet


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pocket_sheet",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that `python -m training fetch` filled")
    parser.add_argument("--cache", type=output_folder, required=True, help="folder that keeps the trained judge")
    parser.add_argument("--out", type=output_folder, required=True, help="folder for cells, sheet and tables")
    parser.add_argument("--texts", nargs="+", choices=TEXTS, metavar="TEXT", default=TEXTS)
    parser.add_argument("--photos", nargs="+", default=SHEET, help="stems of test photos (default: the six)")
    parser.add_argument("--encoders", default="pocket")
    parser.add_argument("--preset", type=Preset, default=Preset.DRAFT)
    parser.add_argument("--steps", type=at_least_one, help="default: the preset's")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=at_least_one, default=1, help="of torch (default: 1)")
    options = parser.parse_args(arguments)
    options.photos = [options.data / "photos" / "test" / f"{stem}.jpg" for stem in options.photos]
    if missing := [str(path) for path in options.photos if not path.is_file()]:
        parser.error(f"--photos: there is no {', '.join(missing)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = parsed(arguments), Console()
    torch.set_num_threads(options.threads)
    encoders = load(options.encoders)
    work = {"preset": options.preset, "seed": options.seed} | ({"steps": options.steps} if options.steps else {})
    made = work | {"output_size": PRESETS[options.preset].size}
    name = "-".join(map(str, work.values()))
    folder = options.out / f"cells-{name}-{digest_of_work(resolved('any look', made, encoders), encoders)}"
    wanted = list(cells(options.photos, options.texts, folder))
    judge = trained(options.data, options.cache, Recipe())
    draw([cell for cell in wanted if not cell.result.exists()], encoders, made, console)
    rows = [judged(judge, cell) for cell in wanted]
    layout(options.photos, options.texts, folder).save(options.out / "sheet.jpg", quality=88, optimize=True)
    told = {"encoders": encoders.clip.digest, **work, **summary(rows)}
    (options.out / "verdicts.json").write_text(json.dumps({**told, "verdicts": rows}, indent=1) + "\n")
    (options.out / "verdicts.md").write_text(markdown(rows))
    console.print(markdown(rows), highlight=False, markup=False)


if __name__ == "__main__":
    main()
