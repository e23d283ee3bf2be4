"""How many connections gRPC accepts, and how long they stay: each takes a descriptor of the process."""

from __future__ import annotations

import resource

# Besides one for each open call: of callers between two calls.
_WITHOUT_CALLS = 1024
# For files, workers and the pages of monitoring, or else half of the descriptors.
_KEPT_FREE = 512
# Clients then connect again by themselves, and calls that are open go on in the former connection. gRPC's option for
# idle connections alone reports an error to clients, which gRPC's library for Python prints.
_AGE_MS = 600_000


def connection_options(max_calls: int) -> list[tuple[str, int]]:
    """Return gRPC's options that bound connections; the limit of descriptors is that of now."""
    return [
        ("grpc.max_allowed_incoming_connections", most_connections(max_calls)),
        ("grpc.max_connection_age_ms", _AGE_MS),
        # A connection that never speaks HTTP/2 is closed.
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]


def most_connections(max_calls: int) -> int:
    """Return how many connections may be open, so that descriptors remain for everything else."""
    wanted = max_calls + _WITHOUT_CALLS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, descriptors - min(_KEPT_FREE, descriptors // 2))
