"""Where the encoders' weights are published, and the digests known ahead of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlparse

HUB = "https://huggingface.co"
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# A SHA-256 or its beginning, as publishers write it into the names of files and folders.
_FULL_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})$")


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes
    ----------
    url
        Where it is.
    file
        Its place below the store's root.
    digest
        SHA-256 in lower-case hexadecimal, or as much of its beginning as the publisher states; empty if it is not
        known before the download.
    """

    url: str
    file: str
    digest: str = ""


@dataclass(frozen=True)
class Weights:
    """Weights under a name, and the files that contain them: any one suffices, the first is preferred."""

    name: str
    remotes: tuple[Remote, ...]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names that the files are published under."""
        return tuple(PurePosixPath(remote.file).name for remote in self.remotes)


def clip(architecture: str, tag: str, url: str, hub: str) -> Weights:
    """Weights of a CLIP as open_clip's table of pretrained models names them.

    Parameters
    ----------
    architecture, tag
        Names in that table.
    url
        A file, or "". The digest is part of OpenAI's addresses, and of some others' file names.
    hub
        A repository of the Hugging Face hub, "owner/model/" or "owner/model/file", or "".
    """
    remotes = []
    if url:
        path = PurePosixPath(urlparse(url).path)
        folder = path.parent.name
        digest = folder if _FULL_DIGEST.match(folder) else _digest_in(path.stem)
        remotes.append(Remote(url, f"open_clip/{path.name}", digest))
    if hub:
        repository, _, file = hub.rpartition("/")
        for name in (file,) if file else _HUB_FILES:
            remotes.append(
                Remote(f"{HUB}/{repository}/resolve/main/{name}", f"hub/{repository.replace('/', '--')}/{name}")
            )
    # Files with a digest from another source come first.
    return Weights(f"{architecture}:{tag}", tuple(sorted(remotes, key=lambda remote: not remote.digest)))


def vgg19(name: str, url: str) -> Weights:
    """VGG19 as torchvision publishes it; its file names end in the beginning of their digest."""
    path = PurePosixPath(urlparse(url).path)
    return Weights(f"vgg19:{name}", (Remote(url, f"torchvision/{path.name}", _digest_in(path.stem)),))


def _digest_in(stem: str) -> str:
    found = _DIGEST_IN_NAME.search(stem)
    return found[1] if found else ""
