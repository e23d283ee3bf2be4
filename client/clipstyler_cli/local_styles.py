"""Styles on this machine: fitted to photos, and applied to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstyler_client import FieldViolation, InvalidRequestError, JobImage, StyledPhoto

from clipstyler.input_files import read_whole
from clipstyler_cli.errors import UsageError, checked_together, ending_at_once
from clipstyler_cli.local import library_errors
from clipstyler_cli.local_store import local_store

if TYPE_CHECKING:
    from clipstyler.imaging import Picture

_MEASURED_SIDE = 512


def apply_here(
    style: bytes,
    photos: Iterable[Path],
    *,
    second: bytes | None = None,
    controls: Mapping[str, Any],
    result_format: str,
) -> Iterator[StyledPhoto]:
    """Apply a style to photos; yields for each, in order, its image, or the error why there is none.

    Raises
    ------
    InvalidRequestError
        A style or a control cannot be used.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.imaging import ImageError, ImageFormat, decode, encoded
            from clipstyler.style_applying import LoadedStyle, apply_style
            from clipstyler.style_controls import StyleControls

        chosen = StyleControls(**controls)
        first = loaded(style, LoadedStyle.of)
        other = loaded(second, LoadedStyle.of, "second_style") if second else None
        for index, path in enumerate(photos):
            try:
                picture = decode(read_whole(path))
            except (ImageError, OSError) as error:
                problem = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                yield StyledPhoto(index, None, _unusable("photo", problem))
                continue
            image = encoded(
                ended(apply_style(first, picture, chosen, second=other, check=lambda: None)),
                ImageFormat(result_format),
            )
            yield StyledPhoto(index, JobImage(image.data, image.format, image.width, image.height))


def fit_here(
    photos: Sequence[Path], text: str, options: Mapping[str, Any], progress: Callable[[int, int], None]
) -> bytes:
    """Fit a style to photos; returns its file. `progress` is called with steps completed and their number.

    Raises
    ------
    UsageError, InvalidRequestError, SeveralProblemsError, StylizeError
        Photos or options cannot be used, the encoders cannot be loaded, or the optimization diverged.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.encoders import registry
            from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
            from clipstyler.style import dump_style
            from clipstyler.style_fitting import fit_style

        name = options.get("encoder_set") or registry.BUNDLED
        request = SpecRequest(text, options=dict(options))
        calibrations = {name: registry.spec(name).calibration}
        spec, pictures = checked_together(
            lambda: resolve_spec(request, calibrations, SpecLimits()), lambda: _decoded(photos)
        )
        encoders = registry.load(name, store=local_store())
        steps = fit_style(pictures, spec, encoders, check=lambda: None)
        return dump_style(ended(steps, lambda step: progress(step, spec.config.steps)))


def spreads_here(
    style: bytes, photos: Sequence[Path], text: str, options: Mapping[str, Any]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how much photos differ in a style, and if each is fitted separately: embeddings and style statistics."""
    with library_errors():
        from clipstyler.encoders import registry
        from clipstyler.evaluation.consistency import spread
        from clipstyler.style_applying import LoadedStyle, apply_style
        from clipstyler.style_controls import StyleControls

        encoders = registry.load(options.get("encoder_set") or registry.BUNDLED, store=local_store())
        pictures = _decoded(photos)
        separate = [fit_here([path], text, options, lambda _step, _steps: None) for path in photos]
        spreads = []
        for files in ([style] * len(photos), separate):
            styled = [
                ended(apply_style(loaded(file, LoadedStyle.of), picture, StyleControls(output_size=_MEASURED_SIDE)))
                for file, picture in zip(files, pictures, strict=True)
            ]
            spreads.append(spread(styled, pictures, encoders))
        return spreads[0], spreads[1]


def _decoded(photos: Sequence[Path]) -> list[Picture]:
    """Decode photos; raises `UsageError` that names all that cannot be used."""
    from clipstyler.imaging import ImageError, decode

    pictures, problems = [], []
    for path in photos:
        try:
            pictures.append(decode(read_whole(path)))
        except OSError as error:
            problems.append(f"PHOTOS: {path}: {error.strerror or error}")
        except ImageError as error:
            problems.append(f"PHOTOS: {path}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return pictures


def loaded(data: bytes, load: Callable[..., Any], field: str = "style") -> Any:
    """Load a style from its file; `field` is what names it.

    Raises
    ------
    InvalidRequestError
        It is none, or a damaged one.
    """
    from clipstyler.style import StyleError, load_style

    try:
        return load(load_style(data))
    except StyleError as error:
        raise _unusable(field, str(error)) from error


def _unusable(field: str, problem: str) -> InvalidRequestError:
    violation = FieldViolation(field, problem)
    return InvalidRequestError("INVALID_ARGUMENT", f"{field}: {problem}", "INVALID_FIELD", (violation,))


def ended(events: Iterator[Any], each: Callable[[Any], None] = lambda _event: None) -> Any:
    """Run a generator to its end; returns its value. `each` is called with what it yields."""
    while True:
        try:
            each(next(events))
        except StopIteration as end:
            return end.value
