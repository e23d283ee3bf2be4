"""Draw photos that no style has seen in every bundled style, and let the independent judge name what each shows.

Every bundled style was fitted once, to a few other photos. Styles whose text the judge does not know are left out.

Examples
--------
    python -m training fetch --out data
    python -m benchmarks.style_verdicts --data data --cache cache                # twenty photos
    python -m benchmarks.style_verdicts --data data --cache cache --json style-verdicts.json --sheet sheet.jpg
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one, output_folder, picture_file
from clipstyler.imaging import Picture, decode
from clipstyler.style import Style, load_style
from clipstyler.style_library import bundled_styles
from training.judge.looks import TEXTS
from training.judge.network import Judge
from training.judge.training import Recipe, trained
from training.judge.verdict import verdict
from training.pocket.photos import FITTED
from training.styles import drawn, sheet


@dataclass(frozen=True)
class Row:
    """One style: of how many photos the judge named its text, and what it named the others."""

    text: str
    photos: int
    right: int
    mistaken_for: dict[str, int]


def unseen(data: Path, count: int) -> list[Path]:
    """Return so many of the test photos, evenly chosen by their names, without those that styles were fitted to."""
    paths = sorted((data / "photos" / "test").glob("*.jpg"))
    count = min(count, len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    return [path for path in chosen if path.stem not in FITTED]


def known_styles() -> list[Style]:
    """Return the bundled styles whose texts the judge knows."""
    styles = [load_style(style.data()) for style in bundled_styles()]
    return [style for style in styles if style.description.style_text.lower() in TEXTS]


def judged(judge: Judge, text: str, pictures: Sequence[Picture]) -> Row:
    """Name what each picture shows."""
    names = Counter(TEXTS[int(verdict(judge, _tensor(picture)).argmax())] for picture in pictures)
    right = names.pop(text.lower(), 0)
    return Row(text, len(pictures), right, dict(names.most_common()))


def _tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(picture.rgb.copy()).permute(2, 0, 1).float() / 255


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows for people."""
    table = Table("style", "named right", "mistaken for")
    for row in rows:
        others = ", ".join(f"{name} {count}" for name, count in row.mistaken_for.items())
        table.add_row(row.text, f"{row.right} of {row.photos}", others)
    table.add_row("all", f"{_share(rows):.1%}", "")
    figures.show(table)


def _share(rows: Sequence[Row]) -> float:
    return sum(row.right for row in rows) / sum(row.photos for row in rows)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.style_verdicts",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that `python -m training fetch` filled")
    parser.add_argument("--cache", type=output_folder, required=True, help="folder that keeps the trained judge")
    parser.add_argument("--photos", type=at_least_one, default=20, help="test photos (default: %(default)s)")
    parser.add_argument(
        "--size", type=at_least_one, default=256, help="longest side of the results (default: %(default)s)"
    )
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--sheet", type=picture_file, help="lay all results out here, to be looked at")
    figures.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    judge = trained(options.data, options.cache, Recipe())
    paths = unseen(options.data, options.photos)
    photos = [decode(path.read_bytes()) for path in paths]
    rows, strips = [], [("photos", photos)]
    for style in known_styles():
        text = style.description.style_text
        pictures = [drawn(style, photo, output_size=options.size) for photo in photos]
        rows.append(judged(judge, text, pictures))
        strips.append((f"{text}: {rows[-1].right} of {len(photos)} named right", pictures))
    print_table(rows)
    if options.sheet:
        sheet(strips).save(options.sheet, quality=85)
    found = {"size": options.size, "photos": [path.stem for path in paths], "named_right": _share(rows)}
    figures.write(options.json, found | {"styles": [asdict(row) for row in rows]}, threads=options.threads)


if __name__ == "__main__":
    main()
