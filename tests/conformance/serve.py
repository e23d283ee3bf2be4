"""Serves the conformance cases and the servers that they need: `python -m tests.conformance.serve`.

Prints one line of JSON, {"control": "http://127.0.0.1:PORT"}, and runs until its standard input ends or SIGTERM.
`tests/conformance/README.md` describes the addresses under it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conformance.photos import photo_named, style_named
from tests.conformance.servers import Servers

CASES = Path(__file__).parent / "cases.json"


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of runners."""

    servers: Servers

    def do_GET(self) -> None:
        """Serve the cases, a photo, a style, or the addresses of a server."""
        match self.path.strip("/").split("/"):
            case ["cases"]:
                self._reply(CASES.read_bytes())
            case ["photos", name]:
                self._reply(photo_named(name), "application/octet-stream")
            case ["styles", name]:
                self._reply(style_named(name), "application/octet-stream")
            case ["servers", name]:
                self._reply_json({"grpc": self.servers.address(name)})
            case ["gateways", name]:
                self._reply_json({"url": self.servers.gateway(name)})
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        """Open a gate, or do something to a server; what goes wrong is answered, so that no runner waits for it."""
        try:
            self._act()
        except Exception as error:
            self.send_error(500, explain=f"{type(error).__name__}: {error}")
            raise

    def _act(self) -> None:
        match self.path.strip("/").split("/", 3):
            case ["gates", name]:
                self.servers.open_gate(name)
            case ["servers", name, "drain" | "restart" | "kill" as action]:
                getattr(self.servers.get(name), action)()
            case ["servers", name, "cancel", job]:
                self.servers.get(name).cancel(job)
            case _:
                self.send_error(404)
                return
        self._reply_json({})

    def do_OPTIONS(self) -> None:
        """Let a page of any origin call this."""
        self._reply(b"")

    def _reply_json(self, value: object) -> None:
        self._reply(json.dumps(value).encode())

    def _reply(self, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in (("origin", "*"), ("methods", "GET, POST"), ("headers", "*")):
            self.send_header(f"access-control-allow-{name}", value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve in this process; gives the address of the control."""
    with TemporaryDirectory(prefix="clipstyler-conformance-") as name:
        servers = Servers(Path(name))
        handler = type("BoundHandler", (Handler,), {"servers": servers})
        control = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=control.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{control.server_address[1]}"
        finally:
            control.shutdown()
            control.server_close()
            servers.stop()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with serving() as control:
        print(json.dumps({"control": control}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
