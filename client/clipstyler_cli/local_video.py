"""A video on this machine: shots found, a style fitted, frames drawn, the result written and measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clipstyler_cli.errors import UsageError, checked_together, ending_at_once
from clipstyler_cli.local import library_errors, resolved_here
from clipstyler_cli.local_store import local_store
from clipstyler_cli.local_styles import ended, loaded
from clipstyler_cli.video_work import Plan, Work, work_of

if TYPE_CHECKING:
    from clipstyler.imaging import Picture
    from clipstyler.spec import StylizationSpec
    from clipstyler.style_applying import LoadedStyle
    from clipstyler.style_controls import StyleControls
    from clipstyler.video.reading import TimedFrame, VideoInfo
    from clipstyler.video.steadiness import Steadiness


class Progress(Protocol):
    """Where progress is shown."""

    def show(self, phase: str, completed: int, total: int) -> None:
        """Show how much of a phase was completed."""

    def say(self, line: str) -> None:
        """Print a line."""

    def warn(self, line: str) -> None:
        """Print a warning."""


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What is asked for.

    Attributes
    ----------
    source, out
        The video, and its result.
    text, style
        What it should look like, or the file of a style.
    options
        Of the fit, by name.
    controls
        Of how the style is applied, by name.
    key_frames
        Frames that stand for a shot.
    temporal
        Weight of the temporal loss.
    steadiness
        Share of the frame before.
    """

    source: Path
    out: Path
    text: str | None
    style: bytes | None
    options: Mapping[str, Any]
    controls: Mapping[str, Any]
    key_frames: int
    temporal: float
    steadiness: float


@dataclass(frozen=True)
class VideoReport:
    """What came out.

    Attributes
    ----------
    width, height, frames, shots
        Of the result.
    drawn, written
        How steady the frames are beside the source, as they were drawn, and as they are in the file.
    style
        SHA-256 of the style.
    """

    width: int
    height: int
    frames: int
    shots: int
    drawn: Steadiness
    written: Steadiness
    style: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        found = {"drawn": self.drawn, "written": self.written}
        return asdict(self) | {
            name: asdict(steady) | {"warping_ratio": steady.warping_ratio, "difference_ratio": steady.difference_ratio}
            for name, steady in found.items()
        }

    def summary(self) -> str:
        """Return it as lines."""
        drawn, written = self.drawn, self.written
        rows = (
            ("warping error as drawn", drawn.warping_error, drawn.source_warping_error, drawn.warping_ratio),
            ("warping error as written", written.warping_error, written.source_warping_error, written.warping_ratio),
            ("frame difference", written.frame_difference, written.source_frame_difference, written.difference_ratio),
        )
        lines = [f"{name}: {value:.6f}, the source's own {own:.6f}" for name, value, own, _ in rows]
        ratios = ["" if ratio is None else f": {ratio:.2f} times as much" for *_, ratio in rows]
        return "\n".join(map(str.__add__, lines, ratios))


class PausedError(KeyboardInterrupt):
    """Ctrl-C ended a run that can go on; the message says how."""


def stylize_video_here(request: VideoRequest, progress: Progress, *, restart: bool = False) -> VideoReport:
    """Stylize a video; what is done is kept beside the result until that is complete.

    Raises
    ------
    UsageError, InvalidRequestError, StylizeError
        The video, the result or an option cannot be used.
    PausedError
        Ctrl-C: the same request goes on.
    """
    with library_errors(), _video_errors(request.source):
        with ending_at_once():
            from clipstyler.config import draw_seed
            from clipstyler.video import shot_drawing  # noqa: F401 - all that is needed is there, before any work
            from clipstyler.video.reading import VideoError
            from clipstyler.video.writing import left_out

        run = _Run(request, progress)
        for warning in (*run.info.warnings, *left_out(request.source, request.out)):
            progress.warn(f"{request.source}: {warning}")
        seed = request.options.get("seed", draw_seed())
        with work_of(request.out, _identity(request), seed, restart=restart) as work:
            try:
                run.check_space(work)
                report = run.report(work)
            except KeyboardInterrupt:
                again = "the same command without --restart" if restart else "the same command"
                kept = f"stopped; {work.folder} keeps what is done: {again} goes on with it"
                raise PausedError(kept) from None
            except (UsageError, VideoError):
                if work.plan() is None:  # the video cannot be used, and nothing of it is worth keeping
                    work.remove()
                raise
            work.remove()
        return report


