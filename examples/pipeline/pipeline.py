"""Every photo of an inbox once: to the server, and its result and a line of the manifest to the outbox."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clipstyler_client import AsyncClient, ServerUnavailableError
from inbox import Photo, arrived, read
from outbox import FAILED_STATUS, SUCCEEDED_STATUS, Outbox
from stylizing import PhotoError, Task, stylize

_REPORT_S = 10.0


class Pipeline:
    """Takes photos as they arrive.

    Parameters
    ----------
    client
        Of the server.
    inbox
        Where photos arrive.
    outbox
        Where results go.
    task
        What is made of every photo.
    parallel
        Number of photos that are worked on at the same time.
    interval_s
        Seconds between two looks into the inbox, and without a write after which a photo is complete.
    """

    def __init__(
        self, client: AsyncClient, inbox: Path, outbox: Outbox, task: Task, parallel: int = 2, interval_s: float = 1.0
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._outbox = outbox
        self._task = task
        self._interval_s = interval_s
        self._parallel = parallel
        self._max_bytes = 0
        self._stuck: set[Path] = set()
        self._working: dict[Path, asyncio.Task[None]] = {}
        # Two files with the same bytes are one photo.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.counts: Counter[str] = Counter()

    async def run(self, *, once: bool) -> None:
        """Work until it is cancelled, or until the inbox is empty.

        Raises
        ------
        TaskError
            No photo can be stylized like this; the photos stay where they are.
        """
        self._max_bytes = await self._wait_for_server()
        try:
            while self._look() or not once:
                await self._pause()
        finally:
            for working in self._working.values():
                working.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _wait_for_server(self) -> int:
        """Wait until the server takes jobs; returns the size of the largest photo in bytes."""
        while True:
            try:
                return (await self._client.wait_until_ready(_REPORT_S)).limits["max_image_bytes"]
            except ServerUnavailableError as error:
                print(f"waiting for the server: {error}", file=sys.stderr, flush=True)

    def _look(self) -> bool:
        """Begin with photos that have arrived; returns whether there is something to wait for."""
        for path, working in list(self._working.items()):
            if working.done():
                del self._working[path]
                working.result()
        is_waiting = False
        for path, is_settled in arrived(self._inbox, self._interval_s):
            if path in self._stuck or path in self._working:
                continue
            if is_settled and len(self._working) < self._parallel:
                self._working[path] = asyncio.create_task(self._take(path))
            else:
                is_waiting = True
        return is_waiting or bool(self._working)

    async def _pause(self) -> None:
        """Wait until a photo is finished, or until it is time for another look."""
        if self._working:
            await asyncio.wait(self._working.values(), timeout=self._interval_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self._interval_s)

    async def _take(self, path: Path) -> None:
        try:
            await self._process(path)
        except OSError as error:
            # Left where it is: this process does not try it again, the next one does.
            self._stuck.add(path)
            self._report(path, error.strerror or str(error))
            self.counts[FAILED_STATUS] += 1

    async def _process(self, path: Path) -> None:
        photo = None
        with suppress(FileNotFoundError):  # taken away meanwhile
            photo = await asyncio.to_thread(read, path, self._max_bytes)
        if photo is None:
            return
        request_id = self._task.request_id(photo)
        async with self._turns[request_id]:
            line = self._outbox.line(request_id)
            if line is None:
                line = await self._line(photo, request_id)
                self._outbox.record(line)
                self.counts[line["status"]] += 1
        self._outbox.put_away(photo, line["status"])
        self._report(path, line["result"] if line["status"] == SUCCEEDED_STATUS else line["message"])

    async def _line(self, photo: Photo, request_id: str) -> dict[str, Any]:
        """Stylize a photo, write its result, and return its line of the manifest."""
        line = {
            "photo": photo.path.name,
            "sha256": photo.digest,
            "text": self._task.text,
            "options": dict(self._task.options),
            "request_id": request_id,
        }
        try:
            if not photo.data:
                raise PhotoError(
                    "PHOTO_SIZE", f"has no bytes, or more than the {self._max_bytes} that the server takes"
                )
            job, result = await stylize(self._client, photo, self._task, lambda text: self._report(photo.path, text))
        except PhotoError as error:
            line |= {"status": FAILED_STATUS, "reason": error.reason, "message": str(error)}
        else:
            written = self._outbox.write_result(photo, request_id, result.image, result.format)
            line |= {"status": SUCCEEDED_STATUS, "job": job.name, "seed": result.seed, "result": written}
        return line | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}

    def _report(self, path: Path, text: str) -> None:
        print(f"{ascii(path.name)[1:-1]}: {text}", file=sys.stderr, flush=True)
