"""Names of what benchmarks keep on disk: by all that determines it, so that no run takes what another one meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from clipstyler.encoders.base import EncoderSet
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec

_DIGITS = 12


def resolved(text: str, options: Mapping[str, Any], encoders: EncoderSet) -> StylizationSpec:
    """Resolve a stylization of these encoders."""
    request = SpecRequest(text, options=dict(options))
    return resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())


def digest_of_work(spec: StylizationSpec, encoders: EncoderSet, pixels: bytes = b"") -> str:
    """Return the beginning of a digest of a stylization, its encoders with their calibration, and what it sees."""
    models = [model.digest for model in encoders.models]
    seen = hashlib.sha256(pixels).hexdigest()
    text = json.dumps([asdict(spec), asdict(encoders.calibration), models, seen], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
