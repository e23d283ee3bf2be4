"""The directory of downloaded weights: every file beside its digest, in the format of `sha256sum -c`."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from clipstyler.encoders.base import EncoderUnavailableError
from clipstyler.encoders.weights.download import DownloadError, Report, download, ignore_progress, sha256
from clipstyler.encoders.weights.sources import Remote, Weights
from clipstyler.home import cache_directory
from clipstyler.output_files import write_whole

_SHA256 = re.compile(r"[0-9a-f]{64}")


def default_directory() -> Path:
    """Return the default directory of weights, in the user's cache."""
    return cache_directory() / "models"


@dataclass(frozen=True)
class Stored:
    """A stored file of weights.

    Attributes
    ----------
    name
        Of the weights.
    path
        The file.
    digest
        The SHA-256 that was recorded when it was stored.
    published
        What its publisher states of its digest, or "".
    """

    name: str
    path: Path
    digest: str
    published: str

    def check(self) -> None:
        """Compare the file with the recorded digest, and that with the published one.

        Raises
        ------
        EncoderUnavailableError
            They differ.
        """
        found = sha256(self.path)
        for expected, of in ((self.digest, "recorded"), (self.published, "published")):
            if not found.startswith(expected):
                raise EncoderUnavailableError(
                    f"{self.name}: digest mismatch: {self.path} has the SHA-256 {found}, {expected} was {of}; "
                    "delete it and pull it again"
                )


@dataclass(frozen=True)
class Store:
    """Downloaded weights below a directory. Safe for several processes at once.

    Attributes
    ----------
    root
        The directory.
    offline
        Never use the network.
    """

    root: Path
    offline: bool = False

    def find(self, weights: Weights) -> Stored | None:
        """Return stored weights, or None."""
        for remote in weights.remotes:
            path = self.root / remote.file
            if path.is_file() and (digest := _recorded(path)):
                return Stored(weights.name, path, digest, remote.digest)
        return None

    def obtain(self, weights: Weights, report: Report = ignore_progress) -> Stored:
        """Return stored weights, or download them.

        Raises
        ------
        EncoderUnavailableError
            They are not stored and cannot be downloaded.
        """
        found = self.find(weights)
        if found:
            return found
        if self.offline:
            raise EncoderUnavailableError(
                f"{weights.name}: the weights are not in {self.root}, and offline mode is on; {_ADVICE}"
            )
        reasons = []
        for remote in weights.remotes:
            path = self.root / remote.file
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                found = self.find(weights)  # another process may have been faster
                if found:
                    return found
                try:
                    digest = download(remote.url, path, remote.digest, report)
                except DownloadError as error:
                    reasons.append(str(error))
                    continue
                _write_record(path, digest)
                return Stored(weights.name, path, digest, remote.digest)
        raise EncoderUnavailableError(
            f"{weights.name}: the weights are not in {self.root} and could not be downloaded "
            f"({'; '.join(reasons)}); {_ADVICE}"
        )

    def adopt(self, weights: Weights, source: Path) -> Stored:
        """Copy weights from a file, or from a directory that contains it under its published name.

        Raises
        ------
        EncoderUnavailableError
            There is no such file, or it differs from the published one.
        """
        file, remote = _matching(weights, source)
        path = self.root / remote.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            part = path.with_name(path.name + ".part")
            shutil.copyfile(file, part)
            digest = sha256(part)
            if not digest.startswith(remote.digest):
                part.unlink()
                raise EncoderUnavailableError(
                    f"{weights.name}: digest mismatch: {file} has the SHA-256 {digest}, {remote.digest} was published"
                )
            part.rename(path)
            _write_record(path, digest)
        return Stored(weights.name, path, digest, remote.digest)


_ADVICE = (
    "fetch the file elsewhere and run `clipstyler models pull NAME --from PATH`, or use the bundled encoders 'pocket'"
)


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write_record(path: Path, digest: str) -> None:
    write_whole(_record(path), f"{digest}  {path.name}\n".encode())


def _recorded(path: Path) -> str:
    """Return the digest that was recorded of a file; empty if there is none, or a crash has left a part of it."""
    record = _record(path)
    digest = record.read_bytes().partition(b" ")[0].decode(errors="replace") if record.is_file() else ""
    return digest if _SHA256.fullmatch(digest) else ""


def _matching(weights: Weights, source: Path) -> tuple[Path, Remote]:
    for remote, name in zip(weights.remotes, weights.file_names, strict=True):
        file = source / name if source.is_dir() else source
        if file.is_file() and file.name == name:
            return file, remote
    raise EncoderUnavailableError(
        f"{weights.name}: {source} is not, and does not hold, {' or '.join(weights.file_names)}"
    )
