"""One run from files to files: check the outputs, do the work here or on a server, write the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from clipstyler_client import Client, Draft, Event, Preview, PreviewOptions, Region, Result, StylizeOptions

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.artifacts import PREVIEW_NAME, Artifacts
from clipstyler_cli.connection import Target
from clipstyler_cli.errors import JobGoesOnError, UsageError
from clipstyler_cli.files import ANIMATION_SUFFIXES, IMAGE_SUFFIXES, SHEET_SUFFIXES, Delivery, read_photo
from clipstyler_cli.local import stylize_here
from clipstyler_cli.progress import Display
from clipstyler_cli.terminal import complain


class Events(Protocol):
    """Events of a run; closing them stops the work."""

    def __iter__(self) -> Iterator[Event]: ...

    def close(self) -> None:
        """Stop the work."""
        ...


@dataclass(frozen=True)
class Run:
    """What is stylized, how, and where the result is written."""

    photo: Path
    text: str
    out: Path
    source_text: str | None = None
    region: Region | None = None
    options: StylizeOptions = field(default_factory=StylizeOptions)
    previews: PreviewOptions = field(default_factory=PreviewOptions)
    timeout_s: float | None = None
    detach: bool = False
    device: str | None = None
    accelerations: str | None = None


@dataclass(frozen=True)
class Keep:
    """Files that a run writes besides the result; the draft only if there is one."""

    previews: Path | None = None
    animation: Path | None = None
    contact_sheet: Path | None = None
    draft: Path | None = None


class _Outputs(NamedTuple):
    """What a run writes, checked."""

    result: Output
    previews: Output | None
    sheet: Output | None
    animation: Output | None
    draft: Output | None


def stylize(
    run: Run, keep: Keep, display: Display, delivery: Delivery, server: Target | None = None
) -> tuple[Result, Path]:
    """Execute a run and write its files.

    Parameters
    ----------
    run, keep
        What is done, and which files are written.
    display
        Shows the progress.
    delivery
        Writes the files.
    server
        Where it is done; None for this machine.

    Returns
    -------
    The result, and where it was written.

    Raises
    ------
    UsageError, ConfigError
        A file cannot be written as asked; nothing was done.
    StylizeError, OSError
        The work, reading or writing failed.
    """
    if run.detach and server is None:
        raise UsageError("--detach: a job needs a server: name one with --server")
    if run.timeout_s is not None and server is None:
        raise UsageError("--timeout: limits a call to a server: name one with --server")
    if keep.draft and server is None:
        raise UsageError("--draft: drafts come from a server: name one with --server")
    outputs = _checked(run, keep)
    photo = read_photo(run.photo, "PHOTO")
    run = _with_mask(run)
    artifacts = Artifacts(delivery, outputs.previews, outputs.draft)
    with ExitStack() as stack:
        events = _open(run, photo, IMAGE_SUFFIXES[run.out.suffix.lower()], server, stack)
        stack.enter_context(display)
        result = _follow(events, display, artifacts)
    if artifacts.lacks_draft():
        complain("no draft: no bundled style is near enough to the text, or a preview was faster")
    written = delivery.write(outputs.result, result.image)
    if outputs.sheet:
        artifacts.write_contact_sheet(outputs.sheet, photo, result)
    if outputs.animation:
        artifacts.write_animation(outputs.animation, photo, result)
    return result, written


def followed(client: Client, name: str, display: Display) -> Result:
    """Watch a job of a server to its end.

    Raises
    ------
    StylizeError
        It ended without a result.
    """
    with display, client.jobs.watch(name) as events:
        for event in events:
            display.show(event)
            if isinstance(event, Result):
                return event
    raise UsageError(f"{name}: the job ended without a result")


def describe(result: Result, out: Path) -> dict[str, Any]:
    """Return everything needed to reproduce a result, as plain values for JSON."""
    values = {name: value for name, value in asdict(result).items() if name not in {"image", "sequence", "spec"}}
    return {"output": str(out), **asdict(result.spec), **values, "models": [m._asdict() for m in result.models]}


def _with_mask(run: Run) -> Run:
    """Read the mask of the region."""
    if run.region is None or not isinstance(run.region.mask, Path):
        return run
    return replace(run, region=replace(run.region, mask=read_photo(run.region.mask, "--keep")))


def _checked(run: Run, keep: Keep) -> _Outputs:
    """Check every output, and create the directory of previews."""
    out = Output("out", run.out, IMAGE_SUFFIXES)
    previews = Output("previews", keep.previews) if keep.previews else None
    sheet = Output("contact_sheet", keep.contact_sheet, SHEET_SUFFIXES) if keep.contact_sheet else None
    animation = Output("animation", keep.animation, ANIMATION_SUFFIXES) if keep.animation else None
    draft = Output("draft", keep.draft, IMAGE_SUFFIXES) if keep.draft else None
    files = [output for output in (out, sheet, animation, draft) if output]
    check_outputs(files, directories=[previews] if previews else [], inputs=_inputs(run))
    if previews:
        previews.path.mkdir(parents=True, exist_ok=True)
        for path in (*_inputs(run), *(output.path for output in files)):
            if PREVIEW_NAME.fullmatch(path.name) and path.parent.exists() and path.parent.samefile(previews.path):
                raise UsageError(f"--previews: a preview may overwrite {path}; name another directory")
    return _Outputs(out, previews, sheet, animation, draft)


def _inputs(run: Run) -> list[Path]:
    mask = run.region.mask if run.region else None
    return [run.photo, mask] if isinstance(mask, Path) else [run.photo]


def _open(run: Run, photo: bytes, result_format: str, server: Target | None, stack: ExitStack) -> Events:
    events: Events
    if server is None:
        events = stylize_here(
            photo,
            run.text,
            source_text=run.source_text,
            region=run.region,
            options=run.options,
            previews=run.previews,
            result_format=result_format,
            device=run.device or "cpu",
            accelerations=run.accelerations or "auto",
        )
    else:
        client = stack.enter_context(server.connect())
        if run.detach:
            return _job(client, run, photo, result_format, stack)
        events = _call(client, run, photo, result_format)
    return stack.enter_context(closing(events))


def _asked(run: Run, result_format: str) -> dict[str, Any]:
    """Return what is asked for besides photo and text, by the keywords of the client."""
    return {
        "source_text": run.source_text,
        "region": run.region,
        "previews": run.previews,
        "result_format": result_format,
        "timeout_s": run.timeout_s,
        **run.options,
    }


def _call(client: Client, run: Run, photo: bytes, result_format: str) -> Events:
    return client.stylize(photo, run.text, **_asked(run, result_format))


def _job(client: Client, run: Run, photo: bytes, result_format: str, stack: ExitStack) -> Events:
    job = client.jobs.create(photo, run.text, **_asked(run, result_format))
    stack.enter_context(_leaving(job.name, client.target))
    return stack.enter_context(client.jobs.watch(job.name))


@contextmanager
def _leaving(name: str, server: str) -> Iterator[None]:
    """Ctrl-C leaves the job running, and says how to return to it."""
    try:
        yield
    except KeyboardInterrupt:
        raise JobGoesOnError(name, server) from None


def _follow(events: Events, display: Display, artifacts: Artifacts) -> Result:
    for event in events:
        display.show(event)
        if isinstance(event, Preview):
            artifacts.add(event)
        elif isinstance(event, Draft):
            artifacts.write_draft(event)
        elif isinstance(event, Result):
            return event
    raise RuntimeError("the events ended without a result")
