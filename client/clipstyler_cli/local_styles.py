"""Styles on this machine: fitted to photos, and applied to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstyler_client import FieldViolation, InvalidRequestError, JobImage, StyledPhoto

from clipstyler.input_files import read_whole
from clipstyler_cli.errors import UsageError, checked_together, ending_at_once
from clipstyler_cli.local import library_errors, resolved_here
from clipstyler_cli.local_store import local_store

if TYPE_CHECKING:
    from clipstyler.evaluation.consistency import Spread
    from clipstyler.harmonizing import Colors, Harmony
    from clipstyler.imaging import Picture

_MEASURED_SIDE = 512


def apply_here(
    style: bytes,
    photos: Iterable[Path],
    *,
    second: bytes | None = None,
    controls: Mapping[str, Any],
    result_format: str,
    harmony: Harmony | None = None,
) -> Iterator[StyledPhoto]:
    """Apply a style to photos; yields for each, in order, its image, or the error why there is none.

    With a `harmony`, colors of all results are moved toward those that they have in common.

    Raises
    ------
    InvalidRequestError
        A style or a control cannot be used.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.harmonizing import harmonized
            from clipstyler.imaging import ImageError, ImageFormat, decode, encoded
            from clipstyler.style_applying import LoadedStyle, apply_style
            from clipstyler.style_controls import StyleControls

        chosen = StyleControls(**controls)
        first = loaded(style, LoadedStyle.of)
        other = loaded(second, LoadedStyle.of, "second_style") if second else None
        for index, path in enumerate(photos):
            try:
                picture = decode(read_whole(path))
                drawn = ended(apply_style(first, picture, chosen, second=other, check=lambda: None))
                image = encoded(harmonized(drawn, harmony) if harmony else drawn, ImageFormat(result_format))
            except (ImageError, OSError) as error:
                problem = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                yield StyledPhoto(index, None, _unusable("photo", problem))
                continue
            yield StyledPhoto(index, JobImage(image.data, image.format, image.width, image.height))


def common_colors_here(
    style: bytes, photos: Sequence[Path], controls: Mapping[str, Any], progress: Callable[[int], None]
) -> Colors | None:
    """Return the colors that photos in a style have in common, from small results; None if no photo can be read.

    `progress` is called with the photos completed. Those that cannot be read are left out: `apply_here` reports them.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.harmonizing import colors_of, common_colors
            from clipstyler.imaging import ImageError, decode
            from clipstyler.style_applying import LoadedStyle, apply_style
            from clipstyler.style_controls import StyleControls

        first = loaded(style, LoadedStyle.of)
        small = StyleControls(**{**controls, "output_size": first.description.size})
        found = []
        for completed, path in enumerate(photos, 1):
            with suppress(ImageError, OSError):
                picture = decode(read_whole(path))
                found.append(colors_of(ended(apply_style(first, picture, small, check=lambda: None))))
            progress(completed)
        return common_colors(found) if found else None


def fit_here(
    photos: Sequence[Path],
    text: str,
    options: Mapping[str, Any],
    progress: Callable[[int, int], None],
    warn: Callable[[str], None] = lambda _line: None,
) -> bytes:
    """Fit a style to photos; returns its file.

    `progress` is called with steps completed and their number, `warn` with the text of each warning.

    Raises
    ------
    UsageError, InvalidRequestError, SeveralProblemsError, StylizeError
        Photos or options cannot be used, the encoders cannot be loaded, or the optimization diverged.
    """
    with library_errors():
        with ending_at_once():
            from clipstyler.encoders import registry
            from clipstyler.spec import SpecRequest
            from clipstyler.style import dump_style
            from clipstyler.style_fitting import fit_style

        spec, pictures = checked_together(
            lambda: resolved_here(SpecRequest(text, options=dict(options))), lambda: _decoded(photos)
        )
        encoders = registry.load(spec.encoder_set, store=local_store())
        steps = fit_style(pictures, spec, encoders, check=lambda: None, warn=lambda warning: warn(warning.message))
        return dump_style(ended(steps, lambda step: progress(step, spec.config.steps)))


def spreads_here(
    style: bytes,
    photos: Sequence[Path],
    text: str,
    options: Mapping[str, Any],
    controls: Mapping[str, Any],
    harmonize: float = 0.0,
) -> tuple[Spread, Spread]:
    """Return how much photos differ in a style, harmonized by a share, and if each is fitted separately.

    The `controls` are those of all results but their size. One photo at a time is in memory.
    """
    with library_errors():
        from clipstyler.encoders import registry
        from clipstyler.evaluation.consistency import spread
        from clipstyler.harmonizing import Harmony, harmonized
        from clipstyler.style_applying import LoadedStyle, apply_style
        from clipstyler.style_controls import StyleControls

        encoders = registry.load(options.get("encoder_set") or registry.BUNDLED, store=local_store())
        measured = StyleControls(**{**controls, "output_size": _MEASURED_SIDE})
        common = common_colors_here(style, photos, controls, lambda _completed: None) if harmonize else None
        harmony = Harmony(common, harmonize) if common else None

        def drawn(style: LoadedStyle, path: Path) -> tuple[Picture, Picture]:
            (photo,) = _decoded([path])
            return ended(apply_style(style, photo, measured)), photo

        def in_album(style: LoadedStyle, path: Path) -> tuple[Picture, Picture]:
            picture, photo = drawn(style, path)
            return harmonized(picture, harmony) if harmony else picture, photo

        def fitted(path: Path) -> LoadedStyle:
            style: LoadedStyle = loaded(fit_here([path], text, options, lambda _step, _steps: None), LoadedStyle.of)
            return style

        shared = loaded(style, LoadedStyle.of)
        together = spread((in_album(shared, path) for path in photos), encoders)
        return together, spread((drawn(fitted(path), path) for path in photos), encoders)


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
