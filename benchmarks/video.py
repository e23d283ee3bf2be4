"""How steady a stylized clip is: a camera pans and zooms over a photo, so that the motion is known exactly.

Four treatments of the same frames: each frame alone, as photos are; statistics fixed for the shot; noise that moves
with the video besides; and what is drawn carried along the motion too, as `clipstyler video` does. The warping error is
measured along the flow that is found in the source, as the command does, and along the exact one.

Examples
--------
    python -m benchmarks.video                                    # two styles: some minutes on two cores
    python -m benchmarks.video --styles fire --json video.json --sheet video.jpg
    python -m benchmarks.video --clip clip.mp4 && clipstyler video clip.mp4 fire.mp4 --style fire
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one, output_file, picture_file
from benchmarks.moving_clip import Camera, write_clip
from benchmarks.step import PHOTO
from clipstyler.imaging import Picture, decode
from clipstyler.openmp import spin_briefly
from clipstyler.sampling import evenly
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_library import bundled_styles
from clipstyler.video.motion import Motion
from clipstyler.video.shot_drawing import ShotDrawing
from clipstyler.video.steadiness import SteadinessMeter, warping_error

_MARGIN = 8  # px that the exact flow leaves out at the border, where frames have nothing to compare with
_ALMOST_NONE = 1e-9  # of steadiness: the noise moves, and nothing is carried
_CONTROLS = StyleControls()
_SHOWN = 6


@dataclass(frozen=True)
class Row:
    """One line of the table: how many times as large as the source's own the errors are."""

    style: str
    treatment: str
    warping_error: float
    source_warping_error: float
    warping_ratio: float | None
    exact_warping_ratio: float
    difference_ratio: float | None
    contrast: float


def treatments(style: LoadedStyle, key_frames: list[Picture], share: float) -> dict[str, Callable[[], Any]]:
    """Return what makes a function from frame to picture, by treatment."""

    def alone() -> Callable[[Picture], Picture]:
        return lambda frame: ended(apply_style(style, frame, _CONTROLS))

    def shot(steadiness: float) -> Callable[[Picture], Picture]:
        drawing = ShotDrawing(style, key_frames, _CONTROLS, steadiness)
        return lambda frame: ended(drawing.draw(frame))

    return {
        "each alone": alone,
        "fixed statistics": partial(shot, 0),
        "noise moves": partial(shot, _ALMOST_NONE),
        f"carried, {share}": partial(shot, share),
    }


def ended(events: Iterator[Any]) -> Any:
    """Run a generator to its end; returns its value."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def measure(name: str, treatment: str, camera: Camera, frames: list[Picture], results: list[Picture]) -> Row:
    """Compare results with the frames that they were made of."""
    meter = SteadinessMeter()
    for pair in zip(frames, results, strict=True):
        meter.add(*pair)
    found = meter.result()
    exact = [exact_error(camera, some) for some in (results, frames)]
    steps = [
        np.mean([np.abs(np.diff(shown.rgb.astype(float), axis=1)) for shown in some]) for some in (results, frames)
    ]
    return Row(
        name,
        treatment,
        found.warping_error,
        found.source_warping_error,
        found.warping_ratio,
        exact[0] / exact[1],
        found.difference_ratio,
        float(steps[0] / steps[1]),
    )


def exact_error(camera: Camera, pictures: list[Picture]) -> float:
    """Return the mean warping error along the exact motion."""
    inside = np.zeros((camera.height, camera.width), np.bool_)
    inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True
    errors = [
        warping_error(pictures[number], pictures[number - 1], Motion(camera.flow(number), inside))
        for number in range(1, camera.frames)
    ]
    return float(np.mean(errors))


def sheet(rows: dict[str, list[Picture]]) -> Image.Image:
    """Lay neighboring frames out, a treatment per row."""
    first = next(iter(rows.values()))[0]
    gap, caption = 6, 22
    height = first.height + caption + gap
    page = Image.new("RGB", (gap + _SHOWN * (first.width + gap), len(rows) * height + gap), "white")
    draw = ImageDraw.Draw(page)
    for row, (title, pictures) in enumerate(rows.items()):
        draw.text((gap, row * height + 4), title, fill="#1c1c1e", font=ImageFont.load_default(14))
        for column, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture.rgb), (gap + column * (first.width + gap), row * height + caption))
    return page


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.video", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [style.name for style in bundled_styles()]
    parser.add_argument("--styles", nargs="+", choices=names, default=["fire", "watercolor-painting"])
    parser.add_argument("--photo", type=Path, default=PHOTO, help="what the camera films (default: an example)")
    parser.add_argument("--seconds", type=float, default=5, help="of the clip (default: %(default)s)")
    parser.add_argument("--rate", type=at_least_one, default=12, help="frames per second (default: %(default)s)")
    parser.add_argument("--width", type=at_least_one, default=256, help="of a frame, 4:3 (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.9, help="of the frame before (default: %(default)s)")
    parser.add_argument(
        "--clip", type=output_file, help="only write the clip, with a tone, to this .mp4: for `clipstyler video`"
    )
    parser.add_argument("--sheet", type=picture_file, help="write neighboring frames of the first style here")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch (default: %(default)s)")
    figures.add_option(parser)
    options = parser.parse_args()
    if options.clip and options.width % 8:
        parser.error("--clip needs a --width that is a multiple of 8: both sides of a video are even")
    spin_briefly()
    torch.set_num_threads(options.threads)
    count = round(options.seconds * options.rate)
    camera = Camera(decode(options.photo.read_bytes()), options.width, options.width * 3 // 4, count)
    frames = list(camera.film())
    if options.clip:
        write_clip(options.clip, frames, options.rate, tone="aac")
        return
    styles = {style.name: style for style in bundled_styles()}
    rows: list[Row] = []
    shown = {"source": frames[count // 2 :: 2][:_SHOWN]}
    for name in options.styles:
        style = LoadedStyle.of(load_style(styles[name].data()))
        for treatment, make in treatments(style, evenly(frames, 3), options.share).items():
            draw = make()
            results = [draw(frame) for frame in track(frames, description=f"{name}, {treatment}")]
            rows.append(measure(name, treatment, camera, frames, results))
            if name == options.styles[0]:
                shown[f"{name}: {treatment}"] = results[count // 2 :: 2][:_SHOWN]
    ratio_names = ("ratio", "exact ratio", "difference ratio", "contrast")
    table = Table("style", "treatment", "warping error", "source's own", *ratio_names)
    for row in rows:
        values = [f"{value:.6f}" for value in (row.warping_error, row.source_warping_error)]
        ratios = (row.warping_ratio, row.exact_warping_ratio, row.difference_ratio, row.contrast)
        table.add_row(row.style, row.treatment, *values, *(f"{ratio or 0:.2f}" for ratio in ratios))
    figures.show(table)
    clip = {"photo": options.photo.name, "width": camera.width, "height": camera.height, "frames": count}
    figures.write(options.json, {"clip": clip, "treatments": [asdict(row) for row in rows]}, threads=options.threads)
    if options.sheet:
        sheet(shown).save(options.sheet, quality=85, optimize=True)


if __name__ == "__main__":
    main()