class _Run:
    """One run: its phases, each of which leaves out what a run before it has done.

    All that is asked for is checked when it is made.
    """

    def __init__(self, request: VideoRequest, progress: Progress) -> None:
        from clipstyler.imaging import fitted_size
        from clipstyler.style_applying import LoadedStyle
        from clipstyler.style_controls import StyleControls
        from clipstyler.video.writing import encoder_for, even

        self._request = request
        self._progress = progress
        self._controls: StyleControls = StyleControls(**request.controls)
        self._given: LoadedStyle | None = loaded(request.style, LoadedStyle.of) if request.style else None
        self._spec: StylizationSpec | None
        self.info: VideoInfo
        self._spec, self.info = checked_together(partial(_spec, request), partial(_info, request.source))
        encoder_for(request.out)
        longest = self._controls.output_size or max(self.info.width, self.info.height)
        self._fitted_size = fitted_size(self.info.width, self.info.height, longest)
        self._size = even(self._fitted_size)
        if min(self._size) < 2:
            raise UsageError(f"{_narrowing(request, self.info)}{' x '.join(map(str, self._fitted_size))} px")

    def check_space(self, work: Work) -> None:
        """Check that the frames that are not there yet find room beside the result."""
        frames = max(0, self.info.frames - work.frames_done())
        needed, free = 3 * self._size[0] * self._size[1] * frames, shutil.disk_usage(work.folder).free
        if needed > free:
            raise UsageError(
                f"OUT: there are {free / 1e9:.1f} GB free in {work.folder.parent}, and until the result is complete "
                f"its frames may take {needed / 1e9:.1f} GB more: make room, or use a smaller --output-size"
            )

    def report(self, work: Work) -> VideoReport:
        """Make the result."""
        from clipstyler.style import digest_of
        from clipstyler.style_applying import LoadedStyle

        plan = work.plan() or self._look_through(work)
        data = self._request.style or work.style() or self._fit(plan, work)
        self._draw(plan, work, self._given or loaded(data, LoadedStyle.of))
        self._write(plan, work)
        measured = self._measure(plan, work)
        return VideoReport(*self._size, len(plan.times), len(plan.shots), *measured, digest_of(data))

    def _look_through(self, work: Work) -> Plan:
        """Find the shots of the video, and keep the key frames of each."""
        from clipstyler.imaging import fit
        from clipstyler.sampling import EvenSample
        from clipstyler.video.reading import VideoError
        from clipstyler.video.shots import CutFinder, Shot

        count, side = self._request.key_frames, self._fitted_at()
        cuts = CutFinder()
        firsts: list[int] = []
        times: list[int] = []
        sample: EvenSample[tuple[Picture, Picture]] = EvenSample(count)
        before: Picture | None = None
        for number, (picture, time) in enumerate(self._frames(self._warn)):
            if cuts.begins_shot(picture.rgb):
                if firsts:
                    work.keep_key_frames(len(firsts) - 1, sample.chosen())
                firsts.append(number)
                sample, before = EvenSample(count), None
            frame = fit(picture, side)
            sample.add((frame, before or frame))
            before = frame
            times.append(time)
            self._progress.show("finding shots", number + 1, self.info.frames)
        if len(times) < 2:
            raise VideoError("has a single frame: use `clipstyler apply` or `clipstyler stylize` for a picture")
        work.keep_key_frames(len(firsts) - 1, sample.chosen())
        shots = [Shot(*bounds) for bounds in zip(firsts, [*firsts[1:], len(times)], strict=True)]
        plan = Plan(shots, times)
        work.keep_plan(plan)
        self._progress.say(f"{len(times)} frames in {len(shots)} shot(s)")
        return plan

    def _fitted_at(self) -> int:
        return self._given.description.size if self._given else _known(self._spec).config.size

    def _fit(self, plan: Plan, work: Work) -> bytes:
        """Fit a style to key frames of all shots."""
        from clipstyler.encoders import registry
        from clipstyler.sampling import evenly
        from clipstyler.style import MAX_PHOTOS, dump_style
        from clipstyler.style_fitting import Temporal, fit_style

        spec = replace(_known(self._spec), seed=work.seed)
        encoders = registry.load(spec.encoder_set, store=local_store())
        shots = evenly(list(range(len(plan.shots))), MAX_PHOTOS)
        pairs = evenly([pair for shot in shots for pair in work.key_frames(shot)], MAX_PHOTOS)
        weight = self._request.temporal
        temporal = Temporal([before for _, before in pairs], weight) if weight else None
        fitting = fit_style(
            [frame for frame, _ in pairs],
            spec,
            encoders,
            temporal=temporal,
            check=lambda: None,
            warn=lambda warning: self._progress.warn(warning.message),
        )
        data = dump_style(ended(fitting, lambda step: self._progress.show("fitting", step, spec.config.steps)))
        work.keep_style(data)
        return data

    def _draw(self, plan: Plan, work: Work, style: LoadedStyle) -> None:
        """Draw every frame that is not there yet."""
        from clipstyler.video.shot_drawing import ShotDrawing

        done, total = work.frames_done(), len(plan.times)
        numbers = {shot.first: number for number, shot in enumerate(plan.shots) if shot.end > done}
        drawing: ShotDrawing | None = None
        self._progress.show("drawing", done, total)
        for number, (picture, _) in enumerate(self._frames() if done < total else ()):
            if number in numbers:
                key_frames = [frame for frame, _ in work.key_frames(numbers[number])]
                steadiness = self._request.steadiness
                drawing = ShotDrawing(style, key_frames, self._controls, steadiness, check=lambda: None)
            if drawing is None:  # of a shot that is done
                continue
            frame = self._at_size(picture)
            if number < done:
                drawing.skip(frame, work.frame(number))
                continue
            work.keep_frame(number, ended(drawing.draw(frame)))
            self._progress.show("drawing", number + 1, total)

    def _write(self, plan: Plan, work: Work) -> None:
        """Encode the drawn frames, with the sound of the source."""
        from clipstyler.video.reading import TimedFrame
        from clipstyler.video.writing import write_video

        def drawn() -> Iterator[TimedFrame]:
            for number, time in enumerate(plan.times):
                yield TimedFrame(work.frame(number), time)

        for count in write_video(self._request.out, self.info, self._size, drawn(), self._request.source):
            self._progress.show("writing", count, len(plan.times))

    def _measure(self, plan: Plan, work: Work) -> tuple[Steadiness, Steadiness]:
        """Measure the drawn frames, and those of the file as a player shows them, beside the source."""
        from clipstyler.video.reading import read_frames, read_info
        from clipstyler.video.steadiness import SteadinessMeter

        drawn, written, firsts = SteadinessMeter(), SteadinessMeter(), {shot.first for shot in plan.shots}
        results = read_frames(self._request.out, read_info(self._request.out))
        for number, ((picture, _), (result, _)) in enumerate(zip(self._frames(), results, strict=True)):
            frame = self._at_size(picture)
            drawn.add(frame, work.frame(number), begins_shot=number in firsts)
            written.add(frame, result, begins_shot=number in firsts)
            self._progress.show("measuring", number + 1, len(plan.times))
        return drawn.result(), written.result()

    def _frames(self, warn: Callable[[str], None] = lambda _warning: None) -> Iterator[TimedFrame]:
        from clipstyler.video.reading import read_frames

        return read_frames(self._request.source, self.info, warn)

    def _warn(self, warning: str) -> None:
        """Print a warning about the video."""
        self._progress.warn(f"{self._request.source}: {warning}")

    def _at_size(self, picture: Picture) -> Picture:
        """Return a frame at the size of the result."""
        from clipstyler.imaging import Picture, resized

        width, height = self._size
        return Picture(resized(picture, self._fitted_size).rgb[:height, :width])


