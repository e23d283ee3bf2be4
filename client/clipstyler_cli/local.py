"""A stylization on this machine, as the client's events: the rest of the command sees no difference."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import clipstyler_client as client
from clipstyler_client import FieldViolation, InvalidRequestError, PreviewOptions, StylizeError, StylizeOptions

from clipstyler.image_format import LARGEST_OUTPUT
from clipstyler.options import ConfigError, Violation
from clipstyler_cli.errors import UsageError, checked_together, ending_at_once
from clipstyler_cli.files import read_photo
from clipstyler_cli.local_store import local_store

ACCELERATIONS = "CLIPSTYLER_ACCELERATIONS"

if TYPE_CHECKING:
    from clipstyler import events
    from clipstyler.config import Calibration
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.imaging import Picture
    from clipstyler.spec import SpecRequest, StylizationSpec


def spec_here(
    style_text: str,
    *,
    source_text: str | None,
    region: client.Region | None,
    options: StylizeOptions,
    previews: PreviewOptions,
    result_format: str,
) -> StylizationSpec:
    """Resolve what is asked of this machine. Raises as `resolved_here`."""
    from clipstyler.region import RegionRequest
    from clipstyler.spec import SpecRequest

    asked = None
    if region is not None:
        asked = RegionRequest(region.mask is not None, region.boxes, region.text, region.feather)
    return resolved_here(SpecRequest(style_text, source_text, dict(options), dict(previews), result_format, asked))


def resolved_here(request: SpecRequest) -> StylizationSpec:
    """Resolve a request with the encoder set that it names, which is looked up on this machine.

    Raises
    ------
    ConfigError, SeveralProblemsError
        Fields that cannot be used: all of them are named.
    """
    from clipstyler.encoders import registry
    from clipstyler.spec import SpecLimits, resolve_spec

    name = (request.options or {}).get("encoder_set") or registry.BUNDLED

    spec: StylizationSpec
    spec, _ = checked_together(
        lambda: resolve_spec(request, {name: calibration_here(name)}, SpecLimits()), lambda: registry.spec(name)
    )
    return spec


def calibration_here(encoder_set: str) -> Calibration:
    """Return the calibration of an encoder set; of the bundled one, to find what else is wrong, if it is unknown."""
    from clipstyler.encoders import registry

    try:
        return registry.spec(encoder_set).calibration
    except ConfigError:
        return registry.spec(registry.BUNDLED).calibration


def read_image_here(path: Path, argument: str) -> bytes:
    """Read an image that is used on this machine, and look at its header. Raises `UsageError` that names both."""
    from clipstyler import imaging

    data = read_photo(path, argument)
    try:
        imaging.read_header(data)
    except imaging.ImageError as error:
        raise UsageError(f"{argument}: {path}: {error}") from error
    return data


def check_place_here(device: str | None, accelerations: str | None) -> None:
    """Check where the work is to be done, unless that is left open. Raises `ConfigError` or `SeveralProblemsError`."""
    from clipstyler.acceleration import parse
    from clipstyler.encoders import registry

    def place() -> None:
        if device is not None:
            with ending_at_once():
                registry.place(device)

    checked_together(place, lambda: accelerations is None or parse(accelerations))


def check_no_place(device: str | None, accelerations: str | None = None) -> None:
    """Check that nothing says where a server is to do the work; the environment may name accelerations of this machine.

    Raises
    ------
    ConfigError
        Something was typed.
    """
    typed = None if accelerations == os.environ.get(ACCELERATIONS) else accelerations
    named = [name for name, value in (("device", device), ("accelerations", typed)) if value is not None]
    if named:
        raise ConfigError.of([Violation(name, "is for this machine: leave out --server") for name in named])


def stylize_here(
    photo: bytes, mask: bytes | None, spec: StylizationSpec, device: str, accelerations: str
) -> Generator[client.Event, None, None]:
    """Stylize in this process; the events are those of a server, and closing the iterator stops the work.

    The process is the command's own, so its allocator may be accelerated too.

    Raises
    ------
    InvalidRequestError
        Photo and mask cannot be used, or do not go together with what is asked for.
    StylizeError
        The encoders cannot be loaded, or the optimization diverged.
    """
    with library_errors():
        yield from _run(photo, mask, spec, device, accelerations)


@contextmanager
def library_errors() -> Iterator[None]:
    """Turn the library's errors into those of the client, so that both read alike."""
    with ending_at_once():
        from clipstyler.encoders.base import EncoderUnavailableError  # heavy, and only used here
        from clipstyler.imaging import ImageError

    try:
        yield
    except ConfigError as error:
        violations = tuple(FieldViolation(*violation) for violation in error.violations)
        raise InvalidRequestError("INVALID_ARGUMENT", str(error), "INVALID_FIELD", violations) from error
    except ImageError as error:
        violation = FieldViolation("image", str(error))
        raise InvalidRequestError("INVALID_ARGUMENT", str(error), "INVALID_FIELD", (violation,)) from error
    except EncoderUnavailableError as error:
        raise StylizeError("FAILED_PRECONDITION", str(error), "ENCODERS_UNAVAILABLE") from error
    except FloatingPointError as error:
        raise StylizeError("INVALID_ARGUMENT", str(error), "DIVERGED") from error


