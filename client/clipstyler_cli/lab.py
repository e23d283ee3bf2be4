"""`clipstyler lab`: the paper's tables and figures, with the encoders at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.demo import example_photo
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.local import library_errors
from clipstyler_cli.local_store import local_store
from clipstyler_cli.terminal import Terminal, printable, table

if TYPE_CHECKING:
    from clipstyler_lab.run import Step
    from clipstyler_lab.section import Table
    from clipstyler_lab.settings import LabSettings


def command(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Experiments; default: all of them.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the report and of everything it is made from.")] = Path(
        "out/lab"
    ),
    scale: Annotated[
        str, typer.Option(help="Amount of work: small, or paper (512 px, 200 steps, 64 patches).")
    ] = "small",
    encoder_set: Annotated[str, typer.Option(help="Name of the encoder set.")] = "pocket",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    photo: Annotated[
        list[Path] | None, typer.Option(help="A photo; may be repeated. Default: a portrait of an astronaut.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A style text; may be repeated. Default: three looks.")] = None,
    styles: Annotated[
        Path | None,
        typer.Option(
            help="Directory with a directory of pictures per look. Default: twenty looks, drawn.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Number of seeds. Default: the scale's.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Longest side in pixels. Default: the scale's.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps. Default: the scale's.", show_default=False)
    ] = None,
    patches: Annotated[
        int | None, typer.Option(help="Crops per step. Default: the scale's.", show_default=False)
    ] = None,
    stop_band: Annotated[
        str | None,
        typer.Option(
            help="LOW:HIGH, token frequencies that a vision transformer must not see (SpectralCLIP).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the paper's tables and figures.

    Experiments are ablation, text-guided, style-image, consistency, zero-shot and hyper-parameters. Writes index.html,
    tables.md and results.json into the directory. An interrupted run continues when the command is repeated. Published
    figures are printed beside those of the run.

    Examples
    --------
      clipstyler lab

      clipstyler lab ablation consistency --photo cat.jpg --photo coffee.jpg --text fire --text mosaic

      clipstyler lab --scale paper --encoder-set vit-b-32 --device cuda
    """
    with clear_errors(), library_errors(), _resumable():
        from clipstyler_lab.catalog import EXPERIMENTS
        from clipstyler_lab.report.words import NOT_COMPARABLE, published_table
        from clipstyler_lab.report.writing import PAGE
        from clipstyler_lab.run import run
        from clipstyler_lab.spectral import Band, with_band_stop

        from clipstyler.encoders import registry  # heavy, and only used here

        names = _known(experiments or list(EXPERIMENTS), EXPERIMENTS)
        check_outputs([], directories=[Output("out", out)])
        settings = _settings(scale, photo, text, styles, seeds, (size, steps, patches))
        band = Band.parse(stop_band) if stop_band else None
        encoders = registry.load(encoder_set, device, store=local_store())
        if band:
            encoders = with_band_stop(encoders, band)
        with _shown() as show:
            report = run(settings, encoders, out, names, show)
        Terminal().print(_rich(published_table(report)))
        Terminal().print(NOT_COMPARABLE, soft_wrap=True)
        Terminal().print(f"report: {out / PAGE}", soft_wrap=True)


def _known(names: Sequence[str], known: Collection[str]) -> Sequence[str]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"EXPERIMENTS: {', '.join(map(repr, unknown))} is unknown: use {', '.join(known)}")
    return names


def _settings(
    scale: str,
    photos: Sequence[Path] | None,
    texts: Sequence[str] | None,
    styles: Path | None,
    seeds: int | None,
    work: tuple[int | None, int | None, int | None],
) -> LabSettings:
    from clipstyler_lab.settings import SCALES, STYLES, TEXTS, LabSettings, Scale
    from clipstyler_lab.trials import Work

    if scale not in list(Scale):
        raise UsageError(f"--scale: {scale!r} is unknown: use {', '.join(Scale)}")
    numbers = SCALES[Scale(scale)]
    files = photos or [example_photo()]
    named = {path.stem: path for path in files}
    if len(named) < len(files):
        raise UsageError("--photo: two photos have the same name: rename one")
    return LabSettings(
        photos=named,
        texts=tuple(dict.fromkeys(texts or TEXTS)),
        work=Work(*(own if own is not None else default for own, default in zip(work, numbers.work, strict=True))),
        seeds=numbers.seeds if seeds is None else seeds,
        consistency_seeds=numbers.consistency_seeds if seeds is None else max(seeds, 2),
        styles=styles or STYLES,
    )


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("interrupted: repeat the command to continue") from interrupt


@contextmanager
def _shown() -> Iterator[Callable[[Step], None]]:
    """Show progress on stderr: a bar on a terminal, a line per outcome elsewhere."""
    terminal = Terminal(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=terminal, disable=not terminal.is_interactive) as bar:
        task = bar.add_task("", total=None)

        def show(step: Step) -> None:
            doing = printable(step.doing)
            bar.update(task, description=doing, completed=step.completed, total=step.total)
            if not terminal.is_interactive:
                terminal.print(f"{step.completed}/{step.total}  {doing}", soft_wrap=True)

        yield show


def _rich(shown: Table) -> RichTable:
    from clipstyler_lab.report.words import shown as words

    made = table(*shown.columns, title=shown.caption)
    for row in shown.rows:
        made.add_row(*map(words, row))
    return made
