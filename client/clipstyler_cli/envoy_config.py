"""The configuration of Envoy: the template `envoy.yaml`, filled in, and the descriptors that it reads."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from string import Template
from textwrap import indent
from urllib.parse import quote

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from clipstyler.output_files import write_whole
from clipstyler_cli.envoy_tls import ListenerTls, UpstreamTls
from clipstyler_cli.errors import GatewayConfigError, checked_together

CONFIG_NAME = "envoy.yaml"
DESCRIPTORS_NAME = "descriptors.binpb"
CERTIFICATE_NAME = "certificate.yaml"
ANY_ORIGIN = "*"
# Longer than a job may take on a server with default settings.
MAX_STREAM_S = 7500
# Pages on this machine, at any port.
_LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
_MIB = 2**20
# The largest photo of a server with default settings, 16 MiB, in base64, and what is said about it.
_MAX_JSON_BYTES = 24 * _MIB
_MAX_STREAMS = 1024
_LARGEST_PORT = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REQUEST_HEADERS = (
    "content-type",
    "x-grpc-web",
    "x-user-agent",
    "grpc-timeout",
    "connect-protocol-version",
    "connect-timeout-ms",
    "x-request-id",
    "authorization",
)
_RESPONSE_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id")
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_BINARY = {
    "string_match": {"safe_regex": {"regex": "application/(grpc|proto|connect).*"}},
    "treat_missing_header_as_empty": True,
}
# The codes under which callers of JSON see what the gateway itself refuses, by HTTP status.
_REFUSALS = {
    400: code_pb2.INVALID_ARGUMENT,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    408: code_pb2.DEADLINE_EXCEEDED,
    413: code_pb2.RESOURCE_EXHAUSTED,
    431: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.DEADLINE_EXCEEDED,
}
_NO_JSON = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
# Of a path, besides letters and digits: what browsers send as it is.
_PLAIN = "/!$&'()*+,;=:@"
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True)
class GatewayConfig:
    """Everything that differs between two gateways.

    Attributes
    ----------
    host, port
        Where it listens.
    servers
        Addresses of servers, "HOST:PORT".
    origins
        Origins of pages that may call, besides those on this machine; `ANY_ORIGIN` for all.
    trusted_hops
        Number of proxies in front whose `x-forwarded-for` is believed.
    max_stream_s
        Seconds after which a stream is cut.
    page
        Directory of a static page; None for none.
    upstream_tls
        How servers are called by TLS; None to call them without.
    tls
        What callers are answered with by TLS; None to answer without.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    servers: tuple[str, ...] = ("127.0.0.1:50051",)
    origins: tuple[str, ...] = ()
    trusted_hops: int = 0
    max_stream_s: int = MAX_STREAM_S
    page: Path | None = None
    upstream_tls: UpstreamTls | None = None
    tls: ListenerTls | None = None

    @property
    def url(self) -> str:
        """How a caller on this machine names the gateway."""
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{self._scheme}://{_in_url(reached)}:{self.port}"

    def write(self, directory: Path) -> Path:
        """Write the configuration and what it reads; returns the configuration's path.

        Raises
        ------
        GatewayConfigError, SeveralProblemsError
            Values that cannot be used.
        OSError
            The directory cannot be written.
        """
        text = self.render()
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / DESCRIPTORS_NAME, descriptors())
        if self.tls:
            secret = json.dumps(self.tls.secret(), indent=2) + "\n"
            write_whole(directory / CERTIFICATE_NAME, secret.encode())
        path = directory / CONFIG_NAME
        write_whole(path, text.encode())
        return path

    def check(self) -> None:
        """Raise `GatewayConfigError` for a value that cannot be used, or `SeveralProblemsError` for all of them."""
        checked_together(
            *(partial(_origin_matcher, origin) for origin in self.origins),
            *(partial(split_address, server, "--server") for server in self.servers),
            *([partial(_page_files, self.page)] if self.page else []),
            *([partial(self.upstream_tls.transport_socket, ())] if self.upstream_tls else []),
        )

    def render(self) -> str:
        """Return the configuration as YAML; raises as `check`."""
        self.check()
        template = Template(resources.files(__package__).joinpath(CONFIG_NAME).read_text())
        matchers = [_origin_matcher(origin) for origin in (*self.origins, *self._own_origin())] + [
            _regex(_LOOPBACK_ORIGIN)
        ]
        files = _page_files(self.page) if self.page else {}
        return template.substitute(
            HOST=self.host,
            PORT=self.port,
            TRUSTED_HOPS=self.trusted_hops,
            MAX_STREAMS=_MAX_STREAMS,
            MAX_STREAM_S=self.max_stream_s,
            MAX_JSON_BYTES=_MAX_JSON_BYTES,
            MAX_PAGE_BYTES=max([_MIB, *(path.stat().st_size for path in files.values())]),
            DESCRIPTORS=DESCRIPTORS_NAME,
            CORS_HEADERS=", ".join(_REQUEST_HEADERS),
            CORS_EXPOSED=", ".join(_RESPONSE_HEADERS),
            CORS_ORIGINS=_items(matchers, 28),
            ORIGIN_RULES=_items([{"header": {"name": "origin", "string_match": matcher}} for matcher in matchers], 44),
            ENDPOINTS=_items([{"endpoint": {"address": _socket_address(server)}} for server in self.servers], 14),
            LISTENER_TLS=self._listener_tls(),
            UPSTREAM_TLS=self._upstream_tls(),
            NO_JSON=json.dumps(_NO_JSON),
            JSON_REFUSALS=_items([_json_refusal(status, code) for status, code in _REFUSALS.items()], 20),
            PAGE_ROUTES=_items([_page_route(path, file) for path, file in files.items()], 24),
        )

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    def _own_origin(self) -> tuple[str, ...]:
        """Return the origin of the gateway's own page, if one address has it and it is not on this machine anyway."""
        address = ipaddress.ip_address(self.host)
        if address.is_loopback or address.is_unspecified:
            return ()
        port = "" if self.port == _DEFAULT_PORTS[self._scheme] else f":{self.port}"
        return (f"{self._scheme}://{_in_url(self.host)}{port}",)

    def _listener_tls(self) -> str:
        if self.tls is None:
            return "          # Callers come without TLS."
        socket = self.tls.transport_socket(f"./{CERTIFICATE_NAME}")  # Envoy wants a folder in it
        return f"          transport_socket: {json.dumps(socket)}"

    def _upstream_tls(self) -> str:
        if self.upstream_tls is None:
            return "      # Servers are called without TLS."
        socket = self.upstream_tls.transport_socket(split_address(server, "--server")[0] for server in self.servers)
        return f"      transport_socket: {json.dumps(socket)}"


