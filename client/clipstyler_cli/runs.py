"""One run from files to files: check the outputs, do the work here or on a server, write the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from clipstyler_client import Client, Draft, Event, Preview, PreviewOptions, Region, Result, StylizeOptions

from clipstyler.options import ConfigError, Violation
from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.artifacts import PREVIEW_NAME, Artifacts
from clipstyler_cli.connection import Target
from clipstyler_cli.errors import JobGoesOnError, UsageError, WorkFailedError, checked_together
from clipstyler_cli.files import ANIMATION_SUFFIXES, IMAGE_SUFFIXES, SHEET_SUFFIXES, Delivery, read_photo
from clipstyler_cli.local import check_no_place, check_place_here, read_image_here, spec_here, stylize_here
from clipstyler_cli.progress import Display
from clipstyler_cli.terminal import complain

if TYPE_CHECKING:
    from clipstyler.spec import StylizationSpec


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


class _Inputs(NamedTuple):
    """What a run begins with, checked: the files of photo and mask, and on this machine what is asked for, resolved."""

    photo: bytes
    mask: bytes | None
    spec: StylizationSpec | None


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
    UsageError, ConfigError, SeveralProblemsError
        A file, or something that is asked for, cannot be used: all of it is named; nothing was done.
    StylizeError, OSError
        The work, reading or writing failed.
    """
    outputs, inputs = _checked(run, keep, server)
    photo = inputs.photo
    artifacts = Artifacts(delivery, outputs.previews, outputs.draft)
    with ExitStack() as stack:
        events = _open(run, inputs, server, stack)
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
    raise WorkFailedError(f"{name}: the job ended without a result")


def describe(result: Result, out: Path) -> dict[str, Any]:
    """Return everything needed to reproduce a result, as plain values for JSON."""
    values = {name: value for name, value in asdict(result).items() if name not in {"image", "sequence", "spec"}}
    return {"output": str(out), **asdict(result.spec), **values, "models": [m._asdict() for m in result.models]}


def _checked(run: Run, keep: Keep, server: Target | None) -> tuple[_Outputs, _Inputs]:
    """Check everything that can be checked before the work; on this machine that is all of it."""
    here = server is None
    read = read_image_here if here else read_photo
    mask = run.region.mask if run.region else None
    outputs, photo, mask_file, spec, *_ = checked_together(
        partial(_outputs, run, keep),
        partial(read, run.photo, "PHOTO"),
        partial(read, mask, "--keep") if isinstance(mask, Path) else lambda: None,
        partial(_spec_here, run) if here else lambda: None,
        partial(check_place_here if here else check_no_place, run.device, run.accelerations),
        partial(_check_that_no_server_is_needed, run, keep) if here else lambda: None,
        partial(_check_style, run),
    )
    return outputs, _Inputs(photo, mask_file, spec)


def _check_that_no_server_is_needed(run: Run, keep: Keep) -> None:
    needs = {
        "detach": "a job needs a server" if run.detach else "",
        "timeout": "limits a call to a server" if run.timeout_s is not None else "",
        "draft": "drafts come from a server" if keep.draft else "",
    }
    if violations := [Violation(name, f"{why}: name one with --server") for name, why in needs.items() if why]:
        raise ConfigError.of(violations)


def _check_style(run: Run) -> None:
    if run.options.get("keep_style") and not run.detach:
        raise ConfigError("keep_style", "a style is kept with a job: add --server and --detach")


def _outputs(run: Run, keep: Keep) -> _Outputs:
    """Check every output."""
    out = Output("out", run.out, IMAGE_SUFFIXES)
    previews = Output("previews", keep.previews) if keep.previews else None
    sheet = Output("contact_sheet", keep.contact_sheet, SHEET_SUFFIXES) if keep.contact_sheet else None
    animation = Output("animation", keep.animation, ANIMATION_SUFFIXES) if keep.animation else None
    draft = Output("draft", keep.draft, IMAGE_SUFFIXES) if keep.draft else None
    files = [output for output in (out, sheet, animation, draft) if output]
    paths = [*_inputs(run), *(output.path for output in files)]
    checked_together(
        partial(check_outputs, files, directories=[previews] if previews else [], inputs=_inputs(run)),
        partial(_check_previews, previews.path, paths) if previews else lambda: None,
    )
    return _Outputs(out, previews, sheet, animation, draft)


def _check_previews(directory: Path, paths: list[Path]) -> None:
    for path in paths:
        if PREVIEW_NAME.fullmatch(path.name) and path.parent.resolve() == directory.resolve():
            raise UsageError(f"--previews: a preview may overwrite {path}; name another directory")


def _inputs(run: Run) -> list[Path]:
    mask = run.region.mask if run.region else None
    return [run.photo, mask] if isinstance(mask, Path) else [run.photo]


def _spec_here(run: Run) -> StylizationSpec:
    return spec_here(
        run.text,
        source_text=run.source_text,
        region=run.region,
        options=run.options,
        previews=run.previews,
        result_format=_format(run),
    )


def _format(run: Run) -> str:
    """Return the encoding of the result; PNG if the name of its file is none, which is an error of its own."""
    return IMAGE_SUFFIXES.get(run.out.suffix.lower(), "png")


def _open(run: Run, inputs: _Inputs, server: Target | None, stack: ExitStack) -> Events:
    events: Events
    if inputs.spec is not None:
        device, accelerations = run.device or "cpu", run.accelerations or "auto"
        events = stylize_here(inputs.photo, inputs.mask, inputs.spec, device, accelerations)
    else:
        assert server is not None  # what is resolved here is done here
        client = stack.enter_context(server.connect())
        if run.detach:
            return _job(client, run, inputs, stack, server.flags)
        events = _call(client, run, inputs)
    return stack.enter_context(closing(events))


def _asked(run: Run, inputs: _Inputs) -> dict[str, Any]:
    """Return what is asked for besides photo and text, by the keywords of the client."""
    region = run.region
    return {
        "source_text": run.source_text,
        "region": replace(region, mask=inputs.mask) if region and inputs.mask is not None else region,
        "previews": run.previews,
        "result_format": _format(run),
        "timeout_s": run.timeout_s,
        **run.options,
    }


def _call(client: Client, run: Run, inputs: _Inputs) -> Events:
    return client.stylize(inputs.photo, run.text, **_asked(run, inputs))


def _job(client: Client, run: Run, inputs: _Inputs, stack: ExitStack, flags: str) -> Events:
    job = client.jobs.create(inputs.photo, run.text, **_asked(run, inputs))
    stack.enter_context(_leaving(job.name, flags))
    return stack.enter_context(client.jobs.watch(job.name))


@contextmanager
def _leaving(name: str, flags: str) -> Iterator[None]:
    """Ctrl-C leaves the job running, and says how to return to it."""
    try:
        yield
    except KeyboardInterrupt:
        raise JobGoesOnError(name, flags) from None


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