def texts_here(text: str, encoder_set: str | None) -> tuple[str, str]:
    """Return a style text and the source text of an encoder set in normal form.

    Raises
    ------
    ConfigError, SeveralProblemsError
        Text or encoder set cannot be used.
    """
    from clipstyler import prompts
    from clipstyler.encoders import registry

    name = encoder_set or registry.BUNDLED
    source_text = calibration_here(name).source_text
    texts: tuple[str, str]
    texts, _ = checked_together(lambda: prompts.check_texts(text, source_text), lambda: registry.spec(name))
    return texts


def measure(
    content: bytes, stylized: bytes, texts: tuple[str, str], *, encoder_set: str | None, seed: int
) -> client.QualityReport:
    """Measure a stylization by style text and source text in this process.

    Raises
    ------
    SeveralProblemsError, ConfigError, EncoderUnavailableError
        An image or the encoders cannot be used.
    """
    from clipstyler.encoders import registry

    before, after = checked_together(
        lambda: _decoded(content, "content_image"), lambda: _decoded(stylized, "stylized_image")
    )
    return _quality(before, after, *texts, registry.load(encoder_set or registry.BUNDLED, store=local_store()), seed)


def _run(
    photo: bytes, mask_file: bytes | None, spec: StylizationSpec, device: str, accelerations: str
) -> Iterator[client.Event]:
    with ending_at_once():
        from platformdirs import user_cache_path

        from clipstyler import events, optimization
        from clipstyler.acceleration import RECORD
        from clipstyler.acceleration_choice import choose, retain_memory_for
        from clipstyler.encoders import registry
        from clipstyler.imaging import check_sides
        from clipstyler.inputs import read_inputs

    begun = time.monotonic()
    picture, mask, spec, fitted, original = read_inputs(photo, mask_file, spec)
    check_sides(original.width, original.height, spec.result_format)
    longest = max(original.width, original.height)
    spec = replace(spec, config=replace(fitted, output_size=longest if longest <= LARGEST_OUTPUT else 0))
    decode_s = time.monotonic() - begun
    yield client.Queued(position=0, seed=spec.seed)
    with ending_at_once():
        place = registry.place(device)
        choice = choose(accelerations, place, own_process=True, record=user_cache_path("clipstyler") / RECORD)
        encoders = registry.load(spec.encoder_set, place, store=local_store(), accelerations=choice.accelerations)
    if choice.accelerations.memory:
        retain_memory_for(picture.width, picture.height)
    optimized = picture
    # The check does nothing, but lets Ctrl-C in where it is called: within a step too.
    for event in optimization.optimize(picture, spec, encoders, original=original, mask=mask, check=lambda: None):
        if isinstance(event, events.Optimized):
            optimized = event.image
        elif isinstance(event, events.Result):
            yield _result(event, picture, optimized, encoders, decode_s)
        elif shown := _shown(event, spec):
            yield shown