def check_source(source: Path) -> None:
    """Look at a video. Raises `UsageError`."""
    with ending_at_once():
        from clipstyler.video import reading  # noqa: F401 - heavy, and only used here
    _info(source)


def _info(source: Path) -> VideoInfo:
    from clipstyler.video.reading import read_info

    with _video_errors(source):
        return read_info(source)


def _narrowing(request: VideoRequest, info: VideoInfo) -> str:
    """Return the beginning of the error about a result with a side under 2 px: what makes it so narrow."""
    if min(info.width, info.height) < 2:
        return f"IN: {request.source}: encoders take sides of at least 2 px, and its frames have "
    return "--output-size: the result would be "


def _spec(request: VideoRequest) -> StylizationSpec | None:
    """Return how a style is fitted; None if there is one."""
    if request.text is None:
        return None
    from clipstyler.spec import SpecRequest

    return resolved_here(SpecRequest(request.text, options=request.options))


def _known(spec: StylizationSpec | None) -> StylizationSpec:
    assert spec is not None  # there is a text, as there is no style
    return spec


def _identity(request: VideoRequest) -> dict[str, Any]:
    """Return all that a result depends on, as JSON has it."""
    import av
    import cv2
    import torch

    from clipstyler import __version__
    from clipstyler.provenance import library_versions
    from clipstyler.style import digest_of

    found = request.source.stat()
    return {
        "video": [found.st_size, found.st_mtime_ns],
        "text": request.text,
        "style": digest_of(request.style) if request.style else None,
        "options": dict(request.options),
        "controls": dict(request.controls),
        "key_frames": request.key_frames,
        "temporal": request.temporal,
        "steadiness": request.steadiness,
        "threads": torch.get_num_threads(),
        "versions": {
            "clipstyler": __version__,
            **library_versions(),
            "av": av.__version__,
            "opencv": cv2.__version__,
        },
    }


@contextmanager
def _video_errors(source: Path) -> Iterator[None]:
    from clipstyler.video.reading import VideoError

    try:
        yield
    except VideoError as error:
        raise UsageError(f"IN: {source}: {error}") from error
