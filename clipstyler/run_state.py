"""What belongs to one photo and one text while they are optimized: `RunState`. `clipstyler.preparation` begins it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import patches
from clipstyler.config import Border, StylizeConfig
from clipstyler.crop_places import CropPlaces
from clipstyler.encoders.base import EncoderSet
from clipstyler.fitted_net import Fit
from clipstyler.footprint import is_banded, is_large
from clipstyler.imaging import Picture
from clipstyler.input_noise import octaves
from clipstyler.interruption import Check, never
from clipstyler.losses import (
    content_loss,
    directional_loss,
    patch_clip_loss,
    protection_loss,
    text_loss,
    threshold_rejection,
    total_variation,
)
from clipstyler.masking import Selected
from clipstyler.photo_cache import PhotoCache
from clipstyler.pixels import SMALLEST_SIDE, adjust_contrast, mirrored, padded, rounded
from clipstyler.readback import Readback
from clipstyler.render import FittedStyle, fix_style
from clipstyler.seen_photo import SeenPhoto
from clipstyler.stylenet import StyleNet
from clipstyler.view_choice import ViewChoice

Snapshot = Callable[[], Picture]
"""Returns a picture that was taken before, as soon as its pixels have arrived from the device."""

# Options that no step reads, and a value for each: runs that differ in these only have steps of one shape.
_READ_BY_NO_STEP: dict[str, Any] = {
    "steps": 1,
    "learning_rate": 1e-3,
    "output_size": 0,
    "keep_style": False,
    "stop_patch_loss": 0.0,
    "stop_patience": 0,
    "warm_up": 0,
    "distinctness": 0.0,
    "input_noise": 0.0,
    "contrast": 0.0,
}


class ClipTerms(NamedTuple):
    """The terms that CLIP measures, before their weights, and the share of rejected patches; each without a shape."""

    direction: Tensor
    patch: Tensor
    rejected: Tensor


class Part(NamedTuple):
    """What of a photo a run is about.

    Attributes
    ----------
    shown
        Pixels that its crops show: bool (H, W).
    kept
        Pixels that should stay as they are; None if there are none.
    """

    shown: Selected
    kept: Selected | None = None


class RunState:
    """One stylization in progress: its photo, targets, network, optimizer and generators, shared with no other.

    Parameters
    ----------
    photo
        Fitted to its final size.
    direction
        Text direction dT, (D,).
    encoders
        Guide the optimization.
    config
        Determines how.
    seed
        Of the network's weights and of all crops.
    text
        Embedding of the style text, (D,); needed if the configuration has a `text_share`.
    photos
        Cache of what encoders see in photos. Nothing depends on it.
    partner
        Another run, whose network and optimizer this one shares: both fit one network to two photos.
    part
        What of the photo it is about. Default: all of it.

    Raises
    ------
    ConfigError
        The crops do not fit into the photo.
    """

    def __init__(
        self,
        photo: Picture,
        direction: Tensor,
        encoders: EncoderSet,
        config: StylizeConfig,
        seed: int,
        text: Tensor | None = None,
        photos: PhotoCache | None = None,
        partner: RunState | None = None,
        part: Part | None = None,
    ) -> None:
        self.encoders = encoders
        self.config = config
        self.direction = direction
        self.text = text
        self.mirrored = config.border is Border.MIRROR
        self.crop_side = config.crop_side(photo.width, photo.height)
        self.size = (photo.height, photo.width)
        self.canvas = tuple(max(side, SMALLEST_SIDE) for side in self.size)
        self.is_large = is_large(photo.width, photo.height)
        self.is_banded = is_banded(photo.width, photo.height, encoders.device.type)
        self.alpha = photo.alpha
        self.generator = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.fit: Fit = partner.fit if partner else self._new_fit(self.generator)
        image = padded(photo, self.canvas)
        self.photo = image.to(encoders.device)
        self.input = self._with_noise(image).to(encoders.device)
        self.places = self._places_of(part) if part else None
        self.kept = self._kept_of(part) if part else None
        self.output: Tensor | None = None  # of the latest forward pass
        self.seen = SeenPhoto(photo, self.on_canvas(self.photo), encoders, photos)
        self.content_embedding = self.seen.embedding()
        # Those of a large photo are computed in every step: keeping them would cost what is saved elsewhere.
        keeps_features = config.weight_content and not self.is_large
        self.content_features = self._seen_features() if keeps_features else []

    @property
    def net(self) -> StyleNet:
        """The network."""
        return self.fit.net

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the network."""
        return self.fit.optimizer

    def _new_fit(self, generator: torch.Generator) -> Fit:
        config, encoders = self.config, self.encoders
        return Fit.begin(
            generator, encoders.device, encoders.accelerations, config.learning_rate, mirrored=self.mirrored
        )

    def _places_of(self, part: Part) -> CropPlaces:
        overhang = self._overhang()
        return CropPlaces(self._canvas_of(part.shown), self.crop_side, overhang, mirrored=self.mirrored)

    def _kept_of(self, part: Part) -> Tensor | None:
        if part.kept is None or not part.kept.any():
            return None
        return torch.from_numpy(self._canvas_of(part.kept)).float()[None, None].to(self.encoders.device)

    def _canvas_of(self, selected: Selected) -> Selected:
        """Mirror what is selected of a photo as the photo itself is mirrored on its canvas."""
        rows, columns = (mirrored(size, side)[:side] for size, side in zip(self.size, self.canvas, strict=True))
        return selected[np.ix_(rows, columns)]

    def _overhang(self) -> int:
        return round(self.config.crop_overhang * self.crop_side)

    def _seen_features(self) -> list[Tensor]:
        return self.seen.features(mirrored=self.mirrored)

    def _with_noise(self, image: Tensor) -> Tensor:
        if not self.config.input_noise:
            return image
        return image + self.config.input_noise * octaves(image.shape, self.config.noise_octaves, self.generator)

    def render(self) -> Tensor:
        """Run the network: the stylized image, (1, 3, H, W) in (0, 1), kept for `picture`."""
        output = self.on_canvas(self.net(self.input, banded=self.is_banded))
        self.output = output.detach()
        return output

    def draw(self) -> Tensor:
        """Run the network as a step does: that of a large photo keeps nothing, and `backpropagate` runs it again."""
        with torch.set_grad_enabled(not self.is_large):
            return self.render()

    def backpropagate(self, image: Tensor, gradient: Tensor) -> None:
        """Add the gradients of the network's weights, given that of the image which `draw` returned."""
        (image if image.requires_grad else self.render()).backward(gradient)

    def on_canvas(self, image: Tensor) -> Tensor:
        """Cut off what the network's sides have beyond the photo's."""
        height, width = self.canvas
        return image[..., :height, :width]

    def choose_views(self) -> ViewChoice:
        """Draw which views of an image CLIP sees, on the CPU."""
        config, (height, width) = self.config, self.canvas
        origins = matrices = move = None
        if config.weight_patch:
            origins = self._sample_origins()
            if config.augmentation:
                views = patches.sample_quadrilaterals(config.patches, self.crop_side, self.generator)
                matrices = patches.perspectives(views, self.crop_side)
        if config.weight_direction and self.mirrored:
            move = patches.sample_move(height, width, self.generator)
        return ViewChoice(origins, matrices, move)

    def _sample_origins(self) -> Tensor:
        count, (height, width) = self.config.patches, self.canvas
        if self.places:
            return self.places.draw(count, self.generator)
        return patches.sample_origins(
            count, self.crop_side, height, width, self.generator, self._overhang(), mirrored=self.mirrored
        )

    def views(self, image: Tensor, choice: ViewChoice) -> Tensor:
        """Return all that CLIP sees of an image: the patches, then the global view; (N, 3, S, S)."""
        view_size = self.encoders.clip.image_size
        views = []
        if choice.origins is not None:
            views.append(self._patches(image, choice.origins, choice.matrices, view_size))
        if self.config.weight_direction:
            whole = image if choice.move is None else patches.moved(image, choice.move)
            views.append(patches.resize(whole, view_size))
        return torch.cat(views) if views else image.new_zeros(0, 3, view_size, view_size)

    def _patches(self, image: Tensor, origins: Tensor, matrices: Tensor | None, view_size: int) -> Tensor:
        if matrices is None:
            return patches.crop(image, origins, self.crop_side, view_size)
        return patches.warp(
            image, origins, matrices, self.crop_side, view_size, self.config.augment_fill, mirrored=self.mirrored
        )

    def clip_terms(self, embeddings: Tensor) -> ClipTerms:
        """Return the terms of an image from the embeddings of its `views`."""
        config = self.config
        zero = embeddings.new_zeros(())
        clip_losses = directional_loss(embeddings, self.content_embedding, self.direction)
        patch_losses = zero[None]
        if config.weight_patch:
            patch_losses = self.with_text(clip_losses[: config.patches], embeddings[: config.patches])
        tau = config.threshold if config.threshold_rejection else None
        rejected = zero
        if config.weight_patch and tau is not None:
            rejected = (threshold_rejection(patch_losses, tau) == 0).float().mean()
        direction = clip_losses[-1] if config.weight_direction else zero
        return ClipTerms(direction, patch_clip_loss(patch_losses, tau), rejected)

    def content_term(self, image: Tensor) -> Tensor:
        """Return the content term of an image, before its weight."""
        if not self.config.weight_content:
            return image.new_zeros(())
        targets = self.content_features or self._seen_features()
        return content_loss(self.encoders.content.features(image, mirrored=self.mirrored), targets)

    def variation_term(self, image: Tensor) -> Tensor:
        """Return the total variation term of an image, before its weight."""
        return total_variation(image, self.config.tv_form) if self.config.weight_tv else image.new_zeros(())

    def protection_term(self, image: Tensor) -> Tensor:
        """Return the protection term of an image, before its weight: 0 if nothing is to stay."""
        return (
            image.new_zeros(()) if self.kept is None else protection_loss(image, self.on_canvas(self.photo), self.kept)
        )

    def total(self, clip: ClipTerms, content: Tensor, variation: Tensor) -> Tensor:
        """Return the weighted sum of all terms of the paper."""
        return self.weighted(clip) + self.config.weight_content * content + self.config.weight_tv * variation

    def weighted(self, clip: ClipTerms) -> Tensor:
        """Return the weighted sum of the terms that CLIP measures."""
        return self.config.weight_direction * clip.direction + self.config.weight_patch * clip.patch

    def with_text(self, directional: Tensor, embeddings: Tensor) -> Tensor:
        """Return losses of views, (N,), of which a share is the distance from the text itself."""
        share = self.config.text_share
        if self.text is None or not share:
            return directional
        return (1 - share) * directional + share * text_loss(embeddings, self.text)

    @property
    def shape(self) -> Hashable:
        """What a step depends on besides values: runs of one shape compute the same, on other numbers."""
        any_work = replace(self.config, **_READ_BY_NO_STEP)
        sizes = tuple(tuple(tensor.shape) for tensor in self._read_tensors())
        return any_work, self.size, self.crop_side, self.text is None, self.kept is None, sizes

    def twin(self) -> RunState:
        """Return a run of the same shape that has a network, an optimizer and tensors of its own.

        It does not hold what belongs to the owner of the encoders: that may own the twin.
        """
        twin = copy.copy(self)
        twin.encoders = self.encoders.alone
        twin.output = None
        del twin.seen  # with the photo
        twin.generator = torch.Generator()
        twin.fit = twin._new_fit(twin.generator)
        twin.photo, twin.input = self.photo.clone(), self.input.clone()
        twin.direction, twin.content_embedding = self.direction.clone(), self.content_embedding.clone()
        twin.content_features = [features.clone() for features in self.content_features]
        twin.text, twin.kept = (None if tensor is None else tensor.clone() for tensor in (self.text, self.kept))
        return twin

    @torch.no_grad()
    def take_over(self, other: RunState) -> None:
        """Become, in place, what another run of the same shape is that has completed no step."""
        for mine, theirs in zip(self._read_tensors(), other._read_tensors(), strict=True):
            mine.copy_(theirs)
        other.give_weights(self)
        self.fit.begin_again(other.config.learning_rate)

    @torch.no_grad()
    def give_weights(self, other: RunState) -> None:
        """Overwrite the weights of another run's network, in place."""
        for mine, theirs in zip(self.net.parameters(), other.net.parameters(), strict=True):
            theirs.copy_(mine)

    def _read_tensors(self) -> list[Tensor]:
        """Return what a step reads and never changes."""
        optional = (self.text, self.kept)
        present = [tensor for tensor in optional if tensor is not None]
        return [self.photo, self.input, self.direction, self.content_embedding, *self.content_features, *present]

    def style(self, check: Check = never) -> FittedStyle:
        """Return the network as it is now, ready to be applied at any size; `check` is called within the work."""
        config = self.config
        return fix_style(
            self.net,
            self.input,
            self.size,
            input_noise=config.input_noise,
            noise_octaves=config.noise_octaves,
            contrast=config.contrast,
            seed=self.seed,
            check=check,
        )

    def picture(self) -> Picture:
        """Return the image of the latest forward pass, after the contrast step."""
        return self.snapshot()()

    def snapshot(self) -> Snapshot:
        """Take the image of the latest forward pass, after the contrast step: the next one may begin."""
        if self.output is None:
            raise RuntimeError("nothing was rendered yet: call render or step first")
        height, width = self.size
        pixels = Readback(rounded(adjust_contrast(self.output, self.config.contrast)))
        return lambda: Picture(pixels.wait().numpy()[:height, :width], self.alpha)


def embedded(states: Sequence[RunState], views: Tensor) -> Tensor:
    """Embed views, (N, 3, S, S) to unit rows (N, D)."""
    if not len(views):
        return states[0].content_embedding[:0]
    return F.normalize(states[0].encoders.clip.encode_image(views), dim=1)