def descriptors() -> bytes:
    """Return the descriptors that JSON is translated by: the contract's, and those of the details of errors."""
    contract = resources.files("clipstyler.v1").joinpath("contract.binpb").read_bytes()
    found = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(contract).file}
    for module in (any_pb2, duration_pb2, status_pb2, error_details_pb2):
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        found.setdefault(file.name, file)
    for file in found.values():
        file.ClearField("source_code_info")
    return descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString(deterministic=True)


def _items(values: Iterable[object], columns: int) -> str:
    """Write values as items of a list in YAML, of which JSON is a part."""
    return indent("\n".join(f"- {json.dumps(value)}" for value in values), " " * columns)


def split_address(address: str, argument: str) -> tuple[str, int]:
    """Split the "HOST:PORT" of an argument; raises `GatewayConfigError`. An IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise GatewayConfigError(f"{argument}: {address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _socket_address(server: str) -> dict[str, object]:
    host, port = split_address(server, "--server")
    return {"socket_address": {"address": host, "port_value": port}}


def _origin_matcher(origin: str) -> dict[str, object]:
    if origin == ANY_ORIGIN:
        return _regex(".*")
    if not re.fullmatch(r"https?://[^/\s]+", origin):
        raise GatewayConfigError(f"--allow-origin: {origin!r} is not an origin, such as https://example.org")
    return {"exact": origin}


def _regex(pattern: str) -> dict[str, object]:
    return {"safe_regex": {"regex": pattern}}


def _json_refusal(status: int, code: int) -> dict[str, object]:
    """Return how an error of the gateway is written for callers of JSON."""
    asked_in_json = {
        "or_filter": {
            "filters": [
                {"header_filter": {"header": {"name": "content-type", "invert_match": True} | _BINARY}},
                # Set where JSON was translated: by then the type of the content is that of gRPC.
                {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}},
            ]
        }
    }
    has_status = {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "gateway.refusal"}}}
    return {
        "filter": {"and_filter": {"filters": [{"status_code_filter": has_status}, asked_in_json]}},
        "body_format_override": {"json_format": {"code": code, "message": "%LOCAL_REPLY_BODY%"}},
    }


def _page_files(page: Path) -> dict[str, Path]:
    """Return the files of a page by the path at which they are served."""
    if not (page / "index.html").is_file():
        raise GatewayConfigError(f"--page: {page} has no index.html")
    files = {path.relative_to(page).as_posix(): path.resolve() for path in sorted(page.rglob("*")) if path.is_file()}
    return {"/": page.resolve() / "index.html"} | {f"/{quote(name, _PLAIN)}": path for name, path in files.items()}


def _page_route(path: str, file: Path) -> dict[str, object]:
    # A build names assets by their content.
    lasting = "public, max-age=31536000, immutable" if path.startswith("/assets/") else "no-cache"
    headers = {"content-type": _CONTENT_TYPES.get(file.suffix, "application/octet-stream"), "cache-control": lasting}
    return {
        "match": {"path": path},
        "typed_per_filter_config": {"envoy.filters.http.grpc_json_transcoder": _NO_JSON},
        "direct_response": {"status": 200, "body": {"filename": str(file)}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in (headers | _PAGE_HEADERS).items()
        ],
    }