def _shown(event: Any, spec: StylizationSpec) -> client.Event | None:
    """Translate an event of the library; None for those that a server does not send."""
    from clipstyler import events

    match event:
        case events.Started() | events.Rendering() | events.Warning():
            kind: Callable[..., client.Event] = getattr(client, type(event).__name__)
            return kind(**asdict(event))
        case events.Preparing():
            return client.Preparing(part=event.step, parts=event.steps)
        case events.Progress():
            values = {name: value for name, value in vars(event).items() if name != "step_s"}
            return client.Progress(**values | {"losses": client.Losses(**asdict(event.losses))})
        case events.Preview():
            return _preview(event, spec)
        case _:
            return None


def _preview(event: events.Preview[Picture], spec: StylizationSpec) -> client.Preview:
    from clipstyler.imaging import encoded, shrink

    image = encoded(shrink(event.image, spec.previews.max_size), spec.previews.format)
    return client.Preview(
        step=event.step, image=image.data, format=image.format, width=image.width, height=image.height
    )


def _result(
    event: events.Result[Picture], photo: Picture, optimized: Picture, encoders: EncoderSet, decode_s: float
) -> client.Result:
    from clipstyler.imaging import encoded, fit

    spec = event.spec
    begun = time.monotonic()
    image = encoded(event.image, spec.result_format)
    timings = replace(event.timings, decode_s=decode_s, encode_s=time.monotonic() - begun)
    seen = fit(photo, spec.config.size, spec.config.enlarge)
    return client.Result(
        image=image.data,
        format=image.format,
        width=image.width,
        height=image.height,
        spec=_spec(spec),
        models=tuple(client.EncoderModel(*model) for model in event.models),
        device=event.device,
        provider=event.provider,
        threads=event.threads,
        versions=event.versions,
        losses=client.Losses(**asdict(event.losses)),
        timings={name.removesuffix("_s"): seconds for name, seconds in asdict(timings).items()},
        quality=_quality(seen, optimized, spec.style_text, spec.source_text, encoders, 0),
        steps=event.steps,
        stop_reason=str(event.stop_reason),
    )


def _spec(spec: StylizationSpec) -> client.Spec:
    from clipstyler.spec import OPTIONS

    values = vars(spec.config) | vars(spec)
    options = {name: values[name] for name in OPTIONS}
    return client.Spec(
        spec.style_text,
        spec.source_text,
        cast("StylizeOptions", options),
        cast("PreviewOptions", dict(vars(spec.previews))),
        spec.result_format,
        _region(spec),
    )


def _region(spec: StylizationSpec) -> client.RegionSpec | None:
    region = spec.region
    if region is None:
        return None
    boxes = tuple(client.Box(*box) for box in region.boxes)
    return client.RegionSpec(boxes, region.text, region.feather, region.mask_digest)


def _decoded(data: bytes, field: str) -> Picture:
    from clipstyler import imaging

    try:
        return imaging.decode(data)
    except imaging.ImageError as error:
        raise ConfigError(field, str(error)) from error


def _quality(
    content: Picture, stylized: Picture, style_text: str, source_text: str, encoders: EncoderSet, seed: int
) -> client.QualityReport:
    from clipstyler.encoders.torch_encoders import TorchEncoders
    from clipstyler.evaluation.metrics import evaluate
    from clipstyler.evaluation.text_directions import text_guidance

    measuring = TorchEncoders(encoders)
    guidance = text_guidance(measuring, style_text, source_text, encoders.calibration.template_set)
    return client.QualityReport(**asdict(evaluate(content, stylized, guidance, measuring, seed)))
