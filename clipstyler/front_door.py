"""The front door of the library: one call from a photo and a text to a stylized image.

Everything heavy is imported when the work begins.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np

from clipstyler.acceleration import OFF, parse
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageError, Picture, check_sides, encode, read_header
from clipstyler.input_files import read_whole
from clipstyler.inputs import read_inputs
from clipstyler.options import ConfigError, Violation
from clipstyler.original import result_size
from clipstyler.output_files import Output, check_outputs, write_whole
from clipstyler.region import RegionRequest
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec

if TYPE_CHECKING:
    from clipstyler.config import Calibration
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.evaluation.direction_cache import DirectionCache
    from clipstyler.events import Result
    from clipstyler.loaded_encoders import LoadedEncoders
    from clipstyler.optimization import Event
    from clipstyler.photo_cache import PhotoCache

Photo = str | Path | bytes | Picture

SUFFIXES = {
    ".png": ImageFormat.PNG,
    ".jpg": ImageFormat.JPEG,
    ".jpeg": ImageFormat.JPEG,
    ".webp": ImageFormat.WEBP,
}
"""Encodings by the suffix of a file."""


# Fields of a spec, by the parameters of `stylize` that set them.
_PARAMETERS = {"previews.every_steps": "preview_every", "encoder_set": "encoders"}


class Options(TypedDict, total=False):
    """Options of a stylization; `clipstyler.spec.OPTIONS` has their bounds, defaults and help."""

    preset: str
    size: int
    output_size: int
    steps: int
    patches: int
    seed: int
    crop_size: int
    learning_rate: float
    threshold: float
    threshold_rejection: bool
    augmentation: bool
    augment_fill: str
    weight_direction: float
    weight_patch: float
    weight_content: float
    weight_tv: float
    tv_form: str
    contrast: float
    enlarge: bool
    crop_overhang: float
    text_share: float
    distinctness: float
    input_noise: float
    noise_octaves: int
    border: str
    start: str
    warm_up: int
    template_set: str
    stop_patch_loss: float
    stop_patience: int
    keep_style: bool


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the photo that stays as it is, or follows a text of its own: what a mask and boxes cover together.

    Attributes
    ----------
    mask
        An image of the photo's shape, as the photo is displayed: white is the region, black the rest.
    boxes
        Rectangles as (x, y, width, height), in fractions of the photo's width and height from its upper left corner.
    text
        What the region should look like. Default: it stays as it is.
    feather
        Width of the transition, which lies outside the region, as a fraction of the longest side, 0 to 0.1.
        Default: 0.01.
    """

    mask: Photo | None = None
    boxes: Sequence[Sequence[float]] = ()
    text: str | None = None
    feather: float | None = None

    def request(self) -> RegionRequest:
        """Return what is asked for, without the mask."""
        return RegionRequest(self.mask is not None, self.boxes, self.text, self.feather)


