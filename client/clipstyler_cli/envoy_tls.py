"""Encryption on both sides of Envoy: towards its callers, and towards the servers behind it."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clipstyler_cli.errors import GatewayConfigError, checked_together

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_SECRET_NAME = "gateway"


@dataclass(frozen=True)
class ListenerTls:
    """What callers are answered with by TLS.

    Attributes
    ----------
    certificate, key
        Files of the gateway's certificate chain and of its private key, in PEM. They are read again when new files are
        moved to their place.
    """

    certificate: Path
    key: Path

    def transport_socket(self, secret_file: str) -> dict[str, object]:
        """Return the transport socket of a listener that reads its certificate by the file of `secret`."""
        source = {"path_config_source": {"path": secret_file}, "resource_api_version": "V3"}
        common = {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": _SECRET_NAME, "sds_config": source}],
        }
        return _socket("DownstreamTlsContext", {"common_tls_context": common})

    def secret(self) -> dict[str, object]:
        """Return the file by which Envoy follows the certificate."""
        certificate = _certificate(self.certificate, self.key)
        return {"resources": [{"@type": f"{_TYPES}Secret", "name": _SECRET_NAME, "tls_certificate": certificate}]}


@dataclass(frozen=True)
class UpstreamTls:
    """How servers are called by TLS.

    Attributes
    ----------
    ca
        File of the authorities of their certificates; None for the system's.
    certificate, key
        Files of the gateway's own certificate, for servers that ask for one, and of its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def check_files(self) -> None:
        """Raise `GatewayConfigError` for a file that is not here, or `SeveralProblemsError` for all of them."""
        named = {"--tls-ca": self.ca, "--tls-cert": self.certificate, "--tls-key": self.key}
        checked_together(*(partial(_check_file, flag, path) for flag, path in named.items() if path))

    def transport_socket(self, hosts: Iterable[str]) -> dict[str, object]:
        """Return the transport socket of a cluster whose certificates must be those of its hosts."""
        if (self.certificate is None) != (self.key is None):
            raise GatewayConfigError("--tls-cert and --tls-key go together: name both")
        common: dict[str, object] = {
            "alpn_protocols": ["h2"],
            "validation_context": {
                "trusted_ca": {"filename": str(self.ca.absolute() if self.ca else _system_authorities())},
                "match_typed_subject_alt_names": [_alternative_name(host) for host in hosts],
            },
        }
        if self.certificate and self.key:
            common["tls_certificates"] = [_certificate(self.certificate, self.key)]
        # A server behind a proxy of its own is found by the name that it is called by.
        return _socket("UpstreamTlsContext", {"common_tls_context": common, "auto_host_sni": True})


def _check_file(flag: str, path: Path) -> None:
    if not path.is_file():
        raise GatewayConfigError(f"{flag}: {path} is no file")


def _socket(kind: str, context: dict[str, object]) -> dict[str, object]:
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": f"{_TYPES}{kind}"} | context}


def _certificate(chain: Path, key: Path) -> dict[str, object]:
    # Links are kept: a renewal may turn them to other files.
    return {"certificate_chain": {"filename": str(chain.absolute())}, "private_key": {"filename": str(key.absolute())}}


def _system_authorities() -> str:
    path = ssl.get_default_verify_paths().cafile
    if path is None:
        raise GatewayConfigError("this machine has no file of certificate authorities: name one with --tls-ca")
    return path


def _alternative_name(host: str) -> dict[str, object]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {"san_type": "DNS", "matcher": {"exact": host}}
    return {"san_type": "IP_ADDRESS", "matcher": {"exact": host}}
