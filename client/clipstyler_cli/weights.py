"""`clipstyler models pull | verify`: published weights, downloaded and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.local import library_errors
from clipstyler_cli.local_store import local_store
from clipstyler_cli.statuses import EXIT_FAILED
from clipstyler_cli.terminal import Terminal, print_json, printable, say, styled, table

if TYPE_CHECKING:
    from clipstyler.encoders.weights.download import Report
    from clipstyler.encoders.weights.sources import Weights
    from clipstyler.evaluation.verification import Check

_VERDICTS = {True: ("passed", "green"), False: ("FAILED", "red")}

Name = Annotated[str, typer.Argument(help="Name of the encoders; see `clipstyler models list`.", show_default=False)]


def pull(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Copy from a file or a directory instead of downloading."),
    ] = None,
) -> None:
    """Download the weights of encoders, resuming an interrupted download, and check their digests.

    They are stored in CLIPSTYLER_MODELS, by default the user's cache. CLIPSTYLER_OFFLINE=1 disables the network.

    Examples
    --------
      clipstyler models pull vit-b-32

      clipstyler models pull ViT-B-16:openai

      clipstyler models pull vit-b-32 --from /media/usb/weights
    """
    with clear_errors(encoder_set="NAME"), library_errors():
        from clipstyler.encoders import registry  # heavy, and only used here

        store, wanted = local_store(), registry.weights(name)
        if not wanted:
            say(f"{name}: nothing to download, the weights are bundled or local")
        for weights in wanted if source is None else _offered(wanted, source):
            with _progress(weights.name) as report:
                stored = store.obtain(weights, report) if source is None else store.adopt(weights, source)
            say(f"{stored.name}: {stored.path}\n  SHA-256 {stored.digest}")
        if source is None and (tokenizer := registry.fetch_tokenizer(name, store)):
            say(f"{name}: its tokenizer, {tokenizer} of the Hugging Face hub")


def _offered(wanted: Sequence[Weights], source: Path) -> Sequence[Weights]:
    """Return the weights that a file is published as; all of them if it is a directory."""
    if not source.exists():
        raise UsageError(f"--from: {source} does not exist")
    offered = [weights for weights in wanted if source.is_dir() or source.name in weights.file_names]
    if wanted and not offered:
        known = ", ".join(file for weights in wanted for file in weights.file_names)
        raise UsageError(f"--from: {source.name} is none of the expected files: {known}")
    return offered


def verify(
    name: Name,
    golden: Annotated[
        bool, typer.Option("--golden", help="Also load them: classify test images, compare ONNX Runtime with PyTorch.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the digests of stored weights; with --golden also what they compute, in PyTorch and ONNX Runtime.

    Examples
    --------
      clipstyler models verify vit-b-32

      clipstyler models verify vit-b-32 --golden

      clipstyler models verify pocket --golden --json
    """
    with clear_errors(encoder_set="NAME"), library_errors():
        checks = list(_checks(name, golden))
        if as_json:
            print_json([asdict(check) for check in checks])
        else:
            Terminal().print(_table(name, checks))
        if not all(check.passed for check in checks):
            raise typer.Exit(EXIT_FAILED)


def _checks(name: str, golden: bool) -> Iterator[Check]:
    from clipstyler.encoders import registry
    from clipstyler.evaluation import verification  # heavy, and only used here

    store = local_store()
    wanted = registry.weights(name)
    stored = [found for found in map(store.find, wanted) if found]
    yield from verification.check_files(stored)
    for weights in wanted:
        if not store.find(weights):
            yield verification.Check(
                f"digest of {weights.name}", False, f"not downloaded: run `clipstyler models pull {name}`"
            )
    if len(stored) < len(wanted) or not (golden or not wanted):
        return
    encoders = registry.load(name, store=store)
    for model in encoders.models:
        yield verification.Check(f"{model.name} loads", True, model.digest)
    if golden:
        yield from verification.check_zero_shot(encoders)
        yield from verification.check_exports(encoders)


def _table(name: str, checks: list[Check]) -> Table:
    shown = table("check", "", "details", title=name)
    for check in checks:
        shown.add_row(check.name, styled(*_VERDICTS[check.passed]), check.detail)
    return shown


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(name), total=None)
        yield lambda here, in_all: progress.update(task, completed=here, total=in_all or None)
