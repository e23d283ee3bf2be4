"""`clipstyler evaluate`: the quality of a stylization."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from clipstyler_client import QualityReport
from rich.table import Table

from clipstyler.config import check_seed
from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import checked_together, clear_errors
from clipstyler_cli.files import read_photo
from clipstyler_cli.local import library_errors, measure, read_image_here, texts_here
from clipstyler_cli.terminal import Terminal, print_json, table

_ARGUMENTS = {"content_image": "CONTENT", "stylized_image": "STYLIZED"}
_MEANING = {
    "patch_clip_score": "how well random crops match the text (higher is better)",
    "global_similarity": "whether the whole image moved in the direction of the text (higher is better)",
    "patch_similarity": "the same for the crops, on average (higher is better)",
    "content_distance": "how far the content features moved (lower keeps more)",
    "ssim": "structural similarity with the photo (higher keeps more)",
}


@with_connection_flags
def command(
    content: Annotated[Path, typer.Argument(help="The photo.", show_default=False)],
    stylized: Annotated[Path, typer.Argument(help="The stylized image.", show_default=False)],
    text: Annotated[str, typer.Argument(help="The style text.", show_default=False)],
    encoder_set: Annotated[
        str | None, typer.Option(help="Name of the encoder set. Default: pocket, or the server's first.")
    ] = None,
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: this machine.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random crops.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure STYLIZED against CONTENT and TEXT: patch-CLIP score, similarities, content distance and SSIM.

    Examples
    --------
      clipstyler evaluate cat.jpg fire-cat.png fire

      clipstyler evaluate cat.jpg mosaic.png mosaic --seed 7 --json

      clipstyler evaluate cat.jpg fire-cat.png fire --server localhost:50051
    """
    with clear_errors(**_ARGUMENTS), library_errors() if server is None else nullcontext():
        read = read_image_here if server is None else read_photo
        before, after, texts, _ = checked_together(
            partial(read, content, "CONTENT"),
            partial(read, stylized, "STYLIZED"),
            partial(texts_here, text, encoder_set) if server is None else lambda: None,
            partial(check_seed, seed) if server is None else lambda: None,
        )
        if server is None:
            quality = measure(before, after, texts, encoder_set=encoder_set, seed=seed)
        else:
            with server.connect() as client:
                quality = client.encoders.evaluate(before, after, text, seed=seed, encoder_set=encoder_set or "")
        if as_json:
            print_json(asdict(quality))
        else:
            Terminal().print(_table(quality))


def _table(quality: QualityReport) -> Table:
    shown = table("measure", "value", "meaning", box=None)
    for name, meaning in _MEANING.items():
        shown.add_row(name.replace("_", " "), f"{getattr(quality, name):.4f}", meaning)
    shown.caption = f"protocol {quality.protocol}, seed {quality.seed}"
    return shown
