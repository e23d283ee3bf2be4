"""Downloads one file over HTTP: resumes after an interruption, and keeps it only if its digest is right."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx2

Report = Callable[[int, int], None]
"""Is told the bytes that are here and the bytes in all (0: not known)."""

_ATTEMPTS = 3
_TIMEOUT_S = 30.0
# The hub answers with a redirect that states the SHA-256 of the file.
_STATED_BY_HUB = "x-linked-etag"
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL_CONTENT = 206


class DownloadError(OSError):
    """A file could not be downloaded; the message names its URL and the reason."""


class DigestError(DownloadError):
    """A file differs from the published one."""


def ignore_progress(_here: int, _in_all: int) -> None:
    """Ignore progress."""


def download(url: str, target: Path, digest: str = "", report: Report = ignore_progress) -> str:
    """Download a file; what an earlier call left in `target` + ".part" is not downloaded again.

    Parameters
    ----------
    url
        Its URL; redirects are followed.
    target
        The target path; appears only when the file is complete.
    digest
        Its SHA-256 or the beginning of it, if known ahead of time.
    report
        Receives the progress.

    Returns
    -------
    Its SHA-256.

    Raises
    ------
    DigestError
        Its digest differs from the known one or the one that the server states; nothing is kept.
    DownloadError
        The download failed; what arrived is kept for the next call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            stated = _fetch(url, part, digest, report)
            break
        except httpx2.HTTPStatusError as error:
            raise DownloadError(f"{url}: the server answers {error.response.status_code}") from error
        except httpx2.HTTPError as error:
            if attempt == _ATTEMPTS:
                raise DownloadError(
                    f"{url}: cannot be reached or broke off ({error or type(error).__name__})"
                ) from error
    found = sha256(part)
    for expected, of in ((digest, "the published one"), (stated, "the one that the server states")):
        if not found.startswith(expected):
            part.unlink()
            raise DigestError(f"{url}: digest mismatch: the file's SHA-256 is {found}, {of} is {expected}")
    part.rename(target)
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, part: Path, digest: str, report: Report) -> str:
    """Complete the partial file; returns the digest that the server states, or ""."""
    here = part.stat().st_size if part.is_file() else 0
    # Compressed bytes could not be counted.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    with httpx2.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as response:
        stated = _stated(response)
        resumed = response.status_code == _PARTIAL_CONTENT and _starts_at(response, here)
        complete = response.status_code == _RANGE_NOT_SATISFIABLE
        if here and not (digest or stated) and (resumed or complete):
            # It would be impossible to check that both parts belong to one file.
            response.close()
            part.unlink()
            return _fetch(url, part, digest, report)
        if complete:
            return stated
        response.raise_for_status()
        _write(response.iter_bytes(), part, here if resumed else 0, _length(response), report)
    return stated


def _write(chunks: Iterable[bytes], part: Path, here: int, length: int, report: Report) -> None:
    in_all = here + length if length else 0
    with part.open("ab" if here else "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            here += len(chunk)
            report(here, in_all)


def _stated(response: httpx2.Response) -> str:
    for answer in (*response.history, response):
        found = answer.headers.get(_STATED_BY_HUB, "").removeprefix("W/").strip('"')
        if _SHA256.match(found):
            return str(found)
    return ""


def _starts_at(response: httpx2.Response, here: int) -> bool:
    return str(response.headers.get("content-range", "")).startswith(f"bytes {here}-")


def _length(response: httpx2.Response) -> int:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0
