"""What callers may ask for, and how much of the server they may take."""

from __future__ import annotations

from pydantic import BaseModel, Field, IPvAnyNetwork

from clipstyler.image_format import LARGEST_OUTPUT
from clipstyler.imaging import Limits
from clipstyler.input_files import MAX_FILE_BYTES
from clipstyler.prompts import MAX_CHARACTERS, MOST_CHARACTERS
from clipstyler_server.settings.units import MIB, MOST_BYTES, Separated


class RequestBounds(BaseModel):
    """Of one request."""

    queue_capacity: int = Field(
        default=16, ge=0, le=10_000, description="Maximum queue length; further jobs are rejected."
    )
    max_image_bytes: int = Field(
        default=Limits().max_bytes, ge=1024, le=MAX_FILE_BYTES, description="Maximum size of a photo in bytes."
    )
    max_image_pixels: int = Field(
        default=Limits().max_pixels, ge=4096, le=178_000_000, description="Maximum size of a photo in pixels."
    )
    read_heic: bool = Field(
        default=False,
        description="Whether HEIC photos are read. No release of their decoder is free of known vulnerabilities.",
    )
    max_text_characters: int = Field(
        default=MAX_CHARACTERS, ge=1, le=MOST_CHARACTERS, description="Maximum length of a text."
    )
    max_size: int = Field(default=1024, ge=64, le=4096, description="Maximum `size` of a stylization.")
    max_output_size: int = Field(
        default=8192,
        ge=64,
        le=LARGEST_OUTPUT,
        description="Maximum `output_size`; results of larger photos are limited to it.",
    )
    max_steps: int = Field(default=500, ge=1, le=100_000, description="Maximum `steps` of a stylization.")
    max_patches: int = Field(default=256, ge=1, le=1024, description="Maximum `patches` of a stylization.")
    max_job_memory_bytes: int = Field(
        default=8 * 1024 * MIB,
        ge=0,
        le=MOST_BYTES,
        description="Memory that the stylizations of a device may take at once by estimate, besides the encoders: "
        "each its part of it, with `runs_per_device`; 0: no limit.",
    )
    max_preview_size: int = Field(
        default=512,
        ge=16,
        le=768,
        description="Maximum side of a preview; 768 px fit into any message.",
    )

    @property
    def image_limits(self) -> Limits:
        """Limits of a photo."""
        return Limits(self.max_image_bytes, self.max_image_pixels, self.read_heic)

    @property
    def max_request_bytes(self) -> int:
        """Bytes of the largest request: a photo, and what is said about it."""
        return self.max_image_bytes + MIB


class CallBounds(BaseModel):
    """Of calls that are open at the same time, and of what they wait for."""

    caller_share: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Largest fraction of a bound that one caller, a tenant or else an address, may take; "
        "1 behind a proxy that hides addresses.",
    )
    trusted_proxies: Separated[IPvAnyNetwork] = Field(
        default=(),
        description="Addresses or networks, separated by commas, of proxies whose `x-forwarded-for` names the caller.",
    )
    max_calls: int = Field(default=4096, ge=8, le=100_000, description="Maximum number of open calls.")
    max_incoming_bytes: int = Field(
        default=68 * MIB,
        ge=0,
        le=MOST_BYTES,
        description="Bytes of requests with photos that may arrive at the same time; others wait. At least one fits.",
    )
    max_outgoing_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        le=MOST_BYTES,
        description="Bytes of large responses that may wait for their readers; others wait.",
    )
    receive_timeout_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Seconds in which a request with a photo, or a part of an upload, must come.",
    )
    upload_timeout_s: float = Field(
        default=600, gt=0, le=86_400, description="Seconds in which a whole upload must arrive."
    )
    write_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds in which a caller must read a response that was sent."
    )
