"""Styles on this machine: fitted to photos, and applied to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipstyler_client import FieldViolation, InvalidRequestError, JobImage, StyledPhoto

from clipstyler_cli.errors import ending_at_once
from clipstyler_cli.local import library_errors
from clipstyler_cli.local_store import local_store

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
        first, other = loaded(style, LoadedStyle.of), loaded(second, LoadedStyle.of) if second else None
        for index, path in enumerate(photos):
            try:
                picture = decode(path.read_bytes())
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
    InvalidRequestError, StylizeError
        A photo or an option cannot be used, the encoders cannot be loaded, or the optimization diverged.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.encoders import registry
            from clipstyler.imaging import decode
            from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
            from clipstyler.style import dump_style
            from clipstyler.style_fitting import fit_style

        name = options.get("encoder_set") or registry.BUNDLED
        request = SpecRequest(text, options=dict(options))
        spec = resolve_spec(request, {name: registry.spec(name).calibration}, SpecLimits())
        pictures = [decode(path.read_bytes()) for path in photos]
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
        from clipstyler.imaging import decode
        from clipstyler.style_applying import LoadedStyle, apply_style
        from clipstyler.style_controls import StyleControls

        encoders = registry.load(options.get("encoder_set") or registry.BUNDLED, store=local_store())
        pictures = [decode(path.read_bytes()) for path in photos]
        separate = [fit_here([path], text, options, lambda _step, _steps: None) for path in photos]
        spreads = []
        for files in ([style] * len(photos), separate):
            styled = [
                ended(apply_style(loaded(file, LoadedStyle.of), picture, StyleControls(output_size=_MEASURED_SIDE)))
                for file, picture in zip(files, pictures, strict=True)
            ]
            spreads.append(spread(styled, pictures, encoders))
        return spreads[0], spreads[1]


def loaded(data: bytes, load: Callable[..., Any]) -> Any:
    """Load a style from its file.

    Raises
    ------
    InvalidRequestError
        It is none, or a damaged one.
    """
    from clipstyler.style import StyleError, load_style

    try:
        return load(load_style(data))
    except StyleError as error:
        raise _unusable("style", str(error)) from error


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