class Stylization:
    """A stylization that begins when it is iterated over, or when its result is asked for.

    Iterating yields the events of `clipstyler.optimization.optimize`; leaving the loop stops the work.

    Attributes
    ----------
    spec
        What is computed, resolved.
    """

    def __init__(
        self,
        photo: Photo,
        mask: Photo | None,
        spec: StylizationSpec,
        encoders: EncoderSet | _Named,
        directions: DirectionCache | None,
        photos: PhotoCache | None,
    ) -> None:
        self.spec = spec
        self._photo = photo
        self._mask = mask
        self._encoders = encoders
        self._directions = directions
        self._photos = photos
        self._events: Generator[Event, None, None] | None = None
        self._result: Result[Picture] | None = None
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Event]:
        if self._events is None:
            self._events = self._run()
        return self._events

    def _run(self) -> Generator[Event, None, None]:
        from clipstyler.events import Result  # light, and needed here only

        try:
            for event in self._optimized():
                if isinstance(event, Result):
                    self._result = event
                yield event
        except Exception as error:
            self._error = error
            raise

    def _optimized(self) -> Iterator[Event]:
        from clipstyler.loaded_encoders import LoadedEncoders
        from clipstyler.optimization import Reuse, optimize  # loads PyTorch

        mask = None if self._mask is None else _content(self._mask)
        inputs = read_inputs(_content(self._photo), mask, self.spec)
        encoders = self._encoders.load() if isinstance(self._encoders, _Named) else self._encoders
        steps = encoders.steps if isinstance(encoders, LoadedEncoders) else None
        return optimize(
            inputs.picture,
            inputs.spec,
            encoders,
            original=inputs.original,
            mask=inputs.mask,
            reuse=Reuse(self._directions, self._photos, steps),
        )

    def result(self) -> Result[Picture]:
        """Run to the end and return the result; one that failed raises its error each time.

        Raises
        ------
        ConfigError, ImageError
            The photo or an option cannot be used.
        EncoderUnavailableError
            The encoders cannot be loaded.
        FloatingPointError
            The optimization diverged.
        """
        for _ in self:
            pass
        if self._result is None:
            raise self._error or RuntimeError("the stylization was stopped before its result: begin a new one")
        return self._result

    def save(self, path: str | Path) -> Path:
        """Run to the end and write the result as .png, .jpg or .webp; returns the path.

        The path is checked before the work begins; the errors are those of `result`.

        Raises
        ------
        ConfigError
            The result cannot be written there.
        OSError
            Writing failed after the work; `result` still returns the result.
        """
        target = Path(path)
        inputs = [file for file in (self._photo, self._mask) if isinstance(file, str | Path)]
        check_outputs([Output("path", target, SUFFIXES)], inputs=inputs)
        image_format = SUFFIXES[target.suffix.lower()]
        self._check_sides(image_format)
        write_whole(target, encode(self.result().image, image_format))
        return target

    def _check_sides(self, image_format: ImageFormat) -> None:
        photo = _content(self._photo)
        shown = photo if isinstance(photo, Picture) else read_header(photo)
        try:
            check_sides(*result_size(self.spec.config, shown.width, shown.height), image_format)
        except ImageError as error:
            raise ConfigError("path", str(error)) from error


def stylize(  # noqa: PLR0913 - one per fact, all but two by name
    photo: Photo,
    style_text: str,
    *,
    source_text: str | None = None,
    region: Region | None = None,
    encoders: str | EncoderSet = "pocket",
    device: str = "cpu",
    accelerations: str = OFF,
    preview_every: int = 0,
    directions: DirectionCache | None = None,
    photos: PhotoCache | None = None,
    **options: Unpack[Options],
) -> Stylization:
    """Stylize a photo by a text (CLIPstyler, Kwon & Ye, CVPR 2022).

    Parameters
    ----------
    photo
        Path or bytes of an image file, or a `Picture`.
    style_text
        What the result should look like.
    source_text
        What the photo shows. Default: the encoders' ("a Photo" in the paper's code).
    region
        A part of the photo that stays as it is, or follows a text of its own.
    encoders
        Name of an encoder set (`available_encoders` lists some), or what `load_encoders` returned.
    device
        Where a named encoder set is loaded: "cpu", "cuda", "cuda:1", ...
    accelerations
        Of the device, for a named encoder set; see `load_encoders`.
    preview_every
        Steps between `Preview` events, the first of which shows the start; 0 yields none.
    directions
        Cache of what the texts contribute, for several stylizations by the same text.
    photos
        Cache of what the encoders see in photos, for several stylizations of the same photo.
    **options
        `size`, `steps`, `seed` and all other names of `clipstyler.spec.OPTIONS`.

    Returns
    -------
    A `Stylization`: iterate over it, or call `.result()` or `.save(path)`.

    Raises
    ------
    ConfigError
        Parameters and options that cannot be used, a missing photo among them: all in one error.
    """
    violations = _file_violations("photo", photo)
    if region is not None and not isinstance(region, Region):
        violations.append(Violation("region", f"must be a Region, got {type(region).__name__}"))
        region = None
    request = SpecRequest(
        style_text,
        source_text,
        options=dict(options),
        previews={"every_steps": preview_every, "max_size": 4096},
        region=None if region is None else region.request(),
    )
    mask = region.mask if region else None
    if mask is not None:
        violations += _file_violations("region.mask", mask)
    loaded: EncoderSet | _Named | None = None
    try:
        loaded = _Named(encoders, device, accelerations) if isinstance(encoders, str) else _checked(encoders)
    except ConfigError as error:
        violations += [Violation(_PARAMETERS.get(name, name), problem) for name, problem in error.violations]
    # Whatever else is wrong can still be found with another calibration.
    known = loaded or _Named("pocket", device)
    try:
        spec = resolve_spec(request, {known.name: known.calibration}, SpecLimits())
    except ConfigError as error:
        violations += [Violation(_PARAMETERS.get(name, name), problem) for name, problem in error.violations]
    if violations or loaded is None:
        raise ConfigError.of(violations)
    return Stylization(photo, mask, spec, loaded, directions, photos)


