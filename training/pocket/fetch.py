"""Fetch the real pictures that `pocket` is trained and judged on, from Debian packages: the repository holds none.

`sources.json` says which pictures of which package are what; `docs/pocket-data.md` lists packages and licenses.
Nothing is installed and nothing needs root; the packages are 2.1 GB in all and are kept.

Examples
--------
  python -m training fetch --out data
  python -m training fetch --out data --only ufoai-textures --packages /var/cache/debs
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn
from skimage import data
from sklearn.datasets import load_sample_image

from training.pocket import packages
from training.pocket.sources import Selection, sources, split_of, stem_of

PHOTO_SIDE, TEXTURE_SIDE = 480, 256
"""Longest sides in pixels."""
_SMALLEST = 150
"""A photo or cut-out whose shorter side has fewer pixels shows too little."""
_CUT_OUTS = "cut-outs"


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """As RGB, its longest side at most `side` pixels; what is transparent keeps its color."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def stamp_on(background: Image.Image, stamp: Image.Image) -> Image.Image:
    """Composite a cut-out on a photo out of focus, as a portrait lens would show it."""
    stamp = stamp.convert("RGBA")
    stamp.thumbnail((PHOTO_SIDE * 4 // 5, PHOTO_SIDE * 4 // 5), Image.Resampling.LANCZOS)
    side = max(stamp.size) * 5 // 4
    scene = ImageOps.fit(background.convert("RGB"), (side, side)).filter(ImageFilter.GaussianBlur(side / 24))
    scene.paste(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2), stamp)
    return scene


def bundled_photos() -> Iterator[tuple[str, Image.Image]]:
    """Names and photos that scikit-image and scikit-learn bring along."""
    for name in ("astronaut", "chelsea", "coffee", "rocket", "camera"):
        yield name, Image.fromarray(getattr(data, name)())
    yield "motorcycle", Image.fromarray(data.stereo_motorcycle()[0])
    for name in ("china", "flower"):
        yield name, Image.fromarray(np.asarray(load_sample_image(f"{name}.jpg")))


def sort_pictures(found: Iterable[tuple[str, bytes]], package: str, selection: Selection, out: Path) -> Iterator[Path]:
    """Write the selected ones of a package's pictures, paths and bytes, to where they belong below `out`.

    Yields
    ------
    Path
        Each photo that was written.
    """
    for name, content in found:
        place = selection.place(name)
        if place is None:
            continue
        image = packages.opened(name, content)
        if place.kind == "textures":
            stem = "-".join([package, PurePosixPath(name).parent.name, stem_of(name)])
            _save_png(shrunk(image, TEXTURE_SIDE), out / place.folder / f"{stem}.png")
        elif min(image.size) >= _SMALLEST and place.kind == "photos":
            yield save_photo(out, stem_of(name), image)
        elif min(image.size) >= _SMALLEST:
            _save_png(image.convert("RGBA"), out / _CUT_OUTS / f"{stem_of(name)}.png")


def save_photo(out: Path, stem: str, image: Image.Image) -> Path:
    """Write a photo, shrunk, into its split, and return where it is."""
    path = out / "photos" / split_of(stem) / f"{stem}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    shrunk(image, PHOTO_SIDE).save(path, quality=95)
    return path


def _save_png(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def place_stamps(out: Path, scenes: Iterable[Path]) -> None:
    """Turn the fetched cut-outs into photos, each on the photo of its own split that its name chooses.

    A cut-out takes the place of a photo of the same name.
    """
    by_split = {split: sorted({scene for scene in scenes if scene.parent.name == split}) for split in ("train", "test")}
    for path in sorted((out / _CUT_OUTS).glob("*.png")):
        behind = by_split[split_of(path.stem)]
        chosen = behind[int.from_bytes(hashlib.sha256(path.stem.encode()).digest()[1:3], "big") % len(behind)]
        save_photo(out, path.stem, stamp_on(Image.open(chosen), Image.open(path)))
    shutil.rmtree(out / _CUT_OUTS, ignore_errors=True)


def counts(out: Path) -> Counter[str]:
    """Number of pictures in every folder below `out`, by its path relative to `out`."""
    pictures = (path for path in out.rglob("*") if path.suffix in {".jpg", ".png"})
    return Counter(path.parent.relative_to(out).as_posix() for path in pictures)


def fetch(names: Sequence[str], cache: Path, out: Path, console: Console) -> None:
    """Download packages into the cache and sort their pictures, and the bundled photos, below `out`.

    Raises
    ------
    PackageError
        A package cannot be had or read.
    """
    scenes = [save_photo(out, stem, image) for stem, image in bundled_photos()]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn("{task.fields[package]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fetching", total=len(names), package="")
        for name in names:
            progress.update(task, package=name)
            rules = sources()[name]
            selection = Selection(rules)
            archive = packages.download(name, cache)
            if (version := packages.version(archive)) != rules["version"]:
                progress.print(f"{name} is {version}, the list was made for {rules['version']}: look at what is found")
            scenes += sort_pictures(packages.pictures(archive, selection.wants), name, selection, out)
            progress.advance(task)
        progress.update(task, package="done")
    place_stamps(out, scenes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training fetch", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sources()
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--packages", type=Path, help="keep the downloaded packages here (default: OUT/packages)")
    parser.add_argument("--only", nargs="+", choices=known, metavar="PACKAGE", help="fetch these packages only")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", "Palette images with Transparency")
    console = Console()
    try:
        fetch(options.only or list(known), options.packages or options.out / "packages", options.out, console)
    except packages.PackageError as error:
        sys.exit(f"error: {error}")
    for folder, number in sorted(counts(options.out).items()):
        console.print(f"{number:5} {folder}", highlight=False)


if __name__ == "__main__":
    main()
