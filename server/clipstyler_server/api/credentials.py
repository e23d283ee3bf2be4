"""What gRPC serves TLS with: certificates that follow their files, without closing a connection."""

from __future__ import annotations

from typing import Any

import grpc

from clipstyler_server.identity.certificates import Certificates
from clipstyler_server.identity.files import IdentityFiles


def server_credentials(identity: IdentityFiles) -> grpc.ServerCredentials | None:
    """Return the credentials of a port; None without TLS.

    gRPC asks for the certificate on every new connection, on a thread of its own, and keeps connections as they are.
    """
    first = identity.certificates
    if first is None:
        return None
    served = first

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        current = identity.certificates
        if current is None or current is served:
            return None
        served = current
        return _configuration(current)

    needs_certificate = first.client_ca is not None
    fetcher: Any = fetch  # None stands for "unchanged", which the stubs do not know
    return grpc.dynamic_ssl_server_credentials(_configuration(first), fetcher, needs_certificate)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificates.key, certificates.chain)], certificates.client_ca)
