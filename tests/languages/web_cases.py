"""The conformance cases that the web client can play: it has another transport, through the gateway."""

from __future__ import annotations

from tests.conformance.running import NAMES

NOT_IN_BROWSERS = {
    "upload": "browsers cannot stream requests",
    "upload-large": "browsers cannot stream requests",
    "style-apply": "browsers cannot stream requests",
    "style-apply-unknown": "browsers cannot stream requests",
    "reset-one-shot": "browsers do not tell a stream that was reset from a connection that broke",
}
WEB_CASES = tuple(name for name in NAMES if name not in NOT_IN_BROWSERS)
