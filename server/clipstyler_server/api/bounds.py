"""What calls may take in all and one caller at most: open calls, bytes on their way in and out, and time."""

from __future__ import annotations

import asyncio

from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings
from clipstyler_server.sharing import CallCounts, FairBudget

# Requests without images are small: more is refused, and only so many may arrive at the same time.
SMALL_REQUEST_BYTES = 2**20
_SMALL_AT_ONCE = 6
# A small request arrives together with its headers: more time is for lost packets.
_SMALL_TIMEOUT_S = 5.0
# Of a decoded image of 2048 x 2048 px with alpha; those of EncoderService are at most that large.
PICTURE_BYTES = 16 * 2**20
_PICTURES_AT_ONCE = 6
# What the evaluator does for EncoderService at the same time: one for each text and image that it embeds.
_EVALUATIONS_AT_ONCE = 64
# One request counts with so many at most: it leaves others a place.
LARGEST_EVALUATION = 32


class CallBounds:
    """The bounds of calls.

    Parameters
    ----------
    settings
        The operator's configuration.

    Attributes
    ----------
    calls
        Open calls.
    photos, small
        Bytes of requests: those that carry images, and all others. A request that is arriving counts with the largest
        size that it may have, because gRPC reveals its size only when it is there.
    pictures
        Bytes of decoded images of EncoderService.
    evaluations
        Texts and images of EncoderService that the evaluator has: numbers, not bytes.
    outgoing
        Bytes of large responses that wait for their reader.
    large_turns
        Held while a large request is parsed: one after the other, however many have arrived.
    largest_request
        Bytes of the largest request.
    photo_timeout_s, small_timeout_s, write_timeout_s
        Seconds in which a request, or the next part of an upload, must arrive, and a response must be read.
    """

    def __init__(self, settings: Settings) -> None:
        share = settings.caller_share
        self.largest_request = settings.max_request_bytes
        self.photo_timeout_s = settings.receive_timeout_s
        self.small_timeout_s = min(settings.receive_timeout_s, _SMALL_TIMEOUT_S)
        self.write_timeout_s = settings.write_timeout_s
        self.calls = CallCounts(settings.max_calls, share)
        self.photos = FairBudget(settings.max_incoming_bytes, share, self.largest_request)
        self.small = FairBudget(_SMALL_AT_ONCE * self.largest_request, share, self.largest_request)
        self.pictures = FairBudget(_PICTURES_AT_ONCE * PICTURE_BYTES, share, 2 * PICTURE_BYTES)
        self.evaluations = FairBudget(_EVALUATIONS_AT_ONCE, share, LARGEST_EVALUATION)
        self.outgoing = FairBudget(settings.max_outgoing_bytes, share, MAX_MESSAGE_BYTES)
        self.large_turns = asyncio.Lock()

    def open_calls(self) -> dict[str, float]:
        """Return the number of open calls by method."""
        return {method: float(count) for method, count in self.calls.by_method.items()}

    def in_flight(self) -> dict[str, float]:
        """Return the bytes that are taken, by kind."""
        budgets = {"photos": self.photos, "small": self.small, "pictures": self.pictures, "outgoing": self.outgoing}
        return {kind: float(budget.used) for kind, budget in budgets.items()}