def available_encoders() -> list[str]:
    """List encoder sets that have a name of their own, the bundled default first.

    Any `ARCH:PRETRAINED` of open_clip and any directory with weights can be loaded too.
    """
    from clipstyler.encoders import registry

    return [spec.name for spec in registry.catalog()]


def load_encoders(name: str = "pocket", device: str = "cpu", accelerations: str = OFF) -> LoadedEncoders:
    """Load an encoder set, for several stylizations.

    With the acceleration `graphs`, what the first stylization of a shape captures serves the next ones. That takes
    gigabytes of a GPU, which are free again when the set is let go of.

    Parameters
    ----------
    name
        Of the set.
    device
        "cpu", "cuda", "cuda:1", ...
    accelerations
        Of the device: "off"; "auto" for those that a short measurement finds faster; or names separated by commas.
        They change the bytes of results within rounding. `memory` and `tf32`, which concern the whole process, are
        used only if they are named.

    Raises
    ------
    ConfigError
        A parameter is unknown.
    EncoderUnavailableError
        The weights cannot be loaded.
    """
    from clipstyler.acceleration_choice import choose
    from clipstyler.encoders import registry
    from clipstyler.loaded_encoders import LoadedEncoders

    place = registry.place(device)
    choice = choose(accelerations, place, own_process=False)
    return LoadedEncoders.of(registry.load(name, place, accelerations=choice.accelerations))


class _Named:
    """An encoder set that is loaded when the work begins."""

    def __init__(self, name: str, device: str, accelerations: str = OFF) -> None:
        from clipstyler.encoders import registry

        violations: list[Violation] = []
        for check, value in ((parse, accelerations), (registry.spec, name)):
            try:
                check(value)
            except ConfigError as error:
                violations += error.violations
        if violations:
            raise ConfigError.of(violations)
        self.name = name
        self._device = device
        self._accelerations = accelerations
        self.calibration: Calibration = registry.spec(name).calibration

    def load(self) -> LoadedEncoders:
        return load_encoders(self.name, self._device, self._accelerations)


def _content(file: Photo) -> bytes | Picture:
    return file if isinstance(file, bytes | Picture) else read_whole(Path(file))


def _checked(encoders: EncoderSet) -> EncoderSet:
    from clipstyler.encoders.base import EncoderSet  # loads PyTorch, as whatever has made them did

    if not isinstance(encoders, EncoderSet):
        problem = f"must be a name, or what load_encoders returned, got {type(encoders).__name__}"
        raise ConfigError("encoders", problem)
    return encoders


def _file_violations(field: str, file: Photo) -> list[Violation]:
    problem = _picture_problem(file) if isinstance(file, Picture) else _file_problem(file)
    return [Violation(field, problem)] if problem else []


def _file_problem(file: str | Path | bytes) -> str | None:
    """Return why a file cannot be an image; None if it may be one."""
    if not isinstance(file, str | Path | bytes):
        return f"must be a path, bytes or a Picture, got {type(file).__name__}"
    try:
        is_there = isinstance(file, bytes) or Path(file).is_file()
    except OSError as error:
        return f"{str(file)!r} cannot be read: {error.strerror}"
    return None if is_there else f"{str(file)!r} is no file: name an image"


def _picture_problem(picture: Picture) -> str | None:
    """Return why a picture that was made by hand cannot be used; None if it can."""
    rgb, alpha = picture.rgb, picture.alpha
    if not _is_pixels(rgb) or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        return "its rgb must be a uint8 array of shape (height, width, 3)"
    if alpha is not None and not (_is_pixels(alpha) and alpha.shape == rgb.shape[:2]):
        return "its alpha must be a uint8 array of shape (height, width), or None"
    return None


def _is_pixels(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.uint8
