"""A stylization on this machine, told in the client's events: the rest of the command sees no difference."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clipstyler_client import (
    FieldViolation,
    InvalidRequestError,
    Losses,
    Model,
    Preview,
    PreviewOptions,
    Progress,
    Quality,
    Queued,
    Result,
    Started,
    StylizeError,
    StylizeOptions,
    Warning,  # noqa: A004 - the contract's name
)
from clipstyler_client.events import Event

from clipstyler_cli.faults import ending_at_once
from clipstyler_cli.store import store_here

if TYPE_CHECKING:
    from clipstyler import events
    from clipstyler.config import StylizeConfig
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.imaging import Picture

_NOT_CONFIG = {"preset", "seed", "encoders"}


def stylize_here(
    photo: bytes,
    style_text: str,
    *,
    source_text: str | None,
    options: StylizeOptions,
    previews: PreviewOptions,
    result_format: str,
    device: str = "cpu",
) -> Generator[Event, None, None]:
    """Stylize in this process; the events are those of a server, closing the iterator stops the work.

    Raises
    ------
    InvalidRequestError
        A field cannot be used.
    StylizeError
        The encoders cannot be loaded, or the optimization diverged.
    """
    with library_errors():
        yield from _run(photo, style_text, source_text, options, previews, result_format, device)


@contextmanager
def library_errors() -> Iterator[None]:
    """Turn the library's errors into those that a server's answers become, so that both read alike."""
    with ending_at_once():
        from clipstyler.config import ConfigError  # noqa: PLC0415 - all of this is heavy, and only used here
        from clipstyler.encoders.base import EncoderUnavailableError  # noqa: PLC0415
        from clipstyler.imaging import ImageError  # noqa: PLC0415

    try:
        yield
    except ConfigError as error:
        violation = FieldViolation(error.field, error.problem)
        raise InvalidRequestError("INVALID_ARGUMENT", str(error), "INVALID_FIELD", (violation,)) from error
    except ImageError as error:
        violation = FieldViolation("image", str(error))
        raise InvalidRequestError("INVALID_ARGUMENT", str(error), "INVALID_FIELD", (violation,)) from error
    except EncoderUnavailableError as error:
        raise StylizeError("FAILED_PRECONDITION", str(error), "ENCODERS_UNAVAILABLE") from error
    except FloatingPointError as error:
        raise StylizeError("INVALID_ARGUMENT", str(error), "DIVERGED") from error


def _run(
    photo: bytes,
    style_text: str,
    source_text: str | None,
    options: StylizeOptions,
    previews: PreviewOptions,
    result_format: str,
    device: str,
) -> Iterator[Event]:
    with ending_at_once():
        from clipstyler import events, imaging, prompts, stylizer  # noqa: PLC0415
        from clipstyler.config import check_seed  # noqa: PLC0415
        from clipstyler.encoders import registry  # noqa: PLC0415

    name = registry.BUNDLED if options.encoders is None else options.encoders
    calibration = registry.spec(name).calibration
    config = config_of(options, name)
    style, source = prompts.check_texts(style_text, calibration.source_text if source_text is None else source_text)
    seed = stylizer.draw_seed() if options.seed is None else check_seed(options.seed)
    begun = time.monotonic()
    picture = imaging.decode(photo)
    width, height = imaging.fitted_size(picture.width, picture.height, config.size, config.enlarge)
    config.crop_side(width, height)
    decoded_s = time.monotonic() - begun
    yield Queued(position=0, seed=seed)
    with ending_at_once():
        encoders = registry.load(name, device, store=store_here())
    yield Started(steps=config.steps, width=width, height=height, device=str(encoders.device))
    for event in stylizer.stylize(picture, style, encoders, config, source_text=source, seed=seed):
        if isinstance(event, events.Caution):
            yield Warning(code=event.code, message=event.message)
        elif isinstance(event, events.Progress):
            if _is_due(event.step, previews):
                yield _preview(event.step, event.picture(), previews)
            yield _progress(event)
        elif isinstance(event, events.Result):
            photo_seen = imaging.fit(picture, config.size, config.enlarge)
            quality = _quality(photo_seen, event.picture, style, source, encoders, 0)
            yield _result(event, encoders, _preset(options), result_format, decoded_s, quality)


def measure(content: bytes, stylized: bytes, text: str, *, encoders: str | None, seed: int) -> Quality:
    """Measure a stylization in this process.

    Raises
    ------
    ConfigError, ImageError, EncoderUnavailableError
        A text, an image or the encoders cannot be used.
    """
    from clipstyler import prompts  # noqa: PLC0415
    from clipstyler.config import check_seed  # noqa: PLC0415
    from clipstyler.encoders import registry  # noqa: PLC0415

    name = encoders or registry.BUNDLED
    style, source = prompts.check_texts(text, registry.spec(name).calibration.source_text)
    before, after = _decoded(content, "content_image"), _decoded(stylized, "stylized_image")
    return _quality(before, after, style, source, registry.load(name, store=store_here()), check_seed(seed))


def _decoded(data: bytes, field: str) -> Picture:
    from clipstyler import imaging  # noqa: PLC0415
    from clipstyler.config import ConfigError  # noqa: PLC0415

    try:
        return imaging.decode(data)
    except imaging.ImageError as error:
        raise ConfigError(field, str(error)) from error


def _quality(
    content: Picture, stylized: Picture, style_text: str, source_text: str, encoders: EncoderSet, seed: int
) -> Quality:
    from clipstyler.encoders.inference import text_direction  # noqa: PLC0415
    from clipstyler.encoders.torch_encoders import TorchEncoders  # noqa: PLC0415
    from clipstyler.evaluation import metrics  # noqa: PLC0415

    path = TorchEncoders(encoders)
    direction = text_direction(path, style_text, source_text, path.calibration.template_set)
    return Quality(**asdict(metrics.evaluate(content, stylized, style_text, path, direction, seed)))


def config_of(options: StylizeOptions, encoders: str) -> StylizeConfig:
    """Join the options with the preset and the encoders' calibration.

    Raises
    ------
    ConfigError
        A field cannot be used.
    """
    from clipstyler.config import AugmentFill, Preset, TvForm, resolve  # noqa: PLC0415
    from clipstyler.encoders import registry  # noqa: PLC0415

    overrides: dict[str, Any] = {k: v for k, v in asdict(options).items() if k not in _NOT_CONFIG and v is not None}
    if options.augment_fill is not None:
        overrides["augment_fill"] = AugmentFill(options.augment_fill)
    if options.tv_form is not None:
        overrides["tv_form"] = TvForm(options.tv_form)
    return resolve(registry.spec(encoders).calibration, Preset(_preset(options)), **overrides)


def _preset(options: StylizeOptions) -> str:
    from clipstyler.config import DEFAULT_PRESET  # noqa: PLC0415

    return options.preset or DEFAULT_PRESET


def _is_due(step: int, previews: PreviewOptions) -> bool:
    every = previews.every_steps
    return bool(every) and (step == 1 or step % int(every or 1) == 0)


def _preview(step: int, picture: Picture, previews: PreviewOptions) -> Preview:
    from clipstyler.imaging import ImageFormat, encode, shrink  # noqa: PLC0415

    small = shrink(picture, previews.max_size or max(picture.width, picture.height))
    image_format = ImageFormat(previews.format or "jpeg")
    data = encode(small, image_format)
    return Preview(step=step, image=data, format=image_format, width=small.width, height=small.height)


def _progress(event: events.Progress) -> Progress:
    return Progress(
        step=event.step,
        steps=event.steps,
        losses=Losses(**asdict(event.losses)),
        rejected=event.rejected,
        elapsed_s=event.elapsed_s,
        remaining_s=event.remaining_s,
    )


def _result(
    result: events.Result,
    encoders: EncoderSet,
    preset: str,
    result_format: str,
    decoded_s: float,
    quality: Quality,
) -> Result:
    from clipstyler.imaging import ImageFormat, encode  # noqa: PLC0415

    begun = time.monotonic()
    image = encode(result.picture, ImageFormat(result_format))
    known = {field for field in StylizeOptions.__dataclass_fields__ if field not in _NOT_CONFIG}
    values = {name: value for name, value in result.config.as_dict().items() if name in known}
    values["crop_size"] = result.config.crop_side(result.picture.width, result.picture.height)
    return Result(
        image=image,
        format=result_format,
        width=result.picture.width,
        height=result.picture.height,
        seed=result.seed,
        style_text=result.style_text,
        source_text=result.source_text,
        options=StylizeOptions(preset=preset, encoders=encoders.name, seed=result.seed, **values),
        models=tuple(Model(*model) for model in result.models),
        device=result.device,
        threads=result.threads,
        versions=result.versions,
        losses=Losses(**asdict(result.losses)),
        quality=quality,
        timings={
            "queued": 0.0,
            "decode": decoded_s,
            "prepare": result.timings.prepare_s,
            "optimize": result.timings.optimize_s,
            "encode": time.monotonic() - begun,
        },
    )
