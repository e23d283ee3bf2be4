"""The optimization: one step for one or several runs, and a generator of progress around it.

`RunState` holds everything that belongs to one photo and one text; `step` advances runs that share encoders by one
optimizer update each. `stylize` is a thin wrapper for one run: it yields `Progress` after every update, and last a
`Result`.
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import patches
from clipstyler.config import StylizeConfig, check_seed, resolve
from clipstyler.encoders.base import EncoderSet, KnowsItsLimits
from clipstyler.events import Caution, Losses, Progress, Result, Timings, WarmUp
from clipstyler.imaging import Picture, fit
from clipstyler.losses import (
    content_loss,
    directional_loss,
    patch_clip_loss,
    text_loss,
    threshold_rejection,
    total_variation,
)
from clipstyler.prompts import check_texts, embed_text, text_direction
from clipstyler.stylenet import STRIDE, StyleNet
from clipstyler.tints import luminance, tints

WARM_UP_RATE = 2e-3  # of Adam; the photo is learned in a dozen updates at a rate too high for the styles
HALVING_PERIOD = 100  # updates after which the learning rate is halved
# A narrower photo is mirrored to this: VGG19 halves four times, and StyleNet normalizes over its smallest map.
SMALLEST_SIDE = 16
_FAMILIAR = 0.5  # probability below which a text counts as unknown
_LIBRARIES = ("clipstyler", "torch", "torchvision", "open_clip_torch", "numpy", "pillow")


@dataclass(frozen=True)
class StepReport:
    """What one update saw: its losses, and the share of rejected patches."""

    losses: Losses
    rejected: float


class RunState:
    """One stylization under way: its photo, targets, network, optimizer and generators, shared with no other.

    Parameters
    ----------
    photo
        Fitted to its final size.
    direction
        Text direction dT, (D,).
    encoders
        Guide the optimization.
    config
        Decides how.
    seed
        Of the network's weights and of all crops.
    text
        Embedding of the style text, (D,); needed where the configuration has a `text_share`.

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
    ) -> None:
        self.encoders = encoders
        self.config = config
        self.direction = direction
        self.text = text
        self.crop_side = config.crop_side(photo.width, photo.height)
        self.size = (photo.height, photo.width)
        self.canvas = tuple(max(side, SMALLEST_SIDE) for side in self.size)
        self.alpha = photo.alpha
        self.generator = torch.Generator().manual_seed(seed)
        self.net = StyleNet.initialize(self.generator, encoders.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, HALVING_PERIOD, gamma=0.5)
        padded = _padded(photo, self.canvas)
        self.photo = padded.to(encoders.device)
        self.input = self._with_noise(padded).to(encoders.device)
        self.output: Tensor | None = None  # of the latest forward pass
        self.updates = 0
        with torch.no_grad():
            content = self._on_canvas(self.photo)
            view = patches.resize(content, encoders.clip.image_size)
            self.content_embedding = F.normalize(encoders.clip.encode_image(view), dim=1)
            self.content_features = encoders.content.features(content) if config.weight_content else []

    def _with_noise(self, image: Tensor) -> Tensor:
        if not self.config.input_noise:
            return image
        return image + self.config.input_noise * torch.randn(image.shape, generator=self.generator)

    def render(self) -> Tensor:
        """Run the network: the stylized image, (1, 3, H, W) in (0, 1), kept for `picture`."""
        output = self._on_canvas(self.net(self.input))
        self.output = output.detach()
        return output

    def _on_canvas(self, padded: Tensor) -> Tensor:
        height, width = self.canvas
        return padded[..., :height, :width]

    def views(self, image: Tensor) -> Tensor:
        """All that CLIP sees of an image: the patches, then the global view; (N, 3, S, S)."""
        config, view_size = self.config, self.encoders.clip.image_size
        views = []
        if config.weight_patch:
            views.append(self._patches(image, view_size))
        if config.weight_direction:
            views.append(patches.resize(image, view_size))
        return torch.cat(views) if views else image.new_zeros(0, 3, view_size, view_size)

    def _patches(self, image: Tensor, view_size: int) -> Tensor:
        config, side = self.config, self.crop_side
        height, width = self.canvas
        overhang = round(config.crop_overhang * side)
        origins = patches.sample_origins(config.patches, side, height, width, self.generator, overhang)
        if not config.augmentation:
            return patches.crop(image, origins, side, view_size)
        quadrilaterals = patches.sample_quadrilaterals(config.patches, side, self.generator)
        return patches.warp(image, origins, quadrilaterals, side, view_size, config.augment_fill)

    def objective(self, image: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sum of the loss terms, and a detached row of what a `StepReport` tells."""
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
            content = content_loss(self.encoders.content.features(image), self.content_features)
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
        """Losses of views of which a share is the distance from the text itself."""
        share = self.config.text_share
        if self.text is None or not share:
            return directional
        return (1 - share) * directional + share * text_loss(embeddings, self.text)

    def warm_up(self) -> Iterator[int]:
        """Learn to give the photo back, in the colors nearest to the text; leaves the optimizer untouched.

        Yields the number of every update made.
        """
        if not self.config.warm_up:
            return
        optimizer = torch.optim.Adam(self.net.parameters(), lr=WARM_UP_RATE)
        target = self._nearest_start()
        for done in range(1, self.config.warm_up + 1):
            loss = F.l1_loss(self.render(), target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield done
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _nearest_start(self) -> Tensor:
        """The photo in that tint of `clipstyler.tints` whose loss is least, (1, 3, H, W)."""
        photo, candidates = self._on_canvas(self.photo), tints()
        before, losses = self.generator.get_state(), []
        for tint in candidates:
            self.generator.set_state(before)  # the same patches of all
            image = tint(photo)
            embeddings = F.normalize(self.encoders.clip.encode_image(self.views(image)), dim=1)
            losses.append(float(self.objective(image, embeddings)[0]))
        return candidates[min(range(len(losses)), key=losses.__getitem__)](photo)

    def update(self) -> None:
        """Apply the gradients once, then step the schedule."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.updates += 1

    def picture(self) -> Picture:
        """Image of the latest forward pass, after the contrast step."""
        if self.output is None:
            raise RuntimeError("nothing was rendered yet: call render or step first")
        height, width = self.size
        return Picture(_to_pixels(adjust_contrast(self.output, self.config.contrast))[:height, :width], self.alpha)


def step(states: Sequence[RunState]) -> list[StepReport]:
    """Make one optimizer update in every run. All runs share encoders, and CLIP sees all their views in one batch.

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
    torch.stack([total for total, _ in outcomes]).sum().backward()  # type: ignore[no-untyped-call]
    rows: list[list[float]] = torch.stack([row for _, row in outcomes]).tolist()
    if not np.isfinite(rows).all():
        raise FloatingPointError("a loss is not finite: use smaller weights or a smaller learning rate")
    for state in states:
        state.update()
    return [StepReport(Losses(*row[:5]), row[5]) for row in rows]


def stylize(
    picture: Picture,
    style_text: str,
    encoders: EncoderSet,
    config: StylizeConfig | None = None,
    *,
    source_text: str | None = None,
    seed: int | None = None,
) -> Iterator[Caution | WarmUp | Progress | Result]:
    """Stylize a picture by a text (CLIPstyler, Kwon & Ye, CVPR 2022).

    Nothing happens until the iterator is advanced; every advance makes exactly one update, and dropping the
    iterator stops the work.

    Parameters
    ----------
    picture
        The photo; it is fitted to the configuration's size.
    style_text
        What the result should look like.
    encoders
        Guide the optimization; see `clipstyler.encoders.registry.load`.
    config
        Decides how. Default: the preset `draft` with the encoders' calibration.
    source_text
        What the photo is. Default: the calibration's.
    seed
        Of everything random, 0 to 2^63 - 1. Default: drawn from the system.

    Yields
    ------
    A `Caution` when the encoders do not know the style text, a `WarmUp` after each update of the warm-up, a `Progress`
    after each of the `config.steps` updates, a `Caution` when the patches do not look like the text even then, and last
    the `Result`.

    Raises
    ------
    ConfigError
        A text, the seed or the crop size cannot be used.
    FloatingPointError
        The optimization diverged.
    """
    begun = time.monotonic()
    config = config or resolve(encoders.calibration)
    style, source = check_texts(style_text, encoders.calibration.source_text if source_text is None else source_text)
    seed = draw_seed() if seed is None else check_seed(seed)
    photo = fit(picture, config.size, config.enlarge)
    direction = text_direction(encoders.clip, style, source, config.template_set)
    text = embed_text(encoders.clip, style, config.template_set) if config.text_share else None
    yield from unfamiliar_text(encoders, style)
    state = RunState(photo, direction, encoders, config, seed, text)
    for done in state.warm_up():
        yield WarmUp(done, config.warm_up)
    prepared = time.monotonic()
    for done in range(1, config.steps + 1):
        (report,) = step([state])
        elapsed = time.monotonic() - prepared
        remaining = elapsed / done * (config.steps - done)
        yield Progress(done, config.steps, report.losses, report.rejected, elapsed, remaining, state.picture)
    with torch.no_grad():
        state.render()
    stylized = state.picture()
    yield from weak_result(encoders, config, report.losses)
    yield Result(
        picture=stylized,
        seed=seed,
        style_text=style,
        source_text=source,
        config=config,
        encoders=encoders.name,
        models=encoders.models,
        device=str(encoders.device),
        threads=torch.get_num_threads() if encoders.device.type == "cpu" else 0,
        versions=library_versions(),
        losses=report.losses,
        timings=Timings(prepared - begun, time.monotonic() - prepared),
    )


def unfamiliar_text(encoders: EncoderSet, style_text: str) -> Iterator[Caution]:
    """Warn of a style text that encoders of a limited world do not know."""
    if not isinstance(encoders.clip, KnowsItsLimits):
        return
    known = encoders.clip.confidence(style_text)
    if known.probability < _FAMILIAR:
        nearest = ", ".join(repr(name) for name in known.nearest)
        yield Caution(
            "TEXT_UNFAMILIAR",
            f"the encoders {encoders.name!r} do not know {style_text!r}; the nearest looks they know are {nearest}",
        )


def weak_result(encoders: EncoderSet, config: StylizeConfig, losses: Losses) -> Iterator[Caution]:
    """Warn of an end at which the patches still do not look like the text: another seed often does better."""
    limit = encoders.calibration.weak_patch_loss
    if config.weight_patch and limit is not None and losses.patch > limit:
        yield Caution(
            "WEAK_RESULT",
            f"the result looks little like the text (patch loss {losses.patch:.2f}): try another seed or more steps",
        )


def draw_seed() -> int:
    """Draw a seed from the system, 0 to 2^63 - 1."""
    return secrets.randbits(63)


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Blend (1, 3, H, W) in [0, 1] with its mean gray, factor 1 changing nothing; clamped to [0, 1].

    The authors' saved images use 1.5, through torchvision's function of the same name.
    """
    if factor == 1:
        return image
    mean = luminance(image).mean(dim=(-2, -1), keepdim=True)
    return (factor * image + (1 - factor) * mean).clamp(0, 1)


def library_versions() -> dict[str, str]:
    """Versions of the interpreter and the libraries that decide the bytes of a result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _padded(photo: Picture, canvas: tuple[int, ...]) -> Tensor:
    """Turn a photo into a tensor (1, 3, H, W) in [0, 1], mirrored at its right and lower border.

    It covers the canvas, and its sides are multiples of StyleNet's stride.
    """
    sizes = (photo.height, photo.width)
    pad_height, pad_width = (side + -side % STRIDE - size for side, size in zip(canvas, sizes, strict=True))
    pixels = np.pad(photo.rgb, ((0, pad_height), (0, pad_width), (0, 0)), mode="reflect")
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def _to_pixels(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()


def _nothing(state: RunState) -> Tensor:
    """Embeddings of no views, where both CLIP terms are switched off."""
    return state.content_embedding[:0]
