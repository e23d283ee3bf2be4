"""The optimization: one step for one or several runs, and a generator of events around it.

`RunState` holds everything that belongs to one photo and one text; `step` advances runs that share encoders by one
optimizer step each. `optimize` runs one specification from its start to its result.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import patches
from clipstyler.config import Border, Start, StylizeConfig
from clipstyler.diagnostics import cut_texts, unfamiliar_text, weak_result
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import DirectionCache, guidance_of
from clipstyler.events import (
    Losses,
    Optimized,
    Preparing,
    Preview,
    Progress,
    Rendering,
    Result,
    Started,
    Timings,
    Warning,
)
from clipstyler.imaging import Picture, fit, resized
from clipstyler.input_noise import octaves
from clipstyler.losses import (
    content_loss,
    directional_loss,
    patch_clip_loss,
    text_loss,
    threshold_rejection,
    total_variation,
)
from clipstyler.original import Original
from clipstyler.photo_cache import PhotoCache
from clipstyler.pixels import SMALLEST_SIDE, adjust_contrast, padded, to_pixels
from clipstyler.render import FittedStyle, fit_style, render
from clipstyler.seen_photo import SeenPhoto
from clipstyler.spec import StylizationSpec
from clipstyler.starting import show
from clipstyler.stylenet import StyleNet
from clipstyler.tints import tints

SHORTLIST = 5  # tints that go through all losses, of those with the best global views
WARM_UP_RATE = 2e-3  # of Adam; the photo is learned in a dozen steps at a rate too high for styles
HALVING_PERIOD = 100  # steps after which the learning rate is halved
_LIBRARIES = ("clipstyler", "torch", "torchvision", "open_clip_torch", "numpy", "pillow")

Event = Started | Preparing | Progress | Preview[Picture] | Optimized[Picture] | Rendering | Warning | Result[Picture]


@dataclass(frozen=True)
class StepReport:
    """What one step saw: its losses, and the share of rejected patches."""

    losses: Losses
    rejected: float


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
    ) -> None:
        self.encoders = encoders
        self.config = config
        self.direction = direction
        self.text = text
        self.mirrored = config.border is Border.MIRROR
        self.crop_side = config.crop_side(photo.width, photo.height)
        self.size = (photo.height, photo.width)
        self.canvas = tuple(max(side, SMALLEST_SIDE) for side in self.size)
        self.alpha = photo.alpha
        self.generator = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.net = StyleNet.initialize(
            self.generator,
            encoders.device,
            channels_last=encoders.accelerations.channels_last,
            mirrored=self.mirrored,
        )
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, HALVING_PERIOD, gamma=0.5)
        image = padded(photo, self.canvas)
        self.photo = image.to(encoders.device)
        self.input = self._with_noise(image).to(encoders.device)
        self.output: Tensor | None = None  # of the latest forward pass
        self.updates = 0
        self.seen = SeenPhoto(photo, self._on_canvas(self.photo), encoders, photos)
        self.content_embedding = self.seen.embedding()
        self.content_features = self.seen.features(mirrored=self.mirrored) if config.weight_content else []

    def _with_noise(self, image: Tensor) -> Tensor:
        if not self.config.input_noise:
            return image
        return image + self.config.input_noise * octaves(image.shape, self.config.noise_octaves, self.generator)

    def render(self) -> Tensor:
        """Run the network: the stylized image, (1, 3, H, W) in (0, 1), kept for `picture`."""
        output = self._on_canvas(self.net(self.input))
        self.output = output.detach()
        return output

    def _on_canvas(self, image: Tensor) -> Tensor:
        height, width = self.canvas
        return image[..., :height, :width]

    def views(self, image: Tensor) -> Tensor:
        """Return all that CLIP sees of an image: the patches, then the global view; (N, 3, S, S)."""
        config, view_size = self.config, self.encoders.clip.image_size
        views = []
        if config.weight_patch:
            views.append(self._patches(image, view_size))
        if config.weight_direction:
            whole = patches.moved(image, self.generator) if self.mirrored else image
            views.append(patches.resize(whole, view_size))
        return torch.cat(views) if views else image.new_zeros(0, 3, view_size, view_size)

    def _patches(self, image: Tensor, view_size: int) -> Tensor:
        config, side = self.config, self.crop_side
        height, width = self.canvas
        overhang = round(config.crop_overhang * side)
        origins = patches.sample_origins(
            config.patches, side, height, width, self.generator, overhang, mirrored=self.mirrored
        )
        if not config.augmentation:
            return patches.crop(image, origins, side, view_size)
        quadrilaterals = patches.sample_quadrilaterals(config.patches, side, self.generator)
        return patches.warp(
            image, origins, quadrilaterals, side, view_size, config.augment_fill, mirrored=self.mirrored
        )

    def objective(self, image: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the loss terms, and a detached row with the values of a `StepReport`."""
        config = self.config
        zero = image.new_zeros(())
        clip_losses = directional_loss(embeddings, self.content_embedding, self.direction)
        patch_losses = zero[None]
        if config.weight_patch:
            patch_losses = self._with_text(clip_losses[: config.patches], embeddings[: config.patches])
        tau = config.threshold if config.threshold_rejection else None
        patch = patch_clip_loss(patch_losses, tau)
        direction = clip_losses[-1] if config.weight_direction else zero
        content = zero
        if config.weight_content:
            features = self.encoders.content.features(image, mirrored=self.mirrored)
            content = content_loss(features, self.content_features)
        variation = total_variation(image, config.tv_form) if config.weight_tv else zero
        total = (
            config.weight_direction * direction
            + config.weight_patch * patch
            + config.weight_content * content
            + config.weight_tv * variation
        )
        rejected = zero
        if config.weight_patch and tau is not None:
            rejected = (threshold_rejection(patch_losses, tau) == 0).float().mean()
        return total, torch.stack([total, direction, patch, content, variation, rejected]).detach()

    def _with_text(self, directional: Tensor, embeddings: Tensor) -> Tensor:
        """Return losses of views of which a share is the distance from the text itself."""
        share = self.config.text_share
        if self.text is None or not share:
            return directional
        return (1 - share) * directional + share * text_loss(embeddings, self.text)

    def prepare(self) -> Iterator[None]:
        """Bring the network to its start, whose image is then kept for `picture`; leaves the optimizer untouched.

        Yields after each of the `preparation_parts`: none takes longer than a step.
        """
        if _needs_tint(self.config):
            nearest = yield from self.nearest_tint()
            target = tints()[nearest](self._on_canvas(self.photo))
            if self.config.start is Start.PHOTO:
                self.output = self._on_canvas(show(self.net, self.input, target))
            yield from self._warm_up(target)
        if self.output is None or self.config.warm_up:
            with torch.no_grad():
                self.render()
        yield

    def nearest_tint(self) -> Generator[None, None, int]:
        """Find the tint nearest to the text: all of them by their global views, then the best of these by all losses.

        Yields after each part of the search; returns the tint's number in `clipstyler.tints.tints`.
        """
        best: list[int] = self._tint_scores().topk(SHORTLIST, largest=False).indices.sort().values.tolist()
        yield
        losses = []
        for loss in self.tint_losses(best):
            losses.append(loss)
            yield
        return best[losses.index(min(losses))]

    def _tint_scores(self) -> Tensor:
        """Return what the loss of each tint would be if the global view were the only patch, (tints,)."""
        config, seen = self.config, self.seen.tints()
        directional = directional_loss(seen.embeddings, self.content_embedding, self.direction)
        patch = self._with_text(directional, seen.embeddings)
        whole = config.weight_direction * directional + config.weight_patch * patch
        return whole + config.weight_content * seen.contents

    def tint_losses(self, numbers: Sequence[int]) -> Iterator[float]:
        """Yield the loss of the photo in each of some tints, all seen through the same patches."""
        before = self.generator.get_state()
        candidates = tints()
        for number in numbers:
            with torch.no_grad():
                image = candidates[number](self._on_canvas(self.photo))
                embeddings = F.normalize(self.encoders.clip.encode_image(self.views(image)), dim=1)
                loss = float(self.objective(image, embeddings)[0])
            self.generator.set_state(before)
            yield loss

    def _warm_up(self, target: Tensor) -> Iterator[None]:
        """Learn to reproduce a picture; yields after every step."""
        optimizer = torch.optim.Adam(self.net.parameters(), lr=WARM_UP_RATE)
        for _ in range(self.config.warm_up):
            loss = F.l1_loss(self.render(), target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield
        self.optimizer.zero_grad(set_to_none=True)

    def update(self) -> None:
        """Apply the gradients once, then step the schedule."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.updates += 1

    def style(self) -> FittedStyle:
        """Return the network as it is now, ready to be applied at any size."""
        config = self.config
        return fit_style(
            self.net,
            self.input,
            self.size,
            input_noise=config.input_noise,
            noise_octaves=config.noise_octaves,
            contrast=config.contrast,
            seed=self.seed,
        )

    def picture(self) -> Picture:
        """Return the image of the latest forward pass, after the contrast step."""
        if self.output is None:
            raise RuntimeError("nothing was rendered yet: call render or step first")
        height, width = self.size
        return Picture(to_pixels(adjust_contrast(self.output, self.config.contrast))[:height, :width], self.alpha)


def preparation_parts(config: StylizeConfig) -> int:
    """Return how many parts `RunState.prepare` has: the search for a tint, the warm-up steps, and the start picture."""
    search = 1 + SHORTLIST if _needs_tint(config) else 0
    return search + config.warm_up + 1


def _needs_tint(config: StylizeConfig) -> bool:
    return config.start is Start.PHOTO or config.warm_up > 0


def step(states: Sequence[RunState]) -> list[StepReport]:
    """Complete one optimizer step in every run. All runs share encoders, and CLIP sees all their views in one batch.

    Raises
    ------
    FloatingPointError
        A loss is not finite: the weights or the learning rate are too large.
    """
    images = [state.render() for state in states]
    views = [state.views(image) for state, image in zip(states, images, strict=True)]
    everything = torch.cat(views)
    clip = states[0].encoders.clip
    embeddings = F.normalize(clip.encode_image(everything), dim=1) if len(everything) else _nothing(states[0])
    shares = torch.split(embeddings, [len(view) for view in views])
    outcomes = [s.objective(i, e) for s, i, e in zip(states, images, shares, strict=True)]
    torch.stack([total for total, _ in outcomes]).sum().backward()
    rows: list[list[float]] = torch.stack([row for _, row in outcomes]).tolist()
    if not np.isfinite(rows).all():
        raise FloatingPointError("a loss is not finite: use smaller weights or a smaller learning rate")
    for state in states:
        state.update()
    return [StepReport(Losses(*row[:5]), row[5]) for row in rows]


def optimize(
    picture: Picture,
    spec: StylizationSpec,
    encoders: EncoderSet,
    *,
    original: Original | None = None,
    directions: DirectionCache | None = None,
    photos: PhotoCache | None = None,
) -> Iterator[Event]:
    """Stylize a picture as specified (CLIPstyler, Kwon & Ye, CVPR 2022).

    Nothing happens until the iterator is advanced; each advance completes at most one step or one tile, and dropping
    the iterator stops the work.

    Parameters
    ----------
    picture
        The photo; it is fitted to the configuration's size.
    spec
        What is asked for, resolved.
    encoders
        The encoder set that the specification names.
    original
        What the result is rendered from. Default: the picture.
    directions
        Cache of what the texts contribute. Results do not depend on it.
    photos
        Cache of what the encoders see in photos. Results do not depend on it.

    Yields
    ------
    `Started`; a `Warning` for a damaged photo, a text that is cut, a style text that the encoders do not know; a
    `Preparing` per part of the preparation; the `Preview` of the start (step 0), if previews are wanted; per step the
    `Preview` that is due, then its `Progress`; `Optimized`; a `Warning` if the patches do not match the text even at
    the end; a `Rendering` before the first tile and after each, if the result is larger; `Result`.

    Raises
    ------
    ConfigError
        The texts mean the same to the encoders, or the crops do not fit into the photo.
    ImageError
        The original cannot be loaded.
    FloatingPointError
        The optimization diverged.
    """
    begun = time.monotonic()
    config = spec.config
    photo = fit(picture, config.size, config.enlarge)
    config.crop_side(photo.width, photo.height)
    original = original or Original.of_picture(picture, config)
    yield Started(config.steps, original.width, original.height, str(encoders.device))
    for problem in picture.warnings:
        yield Warning("PHOTO_DAMAGED", problem)
    measuring = TorchEncoders(encoders)
    yield from cut_texts(measuring, spec)
    guidance = guidance_of(measuring, spec.style_text, spec.source_text, config.template_set, directions).guidance
    yield from unfamiliar_text(encoders.name, spec.style_text, guidance.confidence)
    parts = preparation_parts(config)
    yield Preparing(0, parts)
    direction, text = (torch.tensor(row, device=encoders.device) for row in (guidance.direction, guidance.style))
    state = RunState(photo, direction, encoders, config, spec.seed, text if config.text_share else None, photos)
    for completed, _ in enumerate(state.prepare(), 1):
        yield Preparing(completed, parts)
    if spec.previews.wants(0):
        yield Preview(0, state.picture())
    prepared = time.monotonic()
    report = yield from _steps(state, spec, prepared)
    with torch.no_grad():
        state.render()
    optimized = time.monotonic()
    yield Optimized(state.picture())
    yield from weak_result(encoders.calibration, config, report.losses)
    stylized = yield from _resized(state, original)
    yield Result(
        image=stylized,
        spec=spec,
        models=encoders.models,
        device=str(encoders.device),
        provider=provider(encoders.device),
        threads=threads(encoders.device),
        versions=library_versions() | {"accelerations": str(encoders.accelerations)},
        losses=report.losses,
        timings=Timings(
            prepare_s=prepared - begun, optimize_s=optimized - prepared, render_s=time.monotonic() - optimized
        ),
    )


def _steps(state: RunState, spec: StylizationSpec, prepared: float) -> Generator[Event, None, StepReport]:
    """Complete every step; returns the report of the last one."""
    total, before_s = spec.config.steps, 0.0
    for completed in range(1, total + 1):
        (report,) = step([state])
        elapsed_s = time.monotonic() - prepared
        if spec.previews.wants(completed):
            yield Preview(completed, state.picture())
        yield Progress(
            step=completed,
            steps=total,
            losses=report.losses,
            rejected=report.rejected,
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s / completed * (total - completed),
            step_s=elapsed_s - before_s,
        )
        before_s = elapsed_s
    return report


def _resized(state: RunState, original: Original) -> Generator[Event, None, Picture]:
    """Return the image of the latest forward pass at the size of the original: rendered anew if that is larger."""
    picture, size = state.picture(), (original.width, original.height)
    if max(size) <= max(picture.width, picture.height):
        return resized(picture, size)
    return (yield from render(state.style(), original.load()))


def provider(device: torch.device) -> str:
    """Return the execution provider on a device: "torch-cpu" or "torch-cuda"."""
    return f"torch-{device.type}"


def threads(device: torch.device) -> int:
    """Return the number of CPU threads that compute; 0 on other devices."""
    return torch.get_num_threads() if device.type == "cpu" else 0


def library_versions() -> dict[str, str]:
    """Return the versions of the interpreter and the libraries that determine the bytes of a result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _nothing(state: RunState) -> Tensor:
    """Return the embeddings of no views, for runs with both CLIP terms switched off."""
    return state.content_embedding[:0]
