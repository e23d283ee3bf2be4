"""What evaluates results and serves EncoderService."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from clipstyler.home import cache_directory
from clipstyler_server.settings.units import MIB, MOST_BYTES, Separated

LARGEST_BATCH = 256
"""The largest `max_batch`."""


class Evaluating(BaseModel):
    """The evaluator and its cache."""

    evaluator: bool = Field(
        default=True, description="Whether to run an evaluator, for EncoderService and the quality reports of results."
    )
    providers: Separated[str] = Field(
        default=("auto",),
        min_length=1,
        description="ONNX Runtime providers in order (tensorrt, cuda, cpu): the first must be active; auto: any.",
    )
    on_mismatch: Literal["pytorch", "refuse"] = Field(
        default="pytorch",
        description="If an export does not agree with PyTorch: evaluate with PyTorch, or refuse to start.",
    )
    evaluator_threads: int = Field(default=1, ge=1, le=1024, description="Threads of the evaluator.")
    cache_dir: str = Field(default="", description="Directory of exports and text directions; empty: the user's cache.")
    direction_cache_bytes: int = Field(
        default=32 * MIB,
        ge=0,
        le=MOST_BYTES,
        description="Memory for text directions, in each process that uses them.",
    )
    batch_wait_s: float = Field(
        default=0.002, ge=0, le=1, description="Maximum batching delay of an embedding, in seconds."
    )
    max_batch: int = Field(
        default=64,
        ge=1,
        le=LARGEST_BATCH,
        description="Maximum number of texts or images in one call of EncoderService.",
    )
    report_timeout_s: float = Field(
        default=15,
        ge=0,
        le=600,
        description="Maximum time in seconds that a result is held back for its quality report.",
    )

    @property
    def cache_path(self) -> Path:
        """Directory of exports and text directions."""
        return Path(self.cache_dir) if self.cache_dir else cache_directory()
