"""The workbench: encoders, photos, texts and the gallery of a run, as everything else needs them."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.inference import Floats, image_of, l2_normalize
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.text_directions import TextGuidance, text_guidance
from clipstyler.imaging import Picture, decode, fit
from clipstyler.photo_cache import PhotoCache
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler.style_applying import LoadedStyle
from clipstyler.style_fitting import fit_style
from clipstyler_lab.gallery import Gallery
from clipstyler_lab.generators import completed
from clipstyler_lab.measures import Seen
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.style_features import channel_statistics, style_features
from clipstyler_lab.trials import Method, Trial

_CACHED_PHOTOS = 256 * 2**20  # bytes


class Workbench:
    """What a run works with.

    Attributes
    ----------
    settings
        Of the run.
    encoders
        At hand.
    measuring
        The same, as the metrics use them.
    gallery
        Style images and labeled images.
    photo_cache
        What encoders see in photos, shared by all stylizations.
    """

    def __init__(self, settings: LabSettings, encoders: EncoderSet) -> None:
        self.settings = settings
        self.encoders = encoders
        self.measuring = TorchEncoders(encoders)
        self.gallery = Gallery(settings.styles)
        self.photo_cache = PhotoCache(_CACHED_PHOTOS)
        self._photos = {name: decode(path.read_bytes()) for name, path in settings.photos.items()}
        self._fitted: dict[tuple[str, int], Picture] = {}
        self._guidance: dict[str, TextGuidance] = {}
        self._styles: dict[tuple[str, int], LoadedStyle] = {}

    def spec(self, trial: Trial) -> StylizationSpec:
        """Resolve a trial.

        Raises
        ------
        ConfigError
            Options that cannot be used.
        """
        options = self.settings.work._asdict() | {"seed": trial.seed} | dict(trial.options)
        request = SpecRequest(trial.text, None, options, {"every_steps": 0})
        return resolve_spec(request, {self.encoders.name: self.encoders.calibration}, SpecLimits())

    def photo(self, name: str, size: int) -> Picture:
        """Return a photo, fitted to a size."""
        if (name, size) not in self._fitted:
            self._fitted[name, size] = fit(self._photos[name], size)
        return self._fitted[name, size]

    @property
    def first_photo(self) -> str:
        """The photo that styles are fitted to."""
        return next(iter(self.settings.photos))

    def photo_digest(self, name: str, size: int) -> str:
        """Return the SHA-256 of a photo's pixels at a size, in hexadecimal."""
        return hashlib.sha256(self.photo(name, size).rgb.tobytes()).hexdigest()

    def style(self, text: str, seed: int) -> LoadedStyle:
        """Return the style that is fitted to the first photo.

        Raises
        ------
        FloatingPointError
            The optimization diverged.
        """
        if (text, seed) not in self._styles:
            spec = self.spec(Trial(Method.CLIPSTYLER, self.first_photo, text, seed))
            photo = self.photo(self.first_photo, spec.config.size)
            fitted = completed(fit_style([photo], spec, self.encoders))
            self._styles[text, seed] = LoadedStyle.of(fitted, self.encoders.device)
        return self._styles[text, seed]

    def guidance(self, text: str) -> TextGuidance:
        """Return what a text contributes."""
        if text not in self._guidance:
            calibration = self.encoders.calibration
            found = text_guidance(self.measuring, text, calibration.source_text, calibration.template_set)
            self._guidance[text] = found
        return self._guidance[text]

    def direction(self, text: str) -> Tensor:
        """Return the text direction, (D,), on the device: the paper's, whatever a calibration takes away from it."""
        return torch.tensor(self.guidance(text).direction, device=self.encoders.device)

    def tensor(self, picture: Picture) -> Tensor:
        """Return a picture as (1, 3, H, W) in [0, 1] on the device."""
        return torch.from_numpy(image_of(picture.rgb)).to(self.encoders.device)

    def embedding(self, picture: Picture) -> Floats:
        """Return the unit embedding of a whole picture, (D,)."""
        embedding: Floats = l2_normalize(self.measuring.encode_image(self.measuring.views(image_of(picture.rgb))))[0]
        return embedding

    @cached_property
    def gallery_embeddings(self) -> Floats:
        """Unit embeddings of the style images, (looks, D)."""
        return np.stack([self.embedding(self.gallery.style(look)) for look in self.gallery.looks])

    def seen(self, picture: Picture) -> Seen:
        """Return a picture as `clipstyler_lab.measures.spread` compares it."""
        image = image_of(picture.rgb)
        with torch.no_grad():
            maps = style_features(self.encoders.content, self.tensor(picture))
            style = [torch.cat(channel_statistics(part)).flatten().cpu().numpy() for part in maps]
        return Seen(image[0], self.embedding(picture), style, self.measuring.features(image))
