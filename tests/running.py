"""Runs the optimization as tests want it: by a configuration that is at hand, without the event that opens a run."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from torch import Tensor, from_numpy

from clipstyler.config import StylizeConfig
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation import text_directions
from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler.events import Started
from clipstyler.imaging import Picture
from clipstyler.optimization import Event, Reuse, optimize
from clipstyler.spec import PreviewPolicy, SpecLimits, SpecRequest, StylizationSpec, resolve_spec


def spec_of(
    style_text: str,
    encoders: EncoderSet,
    config: StylizeConfig,
    source_text: str | None = None,
    seed: int | None = None,
    every_steps: int = 0,
) -> StylizationSpec:
    request = SpecRequest(style_text, source_text, options={"seed": seed})
    resolved = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
    return replace(resolved, config=config, previews=PreviewPolicy(every_steps=every_steps))


def stylize(
    picture: Picture,
    style_text: str,
    encoders: EncoderSet,
    config: StylizeConfig,
    *,
    source_text: str | None = None,
    seed: int | None = None,
    every_steps: int = 0,
    directions: DirectionCache | None = None,
) -> Generator[Event, None, None]:
    spec = spec_of(style_text, encoders, config, source_text, seed, every_steps)
    for event in optimize(picture, spec, encoders, reuse=Reuse(directions)):
        if not isinstance(event, Started):
            yield event


def text_direction(encoders: EncoderSet, style_text: str, source_text: str, template_set: str) -> Tensor:
    found = text_directions.text_direction(TorchEncoders(encoders), style_text, source_text, template_set)
    return from_numpy(found).to(encoders.device)


def embed_text(encoders: EncoderSet, text: str, template_set: str) -> Tensor:
    return from_numpy(text_directions.embed_text(TorchEncoders(encoders), text, template_set)).to(encoders.device)
