"""Regions that stay or have a text of their own: the rest beside that of a run without a region.

Examples
--------
    python -m benchmarks.regions                                  # drafts: ten minutes on two cores
    python -m benchmarks.regions --size 192 --steps 30 --output-size 384 --sheet regions.jpg --json regions.json

Every photo of `examples/` has one region. For each text three runs with the same seed are compared: without a region,
with one that stays, and with a second text in it. The result without a region is joined with the photo along the region
by the same rule before it is measured, so that both pictures differ in the rest only: the quality report (`patch` and
`global` are similarities of directions, `content` the distance of features, `ssim` the structure) then says whether the
rest looks the same. `kept` is the largest difference from the photo within the region, of 255. `named` is the share of
parts of results with two texts that zero-shot classification finds nearer to their own text than to the other's.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import clipstyler
from benchmarks import figures
from benchmarks.arguments import at_least_one, picture_file
from benchmarks.gallery import ROOT, layout
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.inference import image_of, l2_normalize
from clipstyler.encoders.onnx.preprocess import views
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.metrics import evaluate
from clipstyler.evaluation.quality import QualityReport
from clipstyler.evaluation.text_directions import embed_text, text_guidance
from clipstyler.imaging import Picture, decode, fit
from clipstyler.masking import join, select
from clipstyler.region import Box, Region

PHOTOS: Mapping[str, Box] = {
    "astronaut.jpg": Box(0.28, 0.02, 0.34, 0.36),
    "cat.jpg": Box(0.24, 0.08, 0.52, 0.62),
    "coffee.jpg": Box(0.28, 0.12, 0.52, 0.72),
}
"""The region of each photo: what it shows."""
TEXTS = ("fire", "a sketch with black pencil", "starry night by Vincent van Gogh")
SECOND = "gold"
MEASURES = ("patch_similarity", "global_similarity", "content_distance", "ssim")


@dataclass(frozen=True)
class Row:
    """One photo and text: quality of the rest without and with a region, what stays, and whether parts are named."""

    photo: str
    text: str
    without: QualityReport
    kept: QualityReport
    largest_difference: int
    named: tuple[bool, bool]


def oval(box: Box, width: int, height: int) -> Picture:
    """Draw the ellipse in a box, as a mask that a person might draw."""
    y, x = np.mgrid[:height, :width] + 0.5
    across = (x / width - box.x - box.width / 2) / (box.width / 2)
    down = (y / height - box.y - box.height / 2) / (box.height / 2)
    return Picture(np.repeat(((across**2 + down**2 <= 1) * 255)[..., None], 3, axis=2).astype(np.uint8))


def is_nearer(picture: Picture, box: Box, own: str, other: str, encoders: TorchEncoders, template_set: str) -> bool:
    """Return whether the middle of a part of a picture, in a box, is nearer to one text than to the other."""
    rows, columns = (
        slice(round((start + side / 6) * length), round((start + side * 5 / 6) * length))
        for start, side, length in ((box.y, box.height, picture.height), (box.x, box.width, picture.width))
    )
    view = views(image_of(np.ascontiguousarray(picture.rgb[rows, columns])), encoders.image_size)
    embedding = l2_normalize(encoders.encode_image(view))[0]
    return bool(
        embedding @ embed_text(encoders, own, template_set) > embedding @ embed_text(encoders, other, template_set)
    )


def rest_of(box: Box) -> Box:
    """Return the largest box beside, above or below a region."""
    beside = (
        Box(0, 0, box.x, 1),
        Box(box.x + box.width, 0, 1 - box.x - box.width, 1),
        Box(0, 0, 1, box.y),
        Box(0, box.y + box.height, 1, 1 - box.y - box.height),
    )
    return max(beside, key=lambda found: found.width * found.height)


def compared(name: str, text: str, encoders: EncoderSet, options: Any) -> tuple[Row, list[Picture]]:
    """Stylize a photo by a text in three ways; returns the measurements, and the pictures at the photo's size."""
    photo, box = decode((ROOT / "examples" / name).read_bytes()), PHOTOS[name]
    photo = fit(photo, options.get("output_size", max(photo.width, photo.height)))
    mask = oval(box, photo.width, photo.height)
    region = clipstyler.Region(mask=mask)

    def result(chosen: clipstyler.Region | None) -> Picture:
        return clipstyler.stylize(photo, text, region=chosen, encoders=encoders, **options).result().image

    plain, kept, two = result(None), result(region), result(clipstyler.Region(mask=mask, text=SECOND))
    resolved, levels = Region(has_mask=True), mask.rgb[..., 0]
    joined = Picture(join(resolved, levels, photo.rgb, plain.rgb))
    inside = select(resolved, levels, (photo.width, photo.height))
    measuring, templates = TorchEncoders(encoders), encoders.calibration.template_set
    guidance = text_guidance(measuring, text, encoders.calibration.source_text, templates)
    difference = int(np.abs(kept.rgb[inside].astype(int) - photo.rgb[inside]).max())
    named = (
        is_nearer(two, box, SECOND, text, measuring, templates),
        is_nearer(two, rest_of(box), text, SECOND, measuring, templates),
    )
    reports = [evaluate(photo, picture, guidance, measuring) for picture in (joined, kept)]
    return Row(name, text, reports[0], reports[1], difference, named), [photo, mask, plain, kept, two]


def mean(rows: Sequence[Row], way: str, measure: str) -> float:
    """Return the mean of a measure over rows, `without` or with what is `kept`."""
    return statistics.fmean(getattr(getattr(row, way), measure) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="+", default=TEXTS)
    parser.add_argument("--steps", type=at_least_one)
    parser.add_argument("--size", type=at_least_one)
    parser.add_argument("--output-size", type=at_least_one)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument(
        "--sheet", type=picture_file, help="also draw one row per photo here, of the first, second, ... text"
    )
    figures.add_option(parser)
    arguments = parser.parse_args()
    encoders = clipstyler.load_encoders()
    asked = {name: getattr(arguments, name) for name in ("steps", "size", "output_size", "seed")}
    options = {name: value for name, value in asked.items() if value is not None}
    rows: list[Row] = []
    drawn = []
    for number, name in enumerate(track(PHOTOS, description="photos")):
        for place, text in enumerate(arguments.texts):
            row, pictures = compared(name, text, encoders, options)
            rows.append(row)
            if place == number % len(arguments.texts):
                drawn.append([fit(picture, 512) for picture in pictures])
    table = Table("the rest", "without a region", "region stays")
    for measure in MEASURES:
        table.add_row(measure, f"{mean(rows, 'without', measure):.3f}", f"{mean(rows, 'kept', measure):.3f}")
    console = Console()
    console.print(table)
    kept = max(row.largest_difference for row in rows)
    named = statistics.fmean(float(right) for row in rows for right in row.named)
    console.print(f"largest difference within the region: {kept} of 255; parts named right: {named:.0%}")
    means = {way: {measure: mean(rows, way, measure) for measure in MEASURES} for way in ("without", "kept")}
    figures.write(
        arguments.json,
        {"means": means, "largest_difference": kept, "named": named, "rows": [asdict(row) for row in rows]},
    )
    if arguments.sheet:
        captions = ["mask", "without a region", "region stays", f'region: "{SECOND}"']
        layout(captions, drawn).save(arguments.sheet, quality=88, optimize=True)


if __name__ == "__main__":
    main()
