"""An encoder set of one owner, with what its stylizations leave for later ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipstyler.captured_steps import CapturedSteps
from clipstyler.encoders.base import EncoderSet


@dataclass(frozen=True, eq=False)
class LoadedEncoders(EncoderSet):
    """What `clipstyler.load_encoders` returns: captured steps belong to it, and their memory goes when it goes.

    Attributes
    ----------
    steps
        Captured steps of its stylizations; there are none unless `graphs` is among its accelerations.
    """

    steps: CapturedSteps = field(default_factory=CapturedSteps)

    @classmethod
    def of(cls, encoders: EncoderSet) -> LoadedEncoders:
        """Return an encoder set with room for captured steps."""
        return cls(**vars(encoders))
