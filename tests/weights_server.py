"""A publisher of weights on loopback: ranges, redirects, stated digests, and connections that break off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Publisher:
    """What is published, and what was asked for.

    Attributes
    ----------
    files
        Bytes by path.
    stated
        Digests that a redirect states, by path; these paths are redirected before they are served.
    break_after
        Bytes after which the next answers break off, one entry an answer.
    ranges
        The `Range` header of every request for a file, "" if there was none.
    knows_ranges
        Whether it answers a range with a part.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stated: dict[str, str] = {}
        self.break_after: list[int] = []
        self.ranges: list[str] = []
        self.knows_ranges = True
        self.address = ""

    def url(self, path: str) -> str:
        return self.address + path


@contextmanager
def publishing() -> Iterator[Publisher]:
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in publisher.stated:
                self.send_response(302)
                self.send_header("X-Linked-Etag", f'"{publisher.stated[self.path]}"')
                self.send_header("Location", f"/cdn{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = publisher.files.get(self.path.removeprefix("/cdn"))
            if data is None:
                self.send_error(404)
                return
            self._serve(data)

        def _serve(self, data: bytes) -> None:
            wanted = self.headers.get("Range", "")
            publisher.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and publisher.knows_ranges else 0
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = publisher.break_after.pop(0) if publisher.break_after else len(data)
            self.wfile.write(data[start : start + stop])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    publisher.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield publisher
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
