"""Where the server listens, and who may call it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from clipstyler_server.identity.files import IdentityPaths


class Listening(BaseModel):
    """Addresses, certificates and tokens."""

    host: str = Field(
        default="127.0.0.1", description="Address of gRPC. Loopback by default; others need TLS, or `insecure`."
    )
    port: int = Field(default=50051, ge=0, le=65535, description="Port of gRPC; 0 picks a free port.")
    http_host: str = Field(default="127.0.0.1", description="Address of /metrics, /startupz, /livez and /readyz.")
    http_port: int = Field(default=9464, ge=0, le=65535, description="Port of these pages; 0 picks a free port.")
    insecure: bool = Field(
        default=False, description="Whether addresses other than loopback may be served without TLS."
    )
    tls_cert: str = Field(
        default="",
        description="File of the server's certificate chain in PEM; empty: no TLS. Both ports use it. "
        "It is read again when it changes.",
    )
    tls_key: str = Field(default="", description="File of its private key, which others must not read.")
    tls_client_ca: str = Field(
        default="",
        description="File of the authorities of client certificates in PEM; callers of gRPC then need a certificate.",
    )
    tokens: str = Field(
        default="",
        description="File of bearer tokens, from `clipstyler tokens create`; empty: none is asked for. "
        "It is read again when it changes.",
    )
    tenants: str = Field(
        default="", description="TOML file of tenants' limits and certificates, read again when it changes."
    )
    http_auth: bool = Field(
        default=False,
        description="Whether /metrics, and the reasons on /readyz, need the token of a probe or operator.",
    )

    @field_validator("host", "http_host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        """Take an IPv6 address as it stands before a port, too."""
        return value.removeprefix("[").removesuffix("]")

    @property
    def identity_paths(self) -> IdentityPaths:
        """Files of tokens, tenants and certificates."""
        return IdentityPaths(
            tokens=_path(self.tokens),
            tenants=_path(self.tenants),
            tls_cert=_path(self.tls_cert),
            tls_key=_path(self.tls_key),
            tls_client_ca=_path(self.tls_client_ca),
        )


def _path(text: str) -> Path | None:
    return Path(text) if text else None
