"""What is asked for: a spec, its photos, and how the job is treated, as the API read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from clipstyler.spec import SpecRequest
from clipstyler_server.errors import Violation


class PhotoRequest(NamedTuple):
    """A photo: its bytes, or the digest of an upload; the other is empty."""

    image: bytes
    upload: str

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal."""
        return self.upload or hashlib.sha256(self.image).hexdigest()


@dataclass(frozen=True)
class JobRequest:
    """A request as the API read it.

    Attributes
    ----------
    spec
        What is asked for, unresolved.
    photo
        Its photo.
    priority
        Class in the queue; larger runs first.
    timeout_s
        Seconds for waiting and running; None for the server's default.
    request_id
        The caller's; empty if there is none.
    others
        Further photos that a style is fitted to; None for a plain stylization.
    mask
        The mask of the region; None if there is none.
    violations
        What cannot be used in the fields around the spec.
    """

    spec: SpecRequest
    photo: PhotoRequest
    priority: int
    timeout_s: float | None = None
    request_id: str = ""
    others: tuple[PhotoRequest, ...] | None = None
    mask: PhotoRequest | None = None
    violations: tuple[Violation, ...] = ()

    def digest(self, photo: str = "", mask: str = "") -> str:
        """Digest what is asked for; neither the request id nor how photo and mask were sent counts.

        The SHA-256 of the photo and of the mask may be known; computing them takes a moment.
        """
        spec = asdict(self.spec)
        payload: list[object] = [photo or self.photo.digest, spec, self.priority, self.timeout_s]
        if self.spec.region is None:
            del spec["region"]  # so that requests without one have the digests that they had before there were regions
        elif self.mask:
            payload.append(mask or self.mask.digest)
        if self.others is not None:
            payload.append([other.digest for other in self.others])
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
