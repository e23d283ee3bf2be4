"""`clipstyler classify`: which labels describe an image best."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from clipstyler_client import Prediction

from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import checked_together, clear_errors
from clipstyler_cli.files import read_photo
from clipstyler_cli.local import check_no_place, library_errors, read_image_here
from clipstyler_cli.local_store import local_store
from clipstyler_cli.terminal import Terminal, print_json, table

_BAR = 24


@with_connection_flags
def command(
    image: Annotated[
        Path,
        typer.Argument(
            help="Image file: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or, with pi-heif, HEIC.", show_default=False
        ),
    ],
    labels: Annotated[list[str], typer.Argument(help="Texts to choose from.", show_default=False)],
    encoder_set: Annotated[
        str | None, typer.Option(help="Name of the encoder set. Default: pocket, or the server's first.")
    ] = None,
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: this machine.")] = None,
    device: Annotated[str | None, typer.Option(help="Without a server: cpu, cuda, cuda:1, ... Default: cpu.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank LABELS by how well they describe IMAGE (zero-shot), the most probable first.

    Examples
    --------
      clipstyler classify cat.jpg photo fire "pencil sketch"

      clipstyler classify out.png mosaic "stained glass" "stone wall" --json

      clipstyler classify cat.jpg "a cat" "a dog" --encoder-set vit-b-32

      clipstyler classify cat.jpg photo fire --server localhost:50051
    """
    with clear_errors(image="IMAGE"), library_errors() if server is None else nullcontext():
        if server is None:
            predictions = _here(image, labels, encoder_set, device or "cpu")
        else:
            photo, _ = checked_together(partial(read_photo, image, "IMAGE"), partial(check_no_place, device))
            with server.connect() as client:
                predictions = client.encoders.classify(photo, labels, encoder_set=encoder_set or "")
        if as_json:
            print_json({"predictions": [prediction._asdict() for prediction in predictions]})
            return
        terminal, shown = Terminal(), table("label", "probability", "", box=None)
        block = "█" if terminal.encoding.startswith("utf") else "#"
        for label, probability in predictions:
            shown.add_row(label, f"{probability:.1%}", block * round(_BAR * probability))
        terminal.print(shown)


def _here(image: Path, labels: list[str], encoder_set: str | None, device: str) -> tuple[Prediction, ...]:
    from clipstyler import imaging  # heavy, and only used here
    from clipstyler.encoders import registry
    from clipstyler.encoders.torch_encoders import TorchEncoders
    from clipstyler.evaluation import zero_shot

    name = encoder_set or registry.BUNDLED
    photo, *_ = checked_together(
        lambda: read_image_here(image, "IMAGE"),
        lambda: zero_shot.check_labels(labels),
        lambda: registry.spec(name),
        lambda: registry.place(device),
    )
    picture = imaging.decode(photo)
    loaded = registry.load(name, device, store=local_store())
    return tuple(Prediction(*found) for found in zero_shot.classify(picture, labels, TorchEncoders(loaded)))
